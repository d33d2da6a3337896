"""Choose, train and measure the student of the full GTSRB.

Usage:
    python benchmarks/student.py choose --archives FOLDER [--steps 3600] [NAME ...]
    python benchmarks/student.py compare --archives FOLDER
    python benchmarks/student.py train --archives FOLDER [NAME ...]
    python benchmarks/student.py ship --archives FOLDER [NAME ...]
    python benchmarks/student.py measure --archives FOLDER [NAME ...]

`choose` trains candidates of benchmarks/recipes.py on the training tracks and judges them on validation and trusted
ones, which no candidate has seen; the test set is not read. Rows of results/gtsrb/choice.json are written as they come.
`compare` judges distillation and adversarial training of the same time in the same way, for
results/gtsrb/distillation.json.
`train` trains the rows of the table on training and trusted tracks. `ship` puts those that come with the package among
its pretrained defences. `measure` attacks the rows, those of the package as they lie there, on the official test set
for results/gtsrb/metrics.json; each column of a row is written as it comes.
What is there is not made again: a training that was killed goes on with its last epoch, an attack with its last hundred
images.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from pipeline import git, hardware
from recipes import CANDIDATES, DRAWN, FURTHER, RIVALS, ROWS, SEEDS, Row, for_steps

from robust_distillation.arrays import Array
from robust_distillation.classifiers.settings import Training
from robust_distillation.dataset.generator import DatasetGenerator
from robust_distillation.dataset.pickles import ImageSet, load_pickle
from robust_distillation.dataset.synthetic.further import draw_further
from robust_distillation.files import read_json, read_record, write_json
from robust_distillation.paths import PUBLISHED, TIMINGS
from robust_distillation.records import Classes
from robust_distillation.settings import format_epsilon

if TYPE_CHECKING:
    import keras

    from robust_distillation.classifiers.training import History
    from robust_distillation.defences.defence import Defence
    from robust_distillation.threats.evasion.victim import Victim

BUILD = Path("build/student")
PIPELINE = Path("build/pipeline/gtsrb-full")  # of which the defence as published comes
SHIPPED = {"undefended": "gtsrb-undefended", "published": "gtsrb-published", "ours": "gtsrb-student"}
CHOICE, COMPARED, METRICS = (Path(f"results/gtsrb/{name}.json") for name in ("choice", "distillation", "metrics"))
COMMAND = "python benchmarks/student.py {} --archives FOLDER"
SETS = ("train", "validate", "trusted", "test")
COVERAGE = 0.95
FIGURES = "figures.json"  # beside the card of what is shipped
COLUMNS = {"clean", "linf_standard", "l2_standard", "linf", "adaptive"}
CHECKED = 300  # validation images on which what is shipped is measured again by a test

Cost = dict[str, Any]


@dataclass(frozen=True)
class Judging:
    """How hard the rows of a table are attacked.

    Attributes:
        images: of the test set, the first, attacked by PGD-50 and APGD-CE.
        adaptive_images: the first that both, and APGD-DLR, attack through the whole defence.
        epsilons: of these, in L-infinity.
        standard_images: the first that AutoAttack's standard ensemble attacks.
        standard: its radii in L-infinity; those of PGD-20 on validation images too.
        l2: its radius in L2.
    """

    images: int
    adaptive_images: int
    epsilons: tuple[float, ...]
    standard_images: int
    standard: tuple[float, ...]
    l2: float


SIGNS = Judging(
    images=2000,
    adaptive_images=1000,
    epsilons=(2 / 255, 4 / 255, 8 / 255),
    standard_images=500,
    standard=(4 / 255, 8 / 255),
    l2=0.5,
)


@dataclass(frozen=True)
class Data:
    """A data set as a study uses it.

    Attributes:
        train: what is trained on.
        validate: what choices are made by.
        trusted: further images, trained on once the choice is made.
        test: what the table is of.
        further: images that the source draws; None where it draws none.
        classes: of the labels.
        build: where what was made is kept.
    """

    train: ImageSet
    validate: ImageSet
    trusted: ImageSet
    test: ImageSet
    further: ImageSet | None
    classes: Classes
    build: Path


def load(archives: Path) -> Data:
    """Make the sets of the full GTSRB at 32x32, and synthetic signs, or read those of the last time."""
    further = BUILD / f"further-{FURTHER['tracks_per_class']}.p"
    if not (BUILD / "classes.json").exists():
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
    classes = read_record(BUILD / "classes.json", Classes)
    if not further.exists():
        draw_further(classes.ids, **FURTHER, image_size=32, colour="rgb", crop_to_roi=True).save(further)
    sets = {name: ImageSet.load(BUILD / f"{name}.p") for name in SETS}
    return Data(**sets, further=ImageSet.load(further), classes=classes, build=BUILD)


def rows_of(path: Path, table: str = "rows") -> list[dict[str, Any]]:
    """Return the rows of a table of results that are there."""
    rows: list[dict[str, Any]] = read_json(path).get(table, []) if path.exists() else []
    return rows


def keep(path: Path, **tables: Any) -> None:
    """Write tables by name into a file of results, and leave its other ones as they are."""
    write_json(path, (read_json(path) if path.exists() else {}) | tables)


def joined(first: ImageSet, second: ImageSet) -> ImageSet:
    """Return the rows of both."""
    return ImageSet(**{name: np.concatenate([array, getattr(second, name)]) for name, array in vars(first).items()})


def with_further(own: ImageSet, settings: Training, data: Data) -> ImageSet:
    """Return images of its own, and the further ones behind them where a share of these is asked."""
    return joined(own, data.further) if settings.further_share and data.further is not None else own


def trained(
    name: str, settings: Training, build: Path, train: Callable[[Path], "tuple[keras.Model, History]"]
) -> tuple["keras.Model", dict[str, Any]]:
    """Return a model of that name and settings, and what is noted of its training, once it was trained."""
    from robust_distillation.classifiers.storage import load_model, save_model

    stem = f"{name}-{hashlib.sha256(repr(settings).encode()).hexdigest()[:12]}"
    model, noted, checkpoint = (build / f"{stem}.{ending}" for ending in ("keras", "json", "p"))
    if not noted.exists():
        before = len(load_pickle(checkpoint)["history"]) if checkpoint.exists() else 0
        commit, start = git("rev-parse", "HEAD"), time.monotonic()
        network, history = train(checkpoint)
        minutes = (time.monotonic() - start) / 60 * settings.epochs / max(1, settings.epochs - before)
        save_model(network, model)
        cost = {"train_minutes": round(minutes, 1), "trained_on": hardware()}
        write_json(noted, {"cost": cost, "commit": commit, "history": history})
        checkpoint.unlink(missing_ok=True)
    return load_model(model), read_json(noted)


def on_labels(
    name: str, settings: Training, own: ImageSet, data: Data, temperature: float = 1.0
) -> tuple["keras.Model", dict[str, Any]]:
    """Return a model that learned the true classes at a temperature, see `trained`."""
    from robust_distillation.classifiers.training import one_hot, train_classifier

    used = with_further(own, settings, data)
    n_classes = len(data.classes.ids)
    return trained(
        name,
        settings,
        data.build,
        lambda checkpoint: train_classifier(
            used.images,
            one_hot(used.labels, n_classes),
            settings,
            temperature=temperature,
            validation=(data.validate.images, one_hot(data.validate.labels, n_classes)),
            own=len(own),
            becomes=data.classes.mirror,
            checkpoint=checkpoint,
        ),
    )


def candidate(name: str, data: Data, steps: int) -> tuple[Training, "keras.Model", dict[str, Any]]:
    """Return the settings of a candidate, the model, and what is noted of its training."""
    settings = for_steps(CANDIDATES[name], steps, len(data.train))
    return settings, *on_labels("candidate", settings, data.train, data)


def judge(name: str, data: Data, steps: int) -> dict[str, Any]:
    """Train a candidate and return its row."""
    unseen = joined(data.validate, data.trusted)
    settings, model, noted = candidate(name, data, steps)
    return {
        "name": name,
        "steps": steps,
        "epochs": settings.epochs,
        "parameters": model.count_params(),
        **pgd_figures(model, unseen.images, unseen.labels, SIGNS.standard),
        "accuracy_on_training_batches": noted["history"]["accuracy"][-1],
        **noted["cost"],
        "images": len(unseen),
        "commit": noted["commit"],
    }


def around(network: "keras.Model", row: Row, own: ImageSet, data: Data) -> "Defence":
    """Return a network with the abstention that a row asks for."""
    from robust_distillation.defences import settings
    from robust_distillation.defences.abstention import fit_abstention
    from robust_distillation.defences.defence import Defence
    from robust_distillation.defences.distillation import without_outlier

    deployed = without_outlier(network) if row.measure == "outlier" else network
    asked = settings.Abstention(measure=row.measure, temperature=row.temperature, passes=30, coverage=COVERAGE, seed=1)
    abstention = fit_abstention(
        network, deployed, asked, training=(own.images, own.labels), validation=data.validate.images
    )
    return Defence(student=deployed, classes=data.classes, temperature=row.temperature, abstention=abstention)


def fit(name: str, row: Row, own: ImageSet, data: Data) -> tuple["keras.Model", Cost]:
    """Train the networks of a row on images of its own, and return the student and what all cost."""
    from robust_distillation.defences.distillation import distil

    student = for_steps(row.student, row.steps, len(own))
    if row.teacher is None:
        network, noted = on_labels(name, student, own, data)
        return network, noted["cost"]
    taught = for_steps(row.teacher, row.teacher_steps, len(own))
    teacher, of_teacher = on_labels(f"teacher at {row.temperature:g}", taught, own, data, row.temperature)
    used = with_further(own, student, data)
    network, noted = trained(
        name,
        student,
        data.build,
        lambda checkpoint: distil(
            teacher,
            used.images,
            used.labels,
            student,
            temperature=row.temperature,
            passes=30,
            seed=1,
            validation=(data.validate.images, data.validate.labels),
            own=len(own),
            becomes=data.classes.mirror,
            checkpoint=checkpoint,
        ),
    )
    minutes = noted["cost"]["train_minutes"] + of_teacher["cost"]["train_minutes"]
    return network, noted["cost"] | {"train_minutes": minutes}


def defend(name: str, row: Row, data: Data) -> tuple["Defence", Cost]:
    """Train the networks of a row of the table, and return the defence and what it cost."""
    from robust_distillation.classifiers.training import evaluate

    own = joined(data.train, data.trusted)
    network, cost = fit(name, row, own, data)
    defence = around(network, row, own, data)
    right = evaluate(defence.student, data.validate.images, data.validate.labels)["accuracy"]
    click.echo(f"{name}: {right:.4f} on validation, {cost['train_minutes']:.0f} minutes")
    return defence, cost


def as_published() -> tuple["Defence", Cost]:
    """Return the defence as published that the pipeline made, and what its networks and its filter cost there."""
    from robust_distillation.defences.defence import Defence

    files = [PIPELINE / TIMINGS / f"{stage}.json" for stage in ("tune", "autoencoder", "filter", "published")]
    minutes = sum(read_json(file)["seconds"] for file in files) / 60
    return Defence.load(PIPELINE / PUBLISHED), {"train_minutes": round(minutes, 1), "trained_on": hardware()}


def pgd_figures(
    model: "keras.Model | Victim", images: Array, labels: Array, epsilons: tuple[float, ...]
) -> dict[str, Any]:
    """Return clean accuracy and what stands under PGD with 20 steps."""
    from robust_distillation.threats.evasion.attack import Budget
    from robust_distillation.threats.evasion.ensemble import STANDS, WRONG, build

    attack = build(["pgd"], Budget(steps=20))
    broken = {format_epsilon(epsilon): attack(model, images, labels, epsilon=epsilon).broken_by for epsilon in epsilons}
    return {
        "clean": float((broken[format_epsilon(epsilons[0])] != WRONG).mean()),
        "pgd_20": {epsilon: float((by == STANDS).mean()) for epsilon, by in broken.items()},
    }


def fingerprint(model: "keras.Model", beside: Any = None) -> str:
    """Return what names the weights of a model, and something beside it, by its `repr`."""
    told = b"" if beside is None else repr(beside).encode()
    return hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights()) + told).hexdigest()[:12]


def columns(
    name: str, defence: "Defence", test: ImageSet, judging: Judging, build: Path
) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what a row of the table is made of, each by the first of the figures that it gives."""
    from robust_distillation.auditing.audit import audit
    from robust_distillation.auditing.robustness import attack_in_shards, contrast_groups, per_group
    from robust_distillation.stages.shards import Shards
    from robust_distillation.threats.evasion.apgd import APGD
    from robust_distillation.threats.evasion.attack import Budget
    from robust_distillation.threats.evasion.ensemble import STANDS, Ensemble, Verdicts, standard
    from robust_distillation.threats.evasion.norms import Norm
    from robust_distillation.threats.evasion.sign import PGD
    from robust_distillation.threats.evasion.victim import Victim

    def done(*asked: Any) -> "Shards[Verdicts]":
        return Shards(build / "attacks" / f"{name}-{fingerprint(defence.student, asked)}", Verdicts)

    images, labels = test.images, test.labels
    groups = contrast_groups(images)
    student = Victim(defence.classifier, temperature=defence.temperature)
    ensemble = Ensemble({"pgd": PGD(steps=50), "apgd_ce": APGD(steps=50)})

    def clean() -> dict[str, Any]:
        answers = defence.answer(images)
        answered, right = answers.passed, answers.best == labels
        return {
            "clean": float(right.mean()),
            "coverage": float(answered.mean()),
            "accuracy_when_answering": float(right[answered].mean()),
            "clean_by_contrast": per_group(right, groups),
            "parameters": defence.student.count_params(),
            "images": {
                "clean": len(labels),
                "linf": judging.images,
                "standard": judging.standard_images,
                "adaptive": judging.adaptive_images,
            },
        }

    def standing(attacks: Ensemble, count: int, epsilon: float, which: str) -> Array:
        verdicts = attack_in_shards(
            student,
            images[:count],
            labels[:count],
            attacks,
            epsilon=epsilon,
            name=f"{which} at {format_epsilon(epsilon)}",
            done=done(attacks),
        )
        stands: Array = verdicts.broken_by == STANDS
        return stands

    def judged(norm: Norm, epsilon: float) -> float:
        return float(standing(standard(norm=norm), judging.standard_images, epsilon, f"standard {norm}").mean())

    def alone() -> dict[str, Any]:
        by_epsilon = {
            format_epsilon(epsilon): standing(ensemble, judging.images, epsilon, "student")
            for epsilon in judging.epsilons
        }
        return {
            "linf": {epsilon: float(stands.mean()) for epsilon, stands in by_epsilon.items()},
            "by_contrast": {
                epsilon: per_group(stands, groups[: judging.images]) for epsilon, stands in by_epsilon.items()
            },
        }

    def whole() -> dict[str, Any]:
        attacks = Ensemble({**ensemble.attacks, "apgd_dlr": APGD(steps=50, loss="dlr")})
        report = audit(
            defence,
            images[: judging.adaptive_images],
            labels[: judging.adaptive_images],
            epsilons=judging.epsilons,
            attacks=attacks,
            budget=Budget(steps=50, queries=1000),
            done=done(attacks, defence.abstention and defence.abstention.settings),
        )
        rows = report.to_dict()
        return {
            "adaptive": rows["defence"]["worst_case"],
            "adaptive_success": rows["attack_success"],
            "flags": report.raised,
        }

    return {
        "clean": clean,
        "linf": alone,
        "adaptive": whole,
        "linf_standard": lambda: {
            "linf_standard": {format_epsilon(epsilon): judged("linf", epsilon) for epsilon in judging.standard}
        },
        "l2_standard": lambda: {"l2_standard": {f"{judging.l2:g}": judged("l2", judging.l2)}},
    }


def fill(
    name: str,
    defence: Callable[[], tuple["Defence", Cost]],
    test: ImageSet,
    judging: Judging,
    build: Path,
    path: Path,
    command: str,
) -> None:
    """Measure what a row of a table lacks, and write each column as it comes.

    Args:
        name: of the row.
        defence: makes what is measured, and says what its training cost.
        test: images that it is attacked on.
        judging: how hard.
        build: where the attack keeps what is done.
        path: of the table.
        command: that makes the table.
    """
    rows = rows_of(path)
    row = next((row for row in rows if row["name"] == name), None)
    if row is None:
        row = {"name": name}
        rows.append(row)
    if row.keys() >= COLUMNS:
        return
    attacked, cost = defence()
    row |= cost
    for column, measured in columns(name, attacked, test, judging, build).items():
        if column not in row:
            row |= measured() | {"commit": git("rev-parse", "HEAD")}
            keep(path, rows=rows, command=command)


@click.group()
def main() -> None:
    """Choose, train and measure the student of the full GTSRB."""


def archives_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option that names the folder of the three archives."""
    kind = click.Path(exists=True, file_okay=False, path_type=Path)
    return click.option("--archives", type=kind, required=True)(command)


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@archives_option
@click.option("--steps", default=3600, show_default=True, help="Of each training.")
def choose(names: tuple[str, ...], archives: Path, steps: int) -> None:
    """Judge candidates, all by default, on tracks that they have not seen."""
    data = load(archives)
    rows = rows_of(CHOICE)
    done = {(row["name"], row["steps"]) for row in rows}
    for name in names or CANDIDATES:
        if (name, steps) not in done:
            rows.append(judge(name, data, steps))
            write_json(CHOICE, {"rows": rows, "command": COMMAND.format("choose") + " [--steps N] [NAME ...]"})


@main.command()
@archives_option
def compare(archives: Path) -> None:
    """Judge distillation against adversarial training of the same time, with several seeds."""
    data = load(archives)
    unseen = joined(data.validate, data.trusted)
    rows = rows_of(COMPARED)
    done = {(row["name"], row["seed"]) for row in rows}
    for seed, name in product(SEEDS, RIVALS):
        if (name, seed) not in done:
            network, cost = fit(f"rival {seed}", RIVALS[name].seeded(seed), data.train, data)
            figures = pgd_figures(network, unseen.images, unseen.labels, SIGNS.standard)
            row = {"name": name, "seed": seed, **figures, **cost, "images": len(unseen)}
            rows.append(row | {"commit": git("rev-parse", "HEAD")})
            write_json(COMPARED, {"rows": rows, "command": COMMAND.format("compare")})


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@archives_option
def train(names: tuple[str, ...], archives: Path) -> None:
    """Train rows of the table, all by default."""
    data = load(archives)
    for name in names or ROWS:
        defend(name, ROWS[name], data)


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@archives_option
def ship(names: tuple[str, ...], archives: Path) -> None:
    """Put rows, all that come with the package by default, where they lie in it; their cards are written by hand."""
    from robust_distillation.pretrained import CARD, FOLDER
    from robust_distillation.threats.evasion.victim import Victim

    data = load(archives)
    drawn = draw_further(data.classes.ids, **DRAWN, image_size=32, colour="rgb", crop_to_roi=True)
    sets = {
        "validation": data.validate,
        f"validation, first {CHECKED}": data.validate.take(np.arange(CHECKED)),
        "drawn": drawn,
    }
    for name in names or SHIPPED:
        defence, cost = as_published() if name == "published" else defend(name, ROWS[name], data)
        folder = FOLDER / SHIPPED[name]
        card = (folder / CARD).read_text() if (folder / CARD).exists() else ""
        defence.save(folder)
        (folder / CARD).write_text(card)
        victim = Victim(defence.classifier, temperature=defence.temperature)
        figures = {
            which: pgd_figures(victim, images.images, images.labels, SIGNS.standard) for which, images in sets.items()
        }
        write_json(folder / FIGURES, {"cost": cost, **figures})


@main.command("measure")
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@archives_option
def measure_rows(names: tuple[str, ...], archives: Path) -> None:
    """Attack rows of the table, all by default, on the official test set."""
    from robust_distillation.pretrained import load_pretrained, pretrained_folder

    data = load(archives)
    test = data.test.take(np.argsort(data.test.ids))

    def defence(name: str) -> tuple["Defence", Cost]:
        if name not in SHIPPED:
            return defend(name, ROWS[name], data)
        shipped = SHIPPED[name]
        return load_pretrained(shipped), read_json(pretrained_folder(shipped) / FIGURES)["cost"]

    command = COMMAND.format("measure") + " [NAME ...]"
    for name in names or (*ROWS, "published"):
        fill(name, partial(defence, name), test, SIGNS, data.build, METRICS, command)


if __name__ == "__main__":
    main()
