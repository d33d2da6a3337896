"""What a user registers from outside the package comes in by its path and runs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from robust_distillation.classifiers import ARCHITECTURES, METHODS
from robust_distillation.classifiers.settings import Training
from robust_distillation.classifiers.training import one_hot, train_classifier
from robust_distillation.cli import main
from robust_distillation.dataset.generator import DatasetGenerator
from robust_distillation.dataset.settings import Data
from robust_distillation.dataset.sources import SOURCES
from robust_distillation.defences.detectors import DETECTORS
from robust_distillation.defences.detectors.detector import load_detector, margin, save_detector
from robust_distillation.errors import InputError
from robust_distillation.params import load_params
from robust_distillation.stages import STAGES
from robust_distillation.threats.evasion import ATTACKS
from robust_distillation.threats.evasion.attack import Budget
from robust_distillation.threats.evasion.ensemble import STANDS, build
from robust_distillation.threats.poisons import POISONS
from robust_distillation.threats.poisons.poison import poison
from robust_distillation.threats.settings import Poison

ROOT = Path(__file__).parents[1]
REGISTRIES = (ARCHITECTURES, ATTACKS, DETECTORS, METHODS, POISONS, SOURCES, STAGES)
OWN = """
from dataclasses import dataclass, replace

import keras
import numpy as np
import tensorflow as tf

from robust_distillation.dataset.readers import archives
from robust_distillation.dataset.sources.source import Source
from robust_distillation.defences.detectors.detector import Fitted
from robust_distillation.threats.evasion.attack import Attack
from robust_distillation.threats.poisons.poison import Poison


@dataclass(frozen=True, kw_only=True)
class Brighten(Attack):
    def _attack(self, victim, images, labels, targets, epsilon):
        return np.minimum(images + np.float32(epsilon), 1)


class Invert(Poison):
    def __call__(self, images, labels, *, surrogate, strength, settings, seed):
        return 255 - images, labels


invert = Invert()


@dataclass(frozen=True)
class Brightness:
    threshold: float
    networks = {}
    settings = {}

    @classmethod
    def fit(cls, train, trusted, models, settings):
        detector = cls(float(np.quantile(trusted.mean(axis=(1, 2, 3)), settings.keep_clean, method="higher")))
        return Fitted(detector, detector.score(train), detector.score(trusted))

    @classmethod
    def restore(cls, threshold, settings, networks):
        return cls(threshold)

    def score(self, images, labels=None):
        return images.mean(axis=(1, 2, 3))


def linear(shape, n_classes):
    image = keras.Input(shape)
    return keras.Model(image, keras.layers.Dense(n_classes)(keras.layers.Flatten()(image)))


@dataclass(frozen=True)
class Hinge:
    settings: object
    temperature: float
    shape: tuple

    def __call__(self, model, batch):
        logits = model(batch.images, training=True)
        return keras.losses.categorical_hinge(2 * batch.targets - 1, logits / self.temperature), logits


def draw(folder, data):
    from robust_distillation.dataset.synthetic.archives import draw_archives

    draw_archives(folder, classes=[1, 14], tracks_per_class=6, frames_per_track=2, test_per_class=2, seed=1)


SIGNS = Source(
    check=lambda data: None, fetch=draw, reader=archives, names=lambda folder: {1: "my 1", 14: "my 14"}
)


def greet(params):
    print(f"greeted with {params.register.name}")
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's module in the working directory, which only the registries look into."""
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("mine", None)


def test_an_attack(own, problem):
    ensemble = build(["fgsm", "mine:Brighten"], Budget())
    verdicts = ensemble(problem.model, problem.images, problem.labels, epsilon=0.5)
    assert set(verdicts.broken_by) <= {"fgsm", "mine:Brighten", STANDS}
    moved = ensemble.attacks["mine:Brighten"](problem.model, problem.images, problem.labels, epsilon=0.1)
    np.testing.assert_array_equal(moved, np.minimum(problem.images + np.float32(0.1), 1))


def test_a_poison(own, problem):
    features = np.rint(255 * problem.images).astype(np.uint8)
    settings = Poison(kinds=["mine:invert"], epsilons=[0.1], alpha=0.1, iterations=1, fraction=0.5, seed=1)
    poisoned = poison(features, problem.labels, problem.model, settings)
    rows = poisoned.kinds == "mine:invert"
    assert rows.sum() == 30
    np.testing.assert_array_equal(poisoned.features[rows], 255 - features[rows])


def test_a_detector(own, problem):
    params = load_params(ROOT / "params.yaml")
    fitted = DETECTORS["mine:Brightness"].fit(problem.images, problem.images, problem.model, params.filter)
    detector = fitted.detector
    assert (detector.score(problem.images) <= detector.threshold).mean() >= params.filter.keep_clean
    save_detector(detector, own / "detector")
    restored = load_detector(own / "detector", problem.model)
    np.testing.assert_array_equal(restored.score(problem.images), detector.score(problem.images))
    # It has no slope of its own, but attackers see how far it is from refusing.
    suspicious = detector.score(problem.images) > detector.threshold
    np.testing.assert_array_equal(margin(restored, problem.images) > 0, suspicious)


def test_an_architecture_and_a_training_method(own, problem):
    settings = Training(
        method="mine:Hinge", architecture="mine:linear", epochs=20, batch_size=16, learning_rate=0.01, seed=1
    )
    data = problem.images, one_hot(problem.labels, 4)
    model, history = train_classifier(*data, settings, validation=data)
    assert len(model.layers) == 3
    assert history["loss"][-1] < history["loss"][0]


def test_a_source(own):
    params = load_params(ROOT / "params.yaml")
    values = vars(params.data) | {"source": "mine:SIGNS"}
    data = Data(**values)
    folder = own / "raw"
    folder.mkdir()
    SOURCES[data.source].fetch(folder, data)
    counts = {"n_train_samples": 4, "n_validate_samples": 2, "n_test_samples": 2, "n_trusted_samples": 2}
    splits = DatasetGenerator(n_classes="all", **counts).generate(folder, source=data.source)
    assert splits.names == ["my 1", "my 14"]


def test_a_source_of_ones_own_draws_no_further_signs(own):
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["data"]["source"], values["draw"]["tracks_per_class"] = "mine:SIGNS", 2
    (own / "params.yaml").write_text(yaml.safe_dump(values))
    refused = CliRunner().invoke(main, ["check"])
    assert refused.exit_code == 1
    assert (
        "draw.tracks_per_class: source mine:SIGNS holds no traffic signs; set it to 0; nothing has run"
        in refused.output
    )


def test_a_stage(own):
    (own / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    entry = {"cmd": "robust-distillation stage mine:greet", "params": ["register"]}
    (own / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"greet": entry}}))
    subprocess.run(["git", "init", "-q"], check=True)
    command = [Path(sys.executable).with_name("robust-distillation"), "stage", "mine:greet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "greeted with traffic-sign-student" in done.stdout


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_every_entry_is_there_and_is_known_by_its_name(registry):
    for name in registry:
        entry = registry[name]
        if hasattr(entry, "__qualname__"):
            assert registry.name_of(entry) == name


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nonsense", "must be one of .*, or package.module:Name of your own"),
        ("../x:y", "must be one of"),
        ("no_such_module:Name", "no module named no_such_module here"),
        ("mine:Missing", "mine has no Missing"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(own, registry, name, said):
    with pytest.raises(InputError, match=rf"^{registry.kind} .*{said}"):
        registry[name]


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("data.source", SOURCES),
        ("surrogate.architecture", ARCHITECTURES),
        ("teacher.method", METHODS),
        ("filter.detector", DETECTORS),
        ("poison.kinds", POISONS),
        ("robustness.attacks", ATTACKS),
    ],
)
def test_params_take_the_names_of_a_registry_and_paths_of_ones_own(tmp_path, key, registry):
    section, name = key.split(".")

    def load(value):
        values = yaml.safe_load((ROOT / "params.yaml").read_text())
        values[section][name] = [value] if isinstance(values[section][name], list) else value
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
        return getattr(getattr(load_params(tmp_path / "params.yaml"), section), name)

    assert load("mine:Name") in ("mine:Name", ["mine:Name"])
    with pytest.raises(InputError, match=rf"{key}: must be .*{', '.join(registry)}"):
        load("nonsense")
