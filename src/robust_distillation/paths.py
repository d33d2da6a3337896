"""Where each stage's outputs lie, relative to the repository root (the same names as in dvc.yaml)."""

from pathlib import Path

PARAMS = Path("params.yaml")
PIPELINE = Path("dvc.yaml")
LOCK = Path("requirements.lock")

DOWNLOADS = Path("data/downloads")
RAW = Path("data/raw")
DATASET = Path("data/dataset")
TRAIN = DATASET / "train.p"
VALIDATE = DATASET / "validate.p"
TEST = DATASET / "test.p"
TRUSTED = DATASET / "trusted.p"
CLASSES = DATASET / "classes.json"
INFO = DATASET / "info.txt"
POISONED = Path("data/poisoned/train.p")
TRUTH = Path("data/truth/poison.p")
FILTERED = Path("data/filtered/train.p")
PUBLISHED_FILTERED = Path("data/filtered/published.p")
FURTHER = Path("data/further/train.p")

SURROGATE = Path("models/surrogate.keras")
PROBE = Path("models/probe.keras")
AUTOENCODER = Path("models/autoencoder.keras")
DETECTOR = Path("models/detector")
INFERENCE_DETECTOR = Path("models/inference_detector")
PUBLISHED_DETECTOR = Path("models/published_detector")
TEACHER = Path("models/teacher.keras")
UNDEFENDED = Path("models/undefended.keras")
SMOOTHED = Path("models/smoothed.keras")
RIVALS = Path("models/rivals")
DEFENCE = Path("models/defence")
PUBLISHED = Path("models/published")

BUILD = Path("build")
METRICS = Path("reports/metrics")
FIGURES = Path("reports/figures")
CURVES = Path("reports/curves")
TIMINGS = Path("reports/timings")
VERDICT = Path("reports/validation.json")
DATA_DOCS = Path("reports/data_docs")
HYPERPARAMETERS = Path("reports/best_hyperparameters.json")
SCORES = Path("reports/scores.csv")
ROBUSTNESS = Path("reports/robustness.csv")
CERTIFIED = Path("reports/certified.csv")
COSTS = Path("reports/costs.json")
CHECKED = Path("reports/checked.json")
CODE = Path("reports/code")
REGISTERED = Path("reports/registered.json")
REPORT = Path("reports/report.html")
