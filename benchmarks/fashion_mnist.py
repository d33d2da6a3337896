"""Defences on all of Fashion-MNIST: choose, train, attack and certify.

Usage:
    python benchmarks/fashion_mnist.py choose --archives FOLDER [NAME ...]
    python benchmarks/fashion_mnist.py choose-noise --archives FOLDER
    python benchmarks/fashion_mnist.py measure --archives FOLDER [NAME ...]
    python benchmarks/fashion_mnist.py certify --archives FOLDER [--draws 10000] [NAME ...]
    python benchmarks/fashion_mnist.py draw --archives FOLDER [--draws 10000]

FOLDER holds the four IDX files. `choose` trains candidates for a part of the time and judges them on validation images,
`choose-noise` networks that are to be smoothed; the test set is not read. `measure` trains the rows of the table,
attacks them on the test set and puts them into results/fashion_mnist/metrics.json. `certify` adds certified accuracies
of smoothed networks, and `draw` makes docs/images/certified_fashion_mnist.png of them. Rows are written as they come,
and what is there is not made again: a training that was killed goes on with its last epoch, an attack and a
certification with the last hundred images.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from pipeline import git
from recipes import BASE, PLAIN, SOFTENED, Row, for_steps, student
from student import (
    Cost,
    Data,
    Judging,
    archives_option,
    around,
    fill,
    fingerprint,
    fit,
    keep,
    on_labels,
    pgd_figures,
    rows_of,
)

from robust_distillation.classifiers.settings import Adversary, Augmentation, Smoothing, Training
from robust_distillation.dataset.generator import DatasetGenerator
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.sources import SOURCES
from robust_distillation.files import read_record
from robust_distillation.params import load_params
from robust_distillation.records import Classes

if TYPE_CHECKING:
    from robust_distillation.auditing.certification import Certification
    from robust_distillation.defences.defence import Defence

BUILD = Path("build/fashion_mnist")
FIGURE = Path("docs/images/certified_fashion_mnist.png")
CHOICE, METRICS = (Path(f"results/fashion_mnist/{name}.json") for name in ("choice", "metrics"))
CHOOSING = "python benchmarks/fashion_mnist.py {choose,choose-noise} --archives FOLDER [NAME ...]"
MEASURING = "python benchmarks/fashion_mnist.py {measure,certify} --archives FOLDER [NAME ...]"
SETS = ("train", "validate", "trusted", "test")
EPSILON = 0.1
JUDGING = Judging(
    images=1000, adaptive_images=500, epsilons=(0.05, EPSILON), standard_images=1000, standard=(EPSILON,), l2=1.5
)
BUDGET, TENTH = 8_000, 1_400  # steps of 128 images

VARIED = Augmentation(rotation=0.05, scale=0.05, shift=1.0, contrast=0.1, mirror=0.5)
GUIDED = replace(
    BASE, method="fgsm_ep", adversary=Adversary(epsilon=EPSILON), weight_decay=5e-3, augmentation=VARIED, seed=26
)
REGULARISED = replace(
    GUIDED, method="fgsm_pgi", architecture="srn_small", adversary=Adversary(epsilon=EPSILON, beta=10.0)
)
SOFT = replace(GUIDED, learning_rate=0.2, weight_decay=1e-2, label_smoothing=0.2, self_distillation=0.5)
CANDIDATES: dict[str, Training] = {
    "fgsm_ep": GUIDED,
    "fgsm_ep, weight decay 0.0005": replace(GUIDED, weight_decay=5e-4),
    "fgsm_ep, epsilon 0.11": replace(GUIDED, adversary=Adversary(epsilon=0.11)),
    "n_fgsm": replace(GUIDED, method="n_fgsm"),
    "fgsm_ep, no variation": replace(GUIDED, augmentation=Augmentation()),
    "fgsm_pgi, srn_small": REGULARISED,
    "fgsm_ep, soft": SOFT,
    "fgsm_ep, soft, srn_deep": replace(SOFT, architecture="srn_deep"),
}
RUNTIME = replace(GUIDED, method="fgsm", weight_decay=0.0, augmentation=Augmentation())
ROWS: dict[str, Row] = {
    "undefended": Row(student(PLAIN, augmentation=VARIED), 4_000),
    "distilled": Row(student(SOFTENED, augmentation=VARIED), 4_000, SOFTENED, 4_000, temperature=20.0),
    "runtime adversarial training": Row(student(RUNTIME), 4_000),
    "ours": Row(student(REGULARISED), BUDGET),
}

NOISY = replace(
    GUIDED, method="consistency", architecture="lenet", average=0.99, weight_decay=5e-4, precision="float32"
)
STILL = replace(NOISY, augmentation=Augmentation())
NOISES: dict[str, Training] = {
    "consistency": NOISY,
    "consistency, no variation": STILL,
    "gaussian": replace(NOISY, method="gaussian"),
    "gaussian, no variation": replace(STILL, method="gaussian"),
}
SMOOTHED = {
    f"sigma {sigma:g}": replace(NOISES["gaussian, no variation"], smoothing=Smoothing(sigma=sigma))
    for sigma in (0.25, 0.5, 1.0)
}
CERTIFIED, RADII = 500, (0.25, 0.5, 0.75, 1.0)
FEW = 1_000  # draws, to choose by


def load(archives: Path) -> Data:
    """Make the sets, or read those of the last time."""
    if not (BUILD / "classes.json").exists():
        data = replace(load_params().data, source="fashion_mnist", path=archives)
        with TemporaryDirectory() as raw:
            SOURCES["fashion_mnist"].fetch(Path(raw), data)
            generator = DatasetGenerator(
                n_classes="all",
                n_train_samples="all",
                n_validate_samples=3000,
                n_test_samples="all",
                n_trusted_samples=2000,
                image_size=28,
                colour="grey",
                seed=22,
            )
            generator.generate(Path(raw), source="fashion_mnist").save(BUILD)
    sets = {name: ImageSet.load(BUILD / f"{name}.p") for name in SETS}
    return Data(**sets, further=None, classes=read_record(BUILD / "classes.json", Classes), build=BUILD)


@click.group()
def main() -> None:
    """Defences on all of Fashion-MNIST."""


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@archives_option
def choose(names: tuple[str, ...], archives: Path) -> None:
    """Judge candidates, all by default, on images that they have not seen."""
    data, rows = load(archives), rows_of(CHOICE)
    for name in names or CANDIDATES:
        if name not in {row["name"] for row in rows}:
            settings = for_steps(CANDIDATES[name], TENTH, len(data.train))
            model, noted = on_labels("candidate", settings, data.train, data)
            figures = pgd_figures(model, data.validate.images, data.validate.labels, JUDGING.standard)
            rows.append({"name": name, "steps": TENTH, **figures, "images": len(data.validate)})
            rows[-1] |= noted["cost"] | {"commit": noted["commit"]}
            keep(CHOICE, rows=rows, command=CHOOSING)


@main.command("measure")
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@archives_option
def measure_rows(names: tuple[str, ...], archives: Path) -> None:
    """Train rows of the table, all by default, and attack them on the test set."""
    data = load(archives)
    test = data.test.take(np.argsort(data.test.ids))

    def defence(name: str) -> tuple["Defence", Cost]:
        network, cost = fit(name, ROWS[name], data.train, data)
        return around(network, ROWS[name], data.train, data), cost

    for name in names or ROWS:
        fill(name, partial(defence, name), test, JUDGING, BUILD, METRICS, MEASURING)


draws_option = click.option("--draws", default=10_000, show_default=True, help="Of an image.")


def certification(
    name: str, noisy: Training, draws: int, images: ImageSet, data: Data
) -> "tuple[Certification, dict[str, Any]]":
    """Train a network with noise and certify the first images; return what came of it, and what is noted of both.

    Args:
        name: of the network and its certificates.
        noisy: how it is trained, its steps aside.
        draws: of an image.
        images: the first of them are certified.
        data: to train on.
    """
    from robust_distillation.auditing.certification import Certification, certify_in_shards
    from robust_distillation.defences.smoothing import Certificates, Smoothed
    from robust_distillation.stages.shards import Shards

    some = images.take(np.argsort(images.ids)[:CERTIFIED])
    settings = for_steps(noisy, 4_000, len(data.train))
    model, noted = on_labels(name, settings, data.train, data)
    sigma = settings.smoothing.sigma
    found = certify_in_shards(
        Smoothed(model, sigma=sigma, seed=1),
        some.images,
        n0=100,
        n=draws,
        alpha=0.001,
        done=Shards(BUILD / "certificates" / f"{name}-{fingerprint(model)}-{draws}", Certificates),
    )
    told = {"draws": draws, **noted["cost"], "commit": git("rev-parse", "HEAD")}
    shape = some.features.shape[1:]
    return Certification(certificates=found, labels=some.labels, sigma=sigma, shape=shape), told


@main.command("choose-noise")
@archives_option
def choose_noise(archives: Path) -> None:
    """Judge ways to train with noise of sigma 0.25 by what is certified of validation images."""
    data, rows = load(archives), rows_of(CHOICE, "noise")
    for name, noisy in NOISES.items():
        if name not in {row["name"] for row in rows}:
            found, told = certification(name, noisy, FEW, data.validate, data)
            rows.append({"name": name, "certified": found.to_dict(RADII), **told})
            keep(CHOICE, noise=rows, command=CHOOSING)


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@archives_option
@draws_option
def certify(names: tuple[str, ...], archives: Path, draws: int) -> None:
    """Train networks with noise, all by default, and certify them on the test set."""
    data, rows = load(archives), rows_of(METRICS)
    for name in names or SMOOTHED:
        if (name, draws) not in {(row["name"], row.get("draws")) for row in rows}:
            found, told = certification(name, SMOOTHED[name], draws, data.test, data)
            rows.append({"name": name, "certified": found.to_dict(RADII), **told})
            keep(METRICS, rows=rows, command=MEASURING)


@main.command()
@archives_option
@draws_option
def draw(archives: Path, draws: int) -> None:
    """Draw what is certified of all networks, by radius."""
    from robust_distillation.auditing.certification import certification_figure

    data = load(archives)
    found = {name: certification(name, noisy, draws, data.test, data)[0] for name, noisy in SMOOTHED.items()}
    certification_figure(found).savefig(FIGURE, dpi=90)


if __name__ == "__main__":
    main()
