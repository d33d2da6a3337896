"""One run of the whole pipeline with small params, which all tests here share."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from robust_distillation.params import Params, load_params

ROOT = Path(__file__).parents[2]
SMALL = {
    "data": {"synthetic": {"tracks_per_class": 6, "frames_per_track": 6, "test_per_class": 5}},
    "dataset": {
        "classes": 3,
        "train_samples": 60,
        "validate_samples": 15,
        "test_samples": 15,
        "trusted_samples": 30,
        "image_size": 16,
    },
    "surrogate": {"epochs": 2},
    "poison": {"iterations": 2},
    "probe": {"epochs": 1},
    "tune": {"max_trials": 2, "epochs": 1, "widths": [8]},
    "autoencoder": {"epochs": 2, "iterations": 2},
    # Trusted images of one track say nothing of the labels of other classes.
    "filter": {"combined": ["residual", "trigger"], "residual": {"steps": [5]}},
    "teacher": {"epochs": 2, "method": "standard", "architecture": "cnn"},
    "student": {"epochs": 2, "architecture": "cnn"},
    "abstention": {"passes": 3},
    "published": {"teacher": {"epochs": 2}, "student": {"epochs": 2}, "abstention": {"passes": 3}},
    "smoothed": {"epochs": 2},
    "certify": {"images": 10, "n": 100},
    "rivals": {"runtime": {"epochs": 2}, "members": 2},
    "compare": {
        "filters": ["median+jpeg", "reform"],
        "images": 10,
        "attacks": ["fgsm"],
        "adaptive": ["pgd"],
        "draws": 2,
        "l2": [0.5],
    },
    "privacy": {"models": ["undefended", "student"], "images": 40, "networks": 3, "network": {"epochs": 1}, "draws": 2},
    "robustness": {"attacks": ["fgsm", "pgd"], "epsilons": ["4/255", "8/255"], "steps": 20, "queries": 10},
    "promotion": {"min_clean_accuracy": 0, "min_coverage": 0, "min_robust_accuracy": 0},
}


@dataclass(frozen=True)
class Clone:
    """A folder with the repository in it."""

    folder: Path

    def environment(self, **changes: str) -> dict[str, str]:
        """As a user has it after activating the virtual environment, apart from other people's DVC and MLflow."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "GIT_"))}
        dvc = str(self.folder.parent / "dvc")
        return kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": "src",
            "DVC_SITE_CACHE_DIR": dvc,
            "DVC_GLOBAL_CONFIG_DIR": dvc,
            "DVC_SYSTEM_CONFIG_DIR": dvc,
            "GIT_CONFIG_GLOBAL": os.devnull,
            **changes,
        }

    def attempt(self, *command: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.environment(**changes), capture_output=True, text=True, check=False
        )

    def run(self, *command: str | Path) -> str:
        done = self.attempt(*command)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def identify(self) -> None:
        """Say who commits and promotes here."""
        self.run("git", "config", "user.name", "Tester")
        self.run("git", "config", "user.email", "tester@example.org")

    def change(self, changes: dict) -> None:
        path = self.folder / "params.yaml"
        path.write_text(yaml.safe_dump(merged(yaml.safe_load(path.read_text()), changes), sort_keys=False))

    def outputs(self) -> dict[str, bytes]:
        files = (file for top in ("data", "models", "reports") for file in (self.folder / top).rglob("*"))
        return {str(file.relative_to(self.folder)): file.read_bytes() for file in files if file.is_file()}

    def params(self) -> Params:
        return load_params(self.folder / "params.yaml")

    def stage_outs(self, stage: str) -> list[str]:
        outs = yaml.safe_load((self.folder / "dvc.yaml").read_text())["stages"][stage]["outs"]
        return [out if isinstance(out, str) else next(iter(out)) for out in outs]

    def runs(self) -> list:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder}/mlruns/mlflow.db")
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(client.search_runs(experiments, max_results=1000))


def merged(values: dict, changes: dict) -> dict:
    nested = {key: merged(values[key], value) for key, value in changes.items() if isinstance(value, dict)}
    return values | changes | nested


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory):
    """A clone of the working tree with small params, in which `dvc repro` ran once; and what that printed."""
    clone = Clone(tmp_path_factory.mktemp("pipeline") / "clone")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split("\0"):
        if (ROOT / name).is_file():
            (clone.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, clone.folder / name)
    (clone.folder / "dvc.lock").unlink(missing_ok=True)
    shutil.rmtree(clone.folder / "reports", ignore_errors=True)
    clone.change(SMALL)
    clone.run("git", "init", "-q")
    clone.identify()
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "small")
    return clone, clone.run("dvc", "repro")


@pytest.fixture(scope="session")
def clone(pipeline):
    return pipeline[0]
