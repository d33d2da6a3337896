"""The models that are attacked, trained on GTSRB (43 classes, 32x32) where they are not there yet.

    python -m benchmarks.attacks.models --archives FOLDER

Writes build/attacks/NAME.keras, NAME one of cnn, resnet, robust-cnn and robust-resnet, and build/attacks/test.npz, the
test set in the official order. The robust ones are trained by N-FGSM (de Jorge et al. 2022, algorithm 1: noise of twice
epsilon, one step, no clipping to the ball) at 8/255, with an epsilon that warms up over the first third.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from robust_distillation.arrays import Array
from robust_distillation.dataset.generator import DatasetGenerator, Splits
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.files import replacing

from .cases import EPSILON

FOLDER = Path("build/attacks")
TEST = FOLDER / "test.npz"
EPOCHS = {"cnn": 6, "resnet": 4, "robust-cnn": 10, "robust-resnet": 10}
SEED = 7
BATCH_SIZE = 128


def load(name: str) -> Any:
    """Return a trained model."""
    from robust_distillation.classifiers.storage import load_model

    return load_model(found(FOLDER / f"{name}.keras"))


def first_images(count: int) -> tuple[Array, Array]:
    """Return the first official test images, float32 (count, 32, 32, 3) in [0, 1], and their labels."""
    with np.load(found(TEST)) as arrays:
        return arrays["features"][:count].astype(np.float32) / 255, arrays["labels"][:count].astype(np.int64)


def found(path: Path) -> Path:
    if not path.exists():
        raise click.ClickException(f"{path}: not found; run `python -m benchmarks.attacks.models --archives FOLDER`")
    return path


def in_official_order(test: ImageSet) -> ImageSet:
    return test.take(np.argsort(test.ids))


def jitter(images: Array, rng: np.random.Generator) -> Array:
    """Vary brightness and contrast."""
    shape = (len(images), 1, 1, 1)
    contrast = rng.uniform(0.7, 1.3, shape).astype(np.float32)
    brightness = rng.uniform(-0.15, 0.15, shape).astype(np.float32)
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    varied: Array = np.clip((images - mean) * contrast + mean + brightness, 0, 1)
    return varied


def train(name: str, splits: Splits) -> Any:
    """Train one model; robust ones by N-FGSM."""
    import keras
    import tensorflow as tf

    from robust_distillation.classifiers import ARCHITECTURES

    keras.utils.set_random_seed(SEED)
    robust = name.startswith("robust-")
    model = ARCHITECTURES[name.removeprefix("robust-")]((32, 32, 3), len(splits.classes))
    images, labels = splits.train.images, splits.train.labels
    n_steps = EPOCHS[name] * (len(images) // BATCH_SIZE)
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, n_steps - n_steps // 8, warmup_target=3e-3, warmup_steps=n_steps // 8
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=5e-4)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer.build(model.trainable_variables)

    def perturb(batch: Any, truth: Any, noise: Any, epsilon: Any) -> Any:
        start = batch + noise
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(start)
            loss = loss_of(truth, model(start, training=False))
        return start + epsilon * tf.sign(tape.gradient(loss, start))

    def update(batch: Any, truth: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = model(batch, training=True)
            loss = loss_of(truth, logits)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return loss, tf.reduce_mean(tf.cast(tf.argmax(logits, 1) == truth, tf.float32))

    perturb_in_graph, update_in_graph = tf.function(perturb), tf.function(update)
    rng = np.random.default_rng(SEED)
    validate = splits.validate
    step = 0
    for epoch in range(EPOCHS[name]):
        order = rng.permutation(len(images))[: len(images) // BATCH_SIZE * BATCH_SIZE].reshape(-1, BATCH_SIZE)
        bar = tqdm(order, desc=f"{name} {epoch + 1}/{EPOCHS[name]}", unit="batch", mininterval=5)
        for rows in bar:
            batch, truth = jitter(images[rows], rng), labels[rows].astype(np.int64)
            if robust:
                epsilon = np.float32(EPSILON * min(1.0, 3 * (step + 1) / n_steps))
                noise = rng.uniform(-2 * epsilon, 2 * epsilon, batch.shape).astype(np.float32)
                batch = perturb_in_graph(batch, truth, noise, tf.constant(epsilon))
            loss, accuracy = update_in_graph(batch, truth)
            step += 1
            if step % 20 == 0:
                bar.set_postfix(loss=f"{float(loss):.3f}", accuracy=f"{float(accuracy):.3f}", refresh=False)
        right = model.predict(validate.images, batch_size=500, verbose=0).argmax(axis=1) == validate.labels
        click.echo(f"{name} epoch {epoch + 1}: clean validation accuracy {right.mean():.4f}")
    return model


@click.command()
@click.option("--archives", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.argument("names", nargs=-1, type=click.Choice(list(EPOCHS)))
def main(archives: Path, names: tuple[str, ...]) -> None:
    """Train NAMES, by default all, unless they are there."""
    from robust_distillation.classifiers.storage import save_model

    splits = DatasetGenerator(
        n_classes="all", n_train_samples="all", n_validate_samples=1290, n_test_samples="all", image_size=32, seed=SEED
    ).generate(archives)
    test = in_official_order(splits.test)
    with replacing(TEST) as temporary, temporary.open("wb") as handle:
        np.savez(handle, features=test.features, labels=test.labels)
    for name in names or tuple(EPOCHS):
        if not (FOLDER / f"{name}.keras").exists():
            save_model(train(name, splits), FOLDER / f"{name}.keras")


if __name__ == "__main__":
    main()
