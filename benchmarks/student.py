"""Choose, train and measure the student of the full GTSRB.

Usage:
    python benchmarks/student.py choose --archives FOLDER [--steps 3600] [NAME ...]

`choose` trains candidates of benchmarks/recipes.py on the training tracks and judges them on validation and trusted
ones, which no candidate has seen; the test set is not read. Rows of results/gtsrb/choice.json are written as they come.
A training that was killed goes on with its last epoch, and what is there is not made again.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from pipeline import git
from recipes import BASE, CANDIDATES, FURTHER, for_steps

from robust_distillation.arrays import Array
from robust_distillation.dataset.generator import DatasetGenerator
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.synthetic.further import draw_further
from robust_distillation.files import read_json, write_json
from robust_distillation.settings import format_epsilon

if TYPE_CHECKING:
    import keras

BUILD = Path("build/student")
CHOICE = Path("results/gtsrb/choice.json")
SETS = ("train", "validate", "trusted", "test")
EPSILONS = (4 / 255, 8 / 255)


@dataclass(frozen=True)
class Data:
    """The full GTSRB at 32x32, and synthetic signs."""

    train: ImageSet
    validate: ImageSet
    trusted: ImageSet
    test: ImageSet
    further: ImageSet


def load(archives: Path) -> Data:
    """Make the sets, or read those of the last time."""
    if not (BUILD / "further.p").exists():
        splits = DatasetGenerator(
            n_classes="all",
            n_train_samples="all",
            n_validate_samples=1290,
            n_test_samples="all",
            n_trusted_samples=3870,
            image_size=32,
            seed=12,
        ).generate(archives)
        splits.save(BUILD)
        further = draw_further(splits.classes, **FURTHER, image_size=32, colour="rgb", crop_to_roi=True)
        further.save(BUILD / "further.p")
    return Data(*(ImageSet.load(BUILD / f"{name}.p") for name in (*SETS, "further")))


def joined(first: ImageSet, second: ImageSet) -> ImageSet:
    """Return the rows of both."""
    return ImageSet(**{name: np.concatenate([array, getattr(second, name)]) for name, array in vars(first).items()})


def robust_accuracy(model: "keras.Model", images: Array, labels: Array, epsilon: float) -> float:
    """Return the accuracy under PGD with 20 steps."""
    from robust_distillation.threats.evasion.attack import Budget
    from robust_distillation.threats.evasion.ensemble import STANDS, build

    verdicts = build(["pgd"], Budget(steps=20))(model, images, labels, epsilon=epsilon)
    return float(np.mean(verdicts.broken_by == STANDS))


def judge(name: str, data: Data, steps: int) -> dict[str, Any]:
    """Train a candidate and return its row."""
    from robust_distillation.classifiers.training import evaluate, one_hot, train_classifier

    unseen = joined(data.validate, data.trusted)
    settings = for_steps(replace(BASE, **CANDIDATES[name]), steps, len(data.train))
    used = joined(data.train, data.further) if settings.further_share else data.train
    start = time.monotonic()
    model, history = train_classifier(
        used.images,
        one_hot(used.labels, 43),
        settings,
        validation=(data.validate.images, one_hot(data.validate.labels, 43)),
        own=len(data.train),
        checkpoint=BUILD / f"{name}-{steps}.p",
    )
    minutes = (time.monotonic() - start) / 60
    robust = {format_epsilon(e): robust_accuracy(model, unseen.images, unseen.labels, e) for e in EPSILONS}
    return {
        "name": name,
        "steps": steps,
        "epochs": settings.epochs,
        "parameters": model.count_params(),
        "clean": evaluate(model, unseen.images, unseen.labels)["accuracy"],
        "pgd_20": robust,
        "accuracy_on_training_batches": history["accuracy"][-1],
        "train_minutes": round(minutes, 1),
        "images": len(unseen),
        "commit": git("rev-parse", "HEAD"),
    }


@click.group()
def main() -> None:
    """Choose, train and measure the student of the full GTSRB."""


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@click.option("--archives", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--steps", default=3600, show_default=True, help="Of each training; a tenth of the budget by default.")
def choose(names: tuple[str, ...], archives: Path, steps: int) -> None:
    """Judge candidates, all by default, on tracks that they have not seen."""
    data = load(archives)
    rows = read_json(CHOICE)["rows"] if CHOICE.exists() else []
    done = {(row["name"], row["steps"]) for row in rows}
    for name in names or CANDIDATES:
        if (name, steps) not in done:
            rows.append(judge(name, data, steps))
            write_json(
                CHOICE,
                {
                    "rows": rows,
                    "command": "python benchmarks/student.py choose --archives FOLDER [--steps N] [NAME ...]",
                },
            )


if __name__ == "__main__":
    main()
