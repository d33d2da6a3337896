import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
logging.getLogger("tensorflow").setLevel(logging.ERROR)

LONG = ("tests/pipeline/", "tests/test_notebook.py")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the tests of a file in one process, and those that share a run of the pipeline.

    What has many tests starts first, so that the notebook, few but slow, goes with the pipeline's.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return "long" if file.startswith(LONG) else file

    return ByFile(config, log)


@dataclass(frozen=True)
class Problem:
    """A classification problem that a tiny model learns in seconds, and that model."""

    model: object
    images: np.ndarray
    labels: np.ndarray


def draw_problem(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four classes of 12x12 colour images: a bright square in one corner each, with noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    images = rng.uniform(0.2, 0.5, (count, 12, 12, 3))
    for image, label in zip(images, labels, strict=True):
        row, column = 6 * (label // 2), 6 * (label % 2)
        image[row : row + 6, column : column + 6] += 0.25
    return images.astype(np.float32), labels


@pytest.fixture(scope="session")
def lesson() -> tuple[np.ndarray, np.ndarray]:
    """What the models of the problem learn from: images and labels."""
    return draw_problem(240, seed=0)


@pytest.fixture(scope="session")
def problem() -> Problem:
    return solved(seed=5)


@pytest.fixture(scope="session")
def other_problem() -> Problem:
    """The same problem with a model that one step of a targeted attack misleads more easily."""
    return solved(seed=8)


def solved(seed: int) -> Problem:
    from robust_distillation.classifiers.settings import Training
    from robust_distillation.classifiers.training import one_hot, train_classifier

    images, labels = draw_problem(240, seed=0)
    test_images, test_labels = draw_problem(60, seed=1)
    settings = Training(architecture="cnn", epochs=10, batch_size=32, learning_rate=0.003, seed=seed)
    model, _ = train_classifier(images, one_hot(labels, 4), settings, validation=(test_images, one_hot(test_labels, 4)))
    return Problem(model, test_images, test_labels)


@pytest.fixture(scope="session")
def set_of():
    """What makes a set of images and labels, each image a track of its own."""
    from robust_distillation.dataset.pickles import ImageSet

    def make(images, labels):
        count = len(images)
        return ImageSet(
            features=np.rint(255 * images).astype(np.uint8),
            labels=labels,
            ids=np.array([str(number) for number in range(count)]),
            tracks=np.arange(count),
            sizes=np.full((count, 2), 12),
            coords=np.tile([0, 0, 12, 12], (count, 1)),
        )

    return make


@pytest.fixture(scope="session")
def smoothing():
    """What stands for an autoencoder: the 3x3 mean of images of the problem."""
    import keras

    image = keras.Input((12, 12, 3))
    return keras.Model(image, keras.layers.AveragePooling2D(3, strides=1, padding="same")(image))


@pytest.fixture(scope="session")
def problem_set(problem, set_of):
    """The images of the problem as a set."""
    return set_of(problem.images, problem.labels)


@pytest.fixture(scope="session")
def gtsrb() -> Path:
    """The folder of the official archives."""
    folder = Path(__file__).parents[2] / "shared/data/gtsrb"
    if not folder.is_dir():
        pytest.skip("the real archives are not here")
    return folder


@pytest.fixture(scope="session")
def chromium():
    """Chromium as it is installed here, driven by Playwright."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()
