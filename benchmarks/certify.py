"""What a certificate costs, beside ART's, a plain port of the original loop, and the bare forward calls.

Usage:
    python benchmarks/certify.py [--architecture cnn] [--images 10] [--draws 10000] [--repeats 3]

Rows of results/certify.json are written as they are measured. All certify the same images of noise, of 28x28 grey
pixels, with the same network, which has learned nothing; they take turns, and the fastest of the repeats counts. The
port takes images one by one, in batches of 400 draws, as the code of Cohen, Rosenfeld and Kolter (2019) does.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
from pipeline import git

from robust_distillation.arrays import Array
from robust_distillation.classifiers import ARCHITECTURES
from robust_distillation.files import write_json

RESULTS = Path("results/certify.json")
SHAPE, CLASSES, SIGMA, ALPHA = (28, 28, 1), 10, 0.25, 0.001
CHOOSING, PORTED, BARE = 100, 400, 1000  # draws: to choose an answer, of a batch of the port, of a bare call


def interval(count: int, draws: int, *, alpha: float, method: str) -> tuple[float, float]:
    """Return the two-sided Clopper-Pearson interval of a probability, which statsmodels calls `beta`."""
    from scipy.stats import binomtest

    assert method == "beta"
    found = binomtest(int(count), draws).proportion_ci(1 - alpha, "exact")
    return found.low, found.high


def ours(model: Any, images: Array, draws: int) -> Array:
    """Return certified radii (N,) by this project."""
    from robust_distillation.defences.smoothing import Smoothed

    return Smoothed(model, sigma=SIGMA).certify(images, n0=CHOOSING, n=draws, alpha=ALPHA).radii


def art(model: Any, images: Array, draws: int) -> Array:
    """Return certified radii (N,) by ART."""
    import tensorflow as tf
    from art.estimators.certification.randomized_smoothing import TensorFlowV2RandomizedSmoothing

    # ART asks statsmodels for this one function, which the project does not need.
    sys.modules.setdefault("statsmodels.stats.proportion", SimpleNamespace(proportion_confint=interval))  # type: ignore[arg-type]
    smoothed = TensorFlowV2RandomizedSmoothing(
        tf.function(lambda noisy, training=False: model(noisy, training=False)),
        nb_classes=CLASSES,
        input_shape=SHAPE,
        loss_object=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        sample_size=CHOOSING,
        scale=SIGMA,
        alpha=ALPHA,
    )
    radii: Array = smoothed.certify(images, n=draws, batch_size=PORTED)[1]
    return radii


def port(model: Any, images: Array, draws: int) -> Array:
    """Return certified radii (N,) as the original code finds them, with Keras in the place of PyTorch."""
    import tensorflow as tf
    from scipy.stats import norm

    def sample(image: Array, count: int) -> Array:
        counts = np.zeros(CLASSES, int)
        while count > 0:
            size = min(PORTED, count)
            count -= size
            batch = tf.repeat(image[None], size, axis=0)
            answers = model(batch + SIGMA * tf.random.normal(batch.shape), training=False).numpy().argmax(axis=1)
            for answer in answers:
                counts[answer] += 1
        return counts

    radii = []
    for image in images:
        chosen = sample(image, CHOOSING).argmax()
        bound = interval(sample(image, draws)[chosen], draws, alpha=2 * ALPHA, method="beta")[0]
        radii.append(SIGMA * norm.ppf(bound) if bound >= 0.5 else 0.0)
    return np.array(radii)


def bare(model: Any, images: Array, draws: int) -> Array:
    """Answer as many images, without noise, and return nothing of use."""
    import tensorflow as tf

    answer = tf.function(lambda noisy: tf.argmax(model(noisy, training=False), axis=1))
    noisy = tf.zeros((BARE, *SHAPE))
    for _ in range(len(images) * (draws + CHOOSING) // BARE):
        answer(noisy).numpy()
    return np.zeros(len(images))


SIDES: dict[str, Callable[[Any, Array, int], Array]] = {"ours": ours, "art": art, "port": port, "bare": bare}


@click.command()
@click.option("--architecture", default="cnn", show_default=True)
@click.option("--images", default=10, show_default=True)
@click.option("--draws", default=10_000, show_default=True)
@click.option("--repeats", default=3, show_default=True)
def main(architecture: str, images: int, draws: int, repeats: int) -> None:
    """Measure all sides."""
    model = ARCHITECTURES[architecture](SHAPE, CLASSES)
    given = np.random.default_rng(0).random((images, *SHAPE), dtype=np.float32)
    seconds: dict[str, float] = {}
    radii = {}
    for number in range(repeats + 1):
        for name, side in SIDES.items():
            start = time.perf_counter()
            radii[name] = side(model, given, draws if number else CHOOSING)  # the first round only warms up
            if number:
                seconds[name] = min(seconds.get(name, np.inf), time.perf_counter() - start)
        if seconds:
            rows = [
                {
                    "side": name,
                    "architecture": architecture,
                    "seconds": round(took, 2),
                    "draws_a_second": round(images * (draws + CHOOSING) / took),
                    "times_ours": round(took / seconds["ours"], 2),
                    "mean_radius": round(float(radii[name].mean()), 4),
                }
                for name, took in seconds.items()
            ]
            options = f"--architecture {architecture} --images {images} --draws {draws} --repeats {repeats}"
            command = f"python benchmarks/certify.py {options}"
            write_json(RESULTS, {"rows": rows, "command": command, "commit": git("rev-parse", "HEAD")})


if __name__ == "__main__":
    main()
