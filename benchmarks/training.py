"""What a step of each training method costs, beside the bare gradient calls that it cannot do without.

Usage:
    python benchmarks/training.py [--architecture srn] [--gradients 120] [--repeats 3] [METHOD ...]

Rows of results/training.json are written as they are measured. A step is what three epochs take longer than one, so
that nothing counts that is done once. Trainings and bare calls take turns on the same images of noise, and the fastest
of the repeats counts. `share_of_bare` is bare time by training time. bfloat16 is measured where the processor has it.
"""

import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
from pipeline import git

from robust_distillation.classifiers import ARCHITECTURES
from robust_distillation.classifiers.settings import Training
from robust_distillation.files import write_json
from robust_distillation.settings import Precision

RESULTS = Path("results/training.json")
BATCH, SHAPE, CLASSES = 128, (32, 32, 3), 43
GRADIENTS = {"standard": 1, "n_fgsm": 2, "fgsm_ep": 2, "fgsm_pgi": 3, "pgd": 11, "trades": 12}  # each step's


def training(architecture: str, method: str, precision: Precision, steps: int, epochs: int) -> float:
    """Return the seconds of a training."""
    from robust_distillation.classifiers.training import one_hot, train_classifier

    rng = np.random.default_rng(0)
    images = rng.random((BATCH * steps, *SHAPE), dtype=np.float32)
    targets = one_hot(rng.integers(0, CLASSES, len(images)), CLASSES)
    settings = Training(
        method=method,
        architecture=architecture,
        epochs=epochs,
        batch_size=BATCH,
        optimizer="sgd",
        learning_rate=0.01,
        precision=precision,
        seed=1,
    )
    start = time.perf_counter()
    train_classifier(images, targets, settings, validation=(images[:2], targets[:2]))
    return time.perf_counter() - start


def bare(architecture: str, gradients: int, precision: Precision, steps: int) -> float:
    """Return the seconds of one gradient by the weights and the others by the images."""
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
    start = time.perf_counter()
    for _ in range(steps):
        call(images)
    return (time.perf_counter() - start) / steps


@click.command()
@click.argument("methods", nargs=-1, type=click.Choice(list(GRADIENTS)), metavar="[METHOD ...]")
@click.option("--architecture", default="srn", show_default=True)
@click.option(
    "--gradients",
    type=click.IntRange(min=max(GRADIENTS.values())),
    default=120,
    show_default=True,
    help="Of an epoch: the more a method's step takes, the fewer steps it makes.",
)
@click.option("--repeats", default=3, show_default=True)
def main(methods: tuple[str, ...], architecture: str, gradients: int, repeats: int) -> None:
    """Measure methods, all by default, and `standard` first."""
    from robust_distillation.classifiers.training import has_bfloat16

    rows: list[dict[str, Any]] = []
    standard: dict[str, float] = {}
    asked = [method for method in GRADIENTS if method == "standard" or not methods or method in methods]
    for precision, method in product(get_args(Precision) if has_bfloat16() else ("float32",), asked):
        steps = gradients // GRADIENTS[method]
        triples = [
            (
                training(architecture, method, precision, steps, epochs=1),
                training(architecture, method, precision, steps, epochs=3),
                bare(architecture, GRADIENTS[method], precision, steps),
            )
            for _ in range(repeats)
        ]
        one, three, least = (min(times) for times in zip(*triples, strict=True))
        trained = (three - one) / (2 * steps)
        rows.append(
            {
                "method": method,
                "architecture": architecture,
                "precision": precision,
                "milliseconds": round(1000 * trained, 1),
                "bare_milliseconds": round(1000 * least, 1),
                "share_of_bare": round(least / trained, 3),
                "standard_epochs": round(trained / standard.setdefault(precision, trained), 2),
            }
        )
        options = f"--architecture {architecture} --gradients {gradients} --repeats {repeats}"
        command = " ".join(["python benchmarks/training.py", options, *methods])
        write_json(RESULTS, {"rows": rows, "command": command, "commit": git("rev-parse", "HEAD")})


if __name__ == "__main__":
    main()
