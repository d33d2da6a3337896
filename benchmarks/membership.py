"""Membership inference on Fashion-MNIST and GTSRB: does a way of training give away who was trained on?

Usage:
    python benchmarks/membership.py measure DATASET --archives FOLDER [--networks 32] [NAME ...]
    python benchmarks/membership.py draw DATASET

DATASET is `fashion_mnist` or `gtsrb`, FOLDER holds its official files. `measure` trains small networks by each method
on halves of a pool of training images, attacks each with all others as its shadow models, and puts what came out under
`membership` in results/DATASET/metrics.json. `draw` makes docs/images/membership_DATASET.png of it. Rows are written
as they come, and a network that is there is not trained again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import fashion_mnist
import numpy as np
import student as signs
from pipeline import git, hardware
from recipes import MILD
from student import METRICS, Data, archives_option, keep, rows_of

from robust_distillation.arrays import Array
from robust_distillation.auditing.settings import Privacy
from robust_distillation.classifiers.settings import Adversary, Smoothing, Training
from robust_distillation.defences.settings import Student, Teacher

if TYPE_CHECKING:
    from robust_distillation.auditing.membership import Membership

MODELS = ("undefended", "teacher", "student", "smoothed")
POOL, SEED, POINTS = 10_000, 404, 40
COMMAND = "python benchmarks/membership.py measure {} --archives FOLDER --networks {}"


@dataclass(frozen=True)
class Study:
    """A data set, and how networks are trained on it.

    Attributes:
        load: returns the sets of the studies of the same data.
        network: how each is trained, the method aside.
    """

    load: Callable[[Path], Data]
    network: Training


NETWORK = Training(
    architecture="lenet",
    epochs=20,
    batch_size=64,
    learning_rate=0.002,
    adversary=Adversary(epsilon=0.1),
    smoothing=Smoothing(sigma=0.25),
    seed=341,
)
SIGNS = replace(
    NETWORK,
    architecture="cnn",
    epochs=10,
    augmentation=MILD,
    adversary=Adversary(epsilon=8 / 255),
    smoothing=Smoothing(sigma=0.1),
)
STUDIES = {"fashion_mnist": Study(fashion_mnist.load, NETWORK), "gtsrb": Study(signs.load, SIGNS)}


def results(dataset: str) -> Path:
    return METRICS.parents[1] / dataset / METRICS.name


def attack(name: str, data: Data, study: Study, networks: int, build: Path) -> "tuple[Membership, dict[str, Array]]":
    """Train and attack the networks of a model; return what came of it, and curves by attack."""
    from robust_distillation.auditing.membership import attack_members, draw_members
    from robust_distillation.auditing.shadows import Methods, Pool, play
    from robust_distillation.dataset.tracks import track_groups

    rng = np.random.default_rng(SEED)
    chosen = data.train.take(np.sort(rng.permutation(len(data.train))[:POOL]))
    members = draw_members(networks, len(chosen), rng)
    asked = Privacy(models=[name], images=POOL, networks=networks, network=study.network, draws=16, seed=SEED)  # type: ignore[list-item]
    pool = Pool(
        images=chosen.images,
        labels=chosen.labels,
        validation=(data.validate.images, data.validate.labels),
        classes=data.classes,
    )
    robust = vars(replace(study.network, method="fgsm_ep"))
    methods = Methods(
        teacher=Teacher(**robust, temperature=1.0),
        student=Student(**robust),
        smoothed=replace(study.network, method="gaussian"),
    )
    game = play(pool, members, asked, methods, build)[name]
    found = attack_members(game, track_groups(chosen.tracks))
    return found, {one: found.curve(one, grid()) for one in found.scores}


def grid() -> Array:
    """Return the false positive rates at which curves are drawn."""
    rates: Array = np.geomspace(1e-3, 1, POINTS)
    return rates


dataset_argument = click.argument("dataset", type=click.Choice(list(STUDIES)))


@click.group()
def main() -> None:
    """Membership inference by way of training."""


@main.command()
@dataset_argument
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@archives_option
@click.option("--networks", default=32, show_default=True, help="Of each model.")
def measure(dataset: str, names: tuple[str, ...], archives: Path, networks: int) -> None:
    """Attack networks of each model, all by default."""
    study, path = STUDIES[dataset], results(dataset)
    data, rows = study.load(archives), rows_of(path, "membership")
    for name in names or MODELS:
        if name not in {row["name"] for row in rows}:
            start = time.monotonic()
            found, curves = attack(name, data, study, networks, Path("build/membership") / f"{dataset}-{networks}")
            minutes = round((time.monotonic() - start) / 60, 1)
            drawn = {one: np.round(values, 5).tolist() for one, values in curves.items()}
            rows.append({"name": name, **found.to_dict(), "curves": drawn, "minutes": minutes, "hardware": hardware()})
            rows[-1] |= {"command": COMMAND.format(dataset, networks), "commit": git("rev-parse", "HEAD")}
            keep(path, membership=rows)


@main.command()
@dataset_argument
def draw(dataset: str) -> None:
    """Draw the curves of all models."""
    from robust_distillation.auditing.figures import membership_figure

    rows = rows_of(results(dataset), "membership")
    curves = {row["name"]: {one: np.array(values) for one, values in row["curves"].items()} for row in rows}
    membership_figure(curves, grid()).savefig(f"docs/images/membership_{dataset}.png", dpi=90)


if __name__ == "__main__":
    main()
