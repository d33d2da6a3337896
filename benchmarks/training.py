"""What a step of each training method costs, beside the bare gradient calls that it cannot do without.

Usage:
    python benchmarks/training.py [--architecture srn] [--gradients 60] [--rounds 9] [METHOD ...]

Rows of results/training.json are written as they are measured. Each epoch of a training on images of noise takes turns
with as many bare calls, and with single gradients, for a machine's speed drifts within minutes by more than what is
looked for: ratios are of neighbours, and the median of the rounds counts, less the first, which traces. The ratio to
an epoch of `standard` goes by the single gradients. bfloat16 is measured where the processor has it.
"""

import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import click
import numpy as np
from pipeline import git

from robust_distillation.arrays import Array
from robust_distillation.classifiers import ARCHITECTURES
from robust_distillation.classifiers.settings import Training
from robust_distillation.files import write_json
from robust_distillation.settings import Precision

RESULTS = Path("results/training.json")
BATCH, SHAPE, CLASSES = 128, (32, 32, 3), 43
GRADIENTS = {"standard": 1, "n_fgsm": 2, "fgsm_ep": 2, "fgsm_pgi": 3, "pgd": 11, "trades": 12}  # each step's
SINGLE = 20  # gradients that a round is compared with


def measured(architecture: str, method: str, precision: Precision, steps: int, rounds: int) -> Array:
    """Return by round (R, 3) the seconds of a training step, of its bare gradient calls and of a single one."""
    import keras

    from robust_distillation.classifiers import training

    rng = np.random.default_rng(0)
    images = rng.random((BATCH * steps, *SHAPE), dtype=np.float32)
    targets = training.one_hot(rng.integers(0, CLASSES, len(images)), CLASSES)
    settings = Training(
        method=method,
        architecture=architecture,
        epochs=rounds + 1,
        batch_size=BATCH,
        optimizer="sgd",
        learning_rate=0.01,
        precision=precision,
        seed=1,
    )
    calls, single = bare(architecture, GRADIENTS[method], precision), bare(architecture, 1, precision)
    found: list[tuple[float, float, float]] = []

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
        def __init__(self, **_: Any) -> None:
            super().__init__()
            self.start = 0.0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            step = (time.perf_counter() - self.start) / steps
            found.append((step, seconds(calls, steps), seconds(single, SINGLE)))
            click.echo(f"{method}: " + ", ".join(f"{1000 * value:.0f}" for value in found[-1]) + " ms")

    with mock.patch.object(training, "TqdmCallback", Clock):
        training.train_classifier(images, targets, settings, validation=(images[:2], targets[:2]))
    return np.array(found[1:])


def seconds(call: Callable[[], Any], times: int) -> float:
    """Return what a call takes."""
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def bare(architecture: str, gradients: int, precision: Precision) -> Callable[[], Any]:
    """Return a call of one gradient by the weights and the others by the images, traced already."""
    import keras
    import tensorflow as tf

    from robust_distillation.classifiers.training import computed_in

    model = ARCHITECTURES[architecture](SHAPE, CLASSES)
    images = tf.random.uniform((BATCH, *SHAPE))
    labels = tf.zeros(BATCH, tf.int32)

    def loss(batch: Any) -> Any:
        return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, model(batch, training=True), True))

    def step(batch: Any) -> Any:
        for _ in range(gradients - 1):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(batch)
                value = loss(batch)
            batch = batch + 0.01 * tape.gradient(value, batch)
        with tf.GradientTape() as tape:
            value = loss(batch)
        return [tf.reduce_sum(gradient) for gradient in tape.gradient(value, model.trainable_variables)]

    call: Callable[[Any], Any] = tf.function(step)
    with computed_in(precision):
        call(images)
    return lambda: call(images)


@click.command()
@click.argument("methods", nargs=-1, type=click.Choice(list(GRADIENTS)), metavar="[METHOD ...]")
@click.option("--architecture", type=click.Choice(list(ARCHITECTURES)), default="srn", show_default=True)
@click.option(
    "--gradients",
    type=click.IntRange(min=max(GRADIENTS.values())),
    default=60,
    show_default=True,
    help="Of an epoch: the more a method's step takes, the fewer steps it makes.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=9, show_default=True)
def main(methods: tuple[str, ...], architecture: str, gradients: int, rounds: int) -> None:
    """Measure methods, all by default, and `standard` first."""
    from robust_distillation.classifiers.training import has_bfloat16

    rows: list[dict[str, Any]] = []
    standard: dict[str, float] = {}
    asked = [method for method in GRADIENTS if method == "standard" or not methods or method in methods]
    for precision, method in product(get_args(Precision) if has_bfloat16() else ("float32",), asked):
        step, least, single = measured(architecture, method, precision, gradients // GRADIENTS[method], rounds).T
        singles = float(np.median(step / single))
        rows.append(
            {
                "method": method,
                "architecture": architecture,
                "precision": precision,
                "milliseconds": round(1000 * float(np.median(step)), 1),
                "bare_milliseconds": round(1000 * float(np.median(least)), 1),
                "share_of_bare": round(float(np.median(least / step)), 3),
                "standard_epochs": round(singles / standard.setdefault(precision, singles), 2),
            }
        )
        options = f"--architecture {architecture} --gradients {gradients} --rounds {rounds}"
        command = " ".join(["python benchmarks/training.py", options, *methods])
        write_json(RESULTS, {"rows": rows, "command": command, "commit": git("rev-parse", "HEAD")})


if __name__ == "__main__":
    main()
