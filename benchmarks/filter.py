"""Measure the detectors on the full GTSRB against poison of every kind, and what filtering saves.

Usage:
    python benchmarks/filter.py detect --archives FOLDER [--seed 102] [CASE ...]
    python benchmarks/filter.py damage --archives FOLDER [CASE ...]
    python benchmarks/filter.py draw --archives FOLDER CASE [CASE ...]

Cases are those of benchmarks/poisonings.py, each a poisoned training set. `detect` writes a row for every kind and
strength and every detector, and one for the whole case. `damage` trains a small teacher and student on what a filter
leaves, beside filters that discard nothing, as many images at random, and exactly the poison. In the case `evading`
the attacker knows the detector `residual` but for its seed, and trained one like it on clean images. Rows of
results/filter.json are written as they come, and what is there is not made again.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from peers import BACKDOORS, peers
from pipeline import git, hardware
from poisonings import ATTACKER, CASES, COMMON, HARMLESS, JPEG, QUALITIES
from recipes import BASE, student
from student import Data, archives_option, keep, load, pgd_figures, rows_of

from robust_distillation.arrays import Array
from robust_distillation.classifiers.settings import Augmentation, Training
from robust_distillation.dataset.pickles import ImageSet, load_pickle, save_pickle
from robust_distillation.defences.settings import LABEL, Autoencoder, Filter
from robust_distillation.threats.settings import Poison

if TYPE_CHECKING:
    import keras

    from robust_distillation.defences.detectors.detector import Models
    from robust_distillation.threats.poisons.poison import Poisoned

BUILD = Path("build/filter")
RESULTS, FIGURES = Path("results/filter.json"), Path("docs/images")
DETECTION, DAMAGE = "rows", "damage"  # tables of the results
COMMAND = "python benchmarks/filter.py {detect,damage} --archives FOLDER"
SEED = COMMON.seed

SURROGATE = Training(method="standard", architecture="vgg", epochs=4, batch_size=64, learning_rate=0.001, seed=101)
PROBE = replace(SURROGATE, architecture="lenet", epochs=8, seed=201)
AUTOENCODER = Autoencoder(
    mode="adversarial",
    kinds=["fgsm", "i_fgsm"],
    epsilons=[4 / 255, 12 / 255],
    alpha=2 / 255,
    iterations=10,
    noise=0.12,
    epochs=8,
    patience=3,
    batch_size=64,
    seed=203,
)
FILTER = Filter(
    detector="combined",
    inference_detector="none",
    threshold_start=0.02,
    keep_clean=0.99,
    reform="none",
    label=replace(LABEL, epochs=8, batch_size=128, precision="bfloat16"),
)
MEMBERS = FILTER.combined
SCORED = ("mse", "kl", *MEMBERS)
TAUGHT = student(
    BASE,
    architecture="srn_small",
    epochs=2,
    average=0.99,
    label_smoothing=0.0,
    augmentation=Augmentation(),
    seed=301,
)
ATTACKED = 500  # test images, the first, by PGD with 20 steps at 4/255


def add(table: str, rows: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
    """Write rows behind those of a table that are there."""
    rows += [row | {"hardware": hardware(), "commit": git("rev-parse", "HEAD")} for row in found]
    keep(RESULTS, **{table: rows}, command=COMMAND)


def model(path: Path, make: Callable[[], "keras.Model"]) -> "keras.Model":
    """Return the model of a file, made if it is not there."""
    from robust_distillation.classifiers.storage import load_model, save_model

    if not path.exists():
        save_model(make(), path)
    return load_model(path)


def learned(settings: Training, images: Array, labels: Array, data: Data) -> "keras.Model":
    """Train a classifier on images."""
    from robust_distillation.classifiers.training import one_hot, train_classifier

    n_classes = len(data.classes.ids)
    validation = data.validate.images, one_hot(data.validate.labels, n_classes)
    return train_classifier(images, one_hot(labels, n_classes), settings, validation=validation)[0]


def surrogate(data: Data) -> "keras.Model":
    """Return the attacker's own model."""
    return model(BUILD / "surrogate.keras", lambda: learned(SURROGATE, data.train.images, data.train.labels, data))


def poisoned(case: str, seed: int, data: Data) -> "tuple[ImageSet, Poisoned]":
    """Return the training set of a case, and the truth about it."""
    from robust_distillation.classifiers.training import seed_everything
    from robust_distillation.defences.detectors import DETECTORS
    from robust_distillation.defences.detectors.detector import Models, save_detector
    from robust_distillation.threats.poisons.poison import Poisoned, poison

    path, settings = BUILD / case_name(case, seed) / "poisoned.p", replace(CASES[case], seed=seed)
    if not path.exists():
        attacked = surrogate(data)
        if case == "evading" and not ATTACKER.exists():
            known = replace(FILTER, residual=replace(FILTER.residual, seed=FILTER.residual.seed + 1000))
            fitted = DETECTORS["residual"].fit(data.train, data.validate, Models(attacked, attacked), known)
            save_detector(fitted.detector, ATTACKER)
        seed_everything(settings.seed)
        save_pickle(path, vars(poison(data.train.features, data.train.labels, attacked, settings)))
    made = Poisoned(**load_pickle(path))
    return replace(data.train, features=made.features, labels=made.labels), made


def case_name(case: str, seed: int) -> str:
    """Return the name of a case, and its seed where that is another than the first."""
    return case if seed == SEED else f"{case} {seed}"


def defender(case: str, seed: int, train: ImageSet, data: Data) -> "tuple[Models, ImageSet]":
    """Return the defender's own networks, and the trusted images that these were not trained on."""
    from robust_distillation.dataset.tracks import split_by_track
    from robust_distillation.defences.autoencoder import Hyperparameters, adversarial_pairs, join, train_autoencoder
    from robust_distillation.defences.detectors.detector import Models

    own, calibrate = (data.trusted.take(rows) for rows in split_by_track(data.trusted.tracks, 0.5, AUTOENCODER.seed))
    folder = BUILD / case_name(case, seed)
    probe = model(
        folder / "probe.keras",
        lambda: learned(
            PROBE,
            np.concatenate([train.images, data.trusted.images]),
            np.concatenate([train.labels, data.trusted.labels]),
            data,
        ),
    )
    chosen = Hyperparameters(width=32, depth=1, latent=32, optimizer="adam", learning_rate=0.002)

    def reconstructing() -> "keras.Model":
        pairs, judged = (
            join(adversarial_pairs(images.features, images.labels, probe, AUTOENCODER))
            for images in (own, data.validate)
        )
        return train_autoencoder(chosen, pairs, judged, AUTOENCODER, [])[0]

    return Models(model(folder / "autoencoder.keras", reconstructing), probe), calibrate


def scored(case: str, seed: int, data: Data) -> "tuple[Poisoned, dict[str, dict[str, Array]]]":
    """Return the truth of a case, and by detector scores, verdicts and the seconds that they took."""
    from robust_distillation.defences.detectors import DETECTORS
    from robust_distillation.defences.detectors.combined import threshold_of
    from robust_distillation.defences.detectors.evidence import p_values, smallest

    train, truth = poisoned(case, seed, data)
    models, calibrate = defender(case, seed, train, data)
    found: dict[str, dict[str, Array]] = {}
    for name in SCORED:
        path = BUILD / case_name(case, seed) / f"{name}.p"
        if not path.exists():
            click.echo(f"{case}: {name}")
            start = time.monotonic()
            fitted = DETECTORS[name].fit(train, calibrate, models, FILTER)
            seconds = np.array(time.monotonic() - start)
            save_pickle(
                path,
                {"scores": fitted.scores, "kept": fitted.kept, "reference": fitted.reference, "seconds": seconds},
            )
        found[name] = load_pickle(path)
    if case in BACKDOORS:
        path = BUILD / case_name(case, seed) / "peers.p"
        if not path.exists():
            save_pickle(path, peers(train, models.probe, CASES[case].fraction))
        found |= load_pickle(path)
    references = {name: np.sort(found[name]["reference"]) for name in MEMBERS}
    joined = smallest({name: p_values(found[name]["scores"], references[name]) for name in MEMBERS})
    kept = joined <= threshold_of(FILTER.keep_clean)
    seconds = np.sum([found[name]["seconds"] for name in MEMBERS])
    return truth, found | {"combined": {"scores": joined, "kept": kept, "seconds": seconds}}


def detection(case: str, seed: int, data: Data) -> list[dict[str, Any]]:
    """Return the rows of a case: one of each detector for each kind and strength, and for the whole."""
    from robust_distillation.auditing.filtering import audit_filter, roc
    from robust_distillation.threats.poisons.poison import cells

    truth, found = scored(case, seed, data)
    kinds = np.where(truth.kinds == HARMLESS, "", truth.kinds)
    compressed = compressed_cells(truth, data) if HARMLESS in truth.kinds else {}
    rows = []
    for name, verdicts in found.items():
        common = {"detector": name, "seed": seed, "seconds": float(verdicts["seconds"])}
        audit = audit_filter(verdicts["scores"], verdicts["kept"], kinds, truth.strengths, data.train.tracks)
        by_cell: Any = audit.pop("per_kind")
        rows.append({"poison": case, "strength": None, **audit, **common})
        for cell, chosen in cells(kinds, truth.strengths).items():
            told = {"poison": str(kinds[chosen][0]), "strength": float(truth.strengths[chosen][0])}
            rows.append({**told, **by_cell[cell], "clean_kept": audit["clean_kept"], **common})
        for quality, (fooling, chosen) in compressed.items():
            figures = roc(verdicts["scores"][chosen], fooling[chosen]).figures
            counts = {"images": int(fooling.sum()), "clean": int(chosen.sum() - fooling.sum())}
            told = {"poison": "jpeg that fools, against clean jpeg", "strength": quality}
            rows.append({**told, **figures, **counts, **common})
    return rows


def compressed_cells(truth: "Poisoned", data: Data) -> dict[int, tuple[Array, Array]]:
    """Return by quality which rows fool the surrogate though compressed, and these with clean ones of that quality."""
    from robust_distillation.classifiers.training import predict_logits

    answers = predict_logits(surrogate(data), truth.features.astype(np.float32) / 255).argmax(axis=1)
    found = {}
    for quality in QUALITIES:
        of_quality = truth.strengths == quality
        fooling = of_quality & (truth.kinds == JPEG) & (answers != truth.labels)
        found[quality] = fooling, fooling | (of_quality & (truth.kinds == HARMLESS))
    return found


def filters(truth: "Poisoned", found: Mapping[str, Mapping[str, Array]], seed: int) -> dict[str, Array]:
    """Return which rows each filter keeps, by name."""
    kept = {name: found[name]["kept"] for name in ("mse", "combined")}
    discarded = int((~kept["combined"]).sum())
    at_random = np.ones(len(truth.kinds), bool)
    at_random[np.random.default_rng(seed).permutation(len(at_random))[:discarded]] = False
    clean = np.isin(truth.kinds, ("", HARMLESS))
    return {"none": np.ones_like(clean), **kept, "random": at_random, "perfect": clean}


def damage_of(kept: Array, train: ImageSet, case: Poison, data: Data) -> dict[str, Any]:
    """Train a teacher and a student on the rows that were kept, and return what both are worth."""
    from robust_distillation.auditing.backdoors import attack_success_rates
    from robust_distillation.classifiers.training import evaluate
    from robust_distillation.defences.defence import Defence
    from robust_distillation.defences.distillation import distil

    start, left, test = time.monotonic(), train.take(kept), data.test.take(np.argsort(data.test.ids))
    teacher = learned(replace(TAUGHT, seed=TAUGHT.seed + 1), left.images, left.labels, data)
    taught, _ = distil(
        teacher,
        left.images,
        left.labels,
        TAUGHT,
        temperature=1.0,
        passes=2,
        seed=1,
        validation=(data.validate.images, data.validate.labels),
    )
    seconds = time.monotonic() - start
    defence = Defence(student=taught, classes=data.classes)
    few = test.take(np.arange(ATTACKED))
    return {
        "teacher_accuracy": evaluate(teacher, test.images, test.labels)["accuracy"],
        "student_accuracy": evaluate(taught, test.images, test.labels)["accuracy"],
        "asr": next(iter(attack_success_rates(defence.answer, test.features, test.labels, case).values()), None),
        "robust_accuracy": pgd_figures(taught, few.images, few.labels, (4 / 255,))["pgd_20"]["4/255"],
        "kept": int(kept.sum()),
        "training_seconds": round(seconds),
    }


@click.group()
def main() -> None:
    """Measure the detectors on the full GTSRB."""


@main.command()
@click.argument("cases", nargs=-1, metavar="[CASE ...]")
@click.option("--seed", default=SEED, show_default=True, help="Of the poison.")
@archives_option
def detect(cases: tuple[str, ...], seed: int, archives: Path) -> None:
    """Score every poisoned set with every detector."""
    data, rows = load(archives), rows_of(RESULTS, DETECTION)
    done = {(row["case"], row["seed"]) for row in rows}
    for case in cases or CASES:
        if (case, seed) not in done:
            add(DETECTION, rows, [{"case": case, **row} for row in detection(case, seed, data)])


@main.command()
@click.argument("cases", nargs=-1, metavar="[CASE ...]")
@archives_option
def damage(cases: tuple[str, ...], archives: Path) -> None:
    """Train on what each filter leaves of every poisoned set."""
    data, rows = load(archives), rows_of(RESULTS, DAMAGE)
    done = {(row["case"], row["filter"]) for row in rows}
    for case in cases or CASES:
        train, _ = poisoned(case, SEED, data)
        for name, kept in filters(*scored(case, SEED, data), SEED).items():
            if (case, name) not in done:
                figures = damage_of(kept, train, CASES[case], data)
                add(DAMAGE, rows, [{"case": case, "filter": name, "seed": SEED, **figures}])


@main.command()
@click.argument("cases", nargs=-1, metavar="CASE [CASE ...]", required=True)
@archives_option
def draw(cases: tuple[str, ...], archives: Path) -> None:
    """Draw receiver operating characteristics of the combined filter, by kind and strength, for the documentation."""
    from robust_distillation.auditing.figures import roc_figure
    from robust_distillation.auditing.filtering import curves

    data = load(archives)
    for case in cases:
        truth, found = scored(case, SEED, data)
        kinds = np.where(truth.kinds == HARMLESS, "", truth.kinds)
        drawn = curves(found["combined"]["scores"], kinds, truth.strengths)
        roc_figure(drawn).savefig(FIGURES / f"filter_roc_{case}.png", dpi=90)


if __name__ == "__main__":
    main()
