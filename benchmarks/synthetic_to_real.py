"""How much of the real GTSRB a small CNN recognises that has seen nothing but synthetic signs.

    python benchmarks/synthetic_to_real.py --archives FOLDER

FOLDER holds the official archives. Draws fresh synthetic signs, trains on them, scores all real test images (32x32, cut
to the sign's box, each scaled to zero mean and unit variance) and writes results/synthetic-to-real/metrics.json.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from PIL import Image
from pipeline import git
from tqdm import tqdm

from robust_distillation.arrays import Array
from robust_distillation.dataset.download import file_digest
from robust_distillation.dataset.readers.archives import (
    decode,
    list_test,
    list_training,
    read_files,
)
from robust_distillation.dataset.readers.reader import Record
from robust_distillation.dataset.signs import SIGNS
from robust_distillation.dataset.sources.gtsrb import OFFICIAL_MD5
from robust_distillation.dataset.synthetic.archives import draw_archives
from robust_distillation.files import write_json

if TYPE_CHECKING:
    import keras

SIDE = 32
BATCH_SIZE = 128
METRICS = Path("results/synthetic-to-real/metrics.json")


def read_images(records: Sequence[Record], title: str) -> tuple[Array, Array]:
    """Standardised images, float32 of shape (n, SIDE, SIDE, 3), and labels."""
    images = np.empty((len(records), SIDE, SIDE, 3), np.float32)
    files = zip(read_files(records), records, strict=True)
    for image, (file, record) in zip(images, tqdm(files, total=len(records), desc=title), strict=True):
        cropped = decode(file, record).crop(record.coords)
        image[:] = cropped.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    images -= images.mean(axis=(1, 2, 3), keepdims=True)
    images /= images.std(axis=(1, 2, 3), keepdims=True) + 1
    return images, np.array([record.label for record in records])


def build_model() -> "keras.Model":
    """Six convolutions with batch norm; about 0.3 M parameters."""
    from keras import Sequential, layers

    model = Sequential(
        [
            layers.Input((SIDE, SIDE, 3)),
            layers.RandomTranslation(0.06, 0.06, fill_mode="nearest"),
            layers.RandomZoom((-0.12, 0.12), fill_mode="nearest"),
            layers.GaussianNoise(0.1),
        ]
    )
    for width in (32, 48, 96):
        for _ in range(2):
            model.add(layers.Conv2D(width, 3, padding="same", use_bias=False))
            model.add(layers.BatchNormalization())
            model.add(layers.Activation("relu"))
        model.add(layers.MaxPooling2D())
        model.add(layers.Dropout(0.15))
    for layer in (layers.Flatten(), layers.Dropout(0.4), layers.Dense(96, "relu"), layers.Dense(len(SIGNS))):
        model.add(layer)
    return model


def train(images: Array, labels: Array, *, epochs: int, seed: int) -> "keras.Model":
    """Train on the whole set; the learning rate warms up, then falls along a cosine."""
    import keras

    keras.utils.set_random_seed(seed)
    model = build_model()
    steps = epochs * -(-len(images) // BATCH_SIZE)
    rate = keras.optimizers.schedules.CosineDecay(1e-4, steps * 9 // 10, warmup_target=3e-3, warmup_steps=steps // 10)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    model.fit(images, labels, batch_size=BATCH_SIZE, epochs=epochs, verbose=2)
    return model


def draw_and_train(tracks: int, frames: int, epochs: int, seed: int) -> "keras.Model":
    """A model that has seen nothing but synthetic signs."""
    with tempfile.TemporaryDirectory() as folder:
        archives = Path(folder)
        draw_archives(archives, tracks_per_class=tracks, frames_per_track=frames, test_per_class=1, seed=seed)
        images, labels = read_images(list_training(archives), "reading synthetic signs")
    return train(images, labels, epochs=epochs, seed=seed)


@click.command()
@click.option("--archives", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--tracks", default=100, show_default=True, help="Synthetic signs of each class.")
@click.option("--frames", default=5, show_default=True, help="Images of each sign.")
@click.option("--epochs", default=7, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(archives: Path, tracks: int, frames: int, epochs: int, seed: int) -> None:
    start = time.monotonic()
    model = draw_and_train(tracks, frames, epochs, seed)
    train_seconds = time.monotonic() - start
    images, labels = read_images(list_test(archives), "reading real signs")
    right = model.predict(images, batch_size=512, verbose=0).argmax(axis=1) == labels
    official = all(file_digest(archives / name, "md5") == md5 for name, md5 in OFFICIAL_MD5.items())
    metrics = {
        "accuracy": float(right.mean()),
        "per_class_accuracy": {sign: float(right[labels == label].mean()) for label, sign in enumerate(SIGNS)},
        "dataset": "official" if official else "reduced copy",
        "test_images": len(labels),
        "train_images": tracks * frames * len(SIGNS),
        "seed": seed,
        "epochs": epochs,
        "parameters": model.count_params(),
        "train_seconds": round(train_seconds, 1),
        "command": "python benchmarks/synthetic_to_real.py --archives FOLDER"
        f" --tracks {tracks} --frames {frames} --epochs {epochs} --seed {seed}",
        "commit": git("rev-parse", "HEAD"),
    }
    write_json(METRICS, metrics)
    click.echo(f"accuracy {metrics['accuracy']:.4f} on {len(labels)} real test images ({metrics['dataset']})")


if __name__ == "__main__":
    main()
