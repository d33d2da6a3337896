"""robustness: attack the undefended model, the teacher, the student and the whole defence through all of it."""

import csv
from dataclasses import dataclass
from typing import Any

import keras
import mlflow
import numpy as np
import tensorflow as tf

from robust_distillation.audit.figures import class_bars, image_rows, robustness_curves
from robust_distillation.audit.reliability import reliability_flags
from robust_distillation.audit.robustness import Answers, accuracy_after, attack_in_shards, interval, per_class
from robust_distillation.classifiers.storage import load_model
from robust_distillation.classifiers.training import seed_everything
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.abstention import Abstention
from robust_distillation.defences.detector import Detector
from robust_distillation.defences.reform import How, reform, reformed_classifier
from robust_distillation.files import read_json, replacing
from robust_distillation.params import Params, Robustness, format_epsilon
from robust_distillation.paths import (
    ABSTENTION,
    AUTOENCODER,
    BUILD,
    DETECTOR,
    ROBUSTNESS,
    STUDENT,
    SURROGATE,
    TEACHER,
    TEST,
    UNDEFENDED,
)
from robust_distillation.stages.results import report_figure, report_metrics
from robust_distillation.stages.shards import Shards
from robust_distillation.threats.evasion.ensemble import (
    STANDS,
    WRONG,
    Budget,
    Ensemble,
    Verdicts,
    build,
    rand,
    standard,
)
from robust_distillation.threats.evasion.sign import PGD
from robust_distillation.threats.evasion.transfer import Transfer
from robust_distillation.threats.evasion.victim import Victim
from robust_distillation.tracking.runs import input_digest

FLAGGED_IMAGES = 100
RAND_DRAWS = 20


def main(params: Params) -> None:
    """Report accuracies by model, attack and epsilon; `defence` counts only what is answered, right and unflagged."""
    settings = params.robustness
    seed_everything(settings.seed)
    test = ImageSet.load(TEST)
    test = test.take(np.argsort(test.ids)[: len(test) if settings.images == "all" else settings.images])
    models = _load(params)
    shards = Shards(BUILD / "robustness" / input_digest("robustness", params))
    found = {
        (name, epsilon): attack_in_shards(
            victim,
            test.images,
            test.labels,
            models.ensemble(settings),
            epsilon=epsilon,
            name=f"{name} at {format_epsilon(epsilon)}",
            done=shards,
        )
        for name, victim in models.victims.items()
        for epsilon in sorted(settings.epsilons)
    }
    rows = _accuracies(models, test, found, settings)
    strongest = max(settings.epsilons)
    count = min(FLAGGED_IMAGES, len(test))
    flags = reliability_flags(
        models.victims["student"],
        test.images[:count],
        test.labels[:count],
        epsilon=min(settings.epsilons),
        steps=settings.steps,
        queries=settings.queries,
        seed=settings.seed,
        surrogate=models.surrogate,
    )
    rows["flags"] = {name: float(flag.raised) for name, flag in flags.items()}
    rows["flag_values"] = {name: flag.value for name, flag in flags.items()}
    rows["images"] = len(test)
    mlflow.set_tags({f"flag.{name}": f"{flag.raised}: {flag.says} {flag.value:.4g}" for name, flag in flags.items()})
    report_metrics("robustness", rows)
    _write_table(test, found)
    _draw(models, test, found, rows, strongest)
    shards.clear()


@dataclass(frozen=True)
class _Models:
    """What is deployed, what is attacked, and what an attacker may hold besides.

    Attributes:
        victims: by name. `denied` and `deceived` are the whole defence under attackers who want no useful answer, and a
            harmful one.
        surrogate: the attacker's own model.
        autoencoder: of reform and detector.
        how: to reform.
        detector: as deployed.
        abstention: as deployed.
    """

    victims: dict[str, Victim]
    surrogate: keras.Model
    autoencoder: keras.Model
    how: How
    detector: Detector
    abstention: Abstention

    def ensemble(self, settings: Robustness) -> Ensemble:
        """Return the attacks of the params, then transfer from the attacker's surrogate and from the teacher."""
        if settings.attacks == "standard":
            chosen = standard(seed=settings.seed)
        elif settings.attacks == "rand":
            chosen = rand(seed=settings.seed)
        else:
            budget = Budget(
                steps=settings.steps, restarts=settings.restarts, queries=settings.queries, seed=settings.seed
            )
            chosen = build(settings.attacks, budget)
        crafted = PGD(steps=max(settings.steps, 20), seed=settings.seed)
        transfers = {
            "transfer_surrogate": Transfer(attack=crafted, surrogate=self.surrogate),
            "transfer_teacher": Transfer(attack=crafted, surrogate=self.victims["teacher"]),
        }
        return Ensemble({**chosen.attacks, **transfers})

    def answer(self, images: np.ndarray, labels: np.ndarray) -> Answers:
        """Ask what is deployed."""
        seen = reform(self.autoencoder, images, self.how)
        answered = self.abstention.uncertainty(seen) <= self.abstention.threshold
        passed = answered & (self.detector.score(images) <= self.detector.threshold)
        return Answers(~Victim(self.abstention.student).fooled(seen, labels), passed)


def _load(params: Params) -> _Models:
    settings, temperature, how = params.robustness, params.teacher.temperature, params.filter.reform
    autoencoder, student = load_model(AUTOENCODER), load_model(STUDENT)
    detector = Detector(autoencoder, read_json(DETECTOR)["threshold"])
    deployed = read_json(ABSTENTION)
    # The attacker knows all but the seed of the dropout masks, and averages over fewer.
    guessed = Abstention(student, **deployed | {"passes": settings.passes, "seed": settings.seed})

    def refusal(images: tf.Tensor) -> tf.Tensor:
        seen = autoencoder(images) if how == "reconstruct" else images
        return tf.maximum(detector.margin(images), guessed.margin(seen))

    draws = RAND_DRAWS if settings.attacks == "rand" else 1
    teacher = reformed_classifier(autoencoder, load_model(TEACHER), how)
    reformed = reformed_classifier(autoencoder, student, how)
    victims = {
        "undefended": Victim(load_model(UNDEFENDED), draws=draws),
        "teacher": Victim(teacher, temperature=temperature, draws=draws),
        "student": Victim(reformed, temperature=temperature, draws=draws),
        "denied": Victim(reformed, temperature=temperature, refusal=refusal, goal="deny", draws=draws),
        "deceived": Victim(reformed, temperature=temperature, refusal=refusal, goal="deceive", draws=draws),
    }
    return _Models(victims, load_model(SURROGATE), autoencoder, how, detector, Abstention(student, **deployed))


def _accuracies(
    models: _Models, test: ImageSet, found: dict[tuple[str, float], Verdicts], settings: Robustness
) -> dict[str, Any]:
    attacks = list(models.ensemble(settings).attacks)
    epsilons = sorted(settings.epsilons)
    rows: dict[str, Any] = {}
    for name in ("undefended", "teacher", "student"):
        verdicts = {format_epsilon(epsilon): found[name, epsilon] for epsilon in epsilons}
        rows[name] = _by_attack(verdicts, attacks) | {
            "clean": float((found[name, epsilons[0]].broken_by != WRONG).mean()),
            "worst_case": {epsilon: float((item.broken_by == STANDS).mean()) for epsilon, item in verdicts.items()},
            "worst_case_interval": {epsilon: interval(item.broken_by == STANDS) for epsilon, item in verdicts.items()},
        }
    clean = models.answer(test.images, test.labels)
    defence: dict[str, Any] = {"clean": float(clean.useful.mean()), "worst_case": {}, "worst_case_interval": {}}
    defence["attacked_as_student"], success = {}, {}
    for epsilon in epsilons:
        key = format_epsilon(epsilon)
        answers = {
            name: models.answer(found[name, epsilon].adversarial, test.labels)
            for name in ("student", "denied", "deceived")
        }
        alone = clean.useful & answers["student"].useful
        useful = alone & answers["denied"].useful & answers["deceived"].useful
        defence["attacked_as_student"][key] = float(alone.mean())
        defence["worst_case"][key] = float(useful.mean())
        defence["worst_case_interval"][key] = interval(useful)
        success[key] = float(np.logical_or.reduce([answer.harmful for answer in answers.values()]).mean())
    return rows | {"defence": defence, "attack_success": success}


def _by_attack(verdicts: dict[str, Verdicts], attacks: list[str]) -> dict[str, dict[str, float]]:
    after = {epsilon: accuracy_after(item, attacks) for epsilon, item in verdicts.items()}
    return {attack: {epsilon: shares[attack] for epsilon, shares in after.items()} for attack in attacks}


def _write_table(test: ImageSet, found: dict[tuple[str, float], Verdicts]) -> None:
    with replacing(ROBUSTNESS) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "label", "attacked", "epsilon", "broken_by"])
        for (name, epsilon), verdicts in found.items():
            for row in zip(test.ids, test.labels, verdicts.broken_by, strict=True):
                writer.writerow([row[0], row[1], name, format_epsilon(epsilon), row[2]])
    mlflow.log_artifact(str(ROBUSTNESS))


def _draw(
    models: _Models,
    test: ImageSet,
    found: dict[tuple[str, float], Verdicts],
    rows: dict[str, Any],
    strongest: float,
) -> None:
    epsilons = sorted({epsilon for _, epsilon in found})
    names = ("undefended", "teacher", "student", "defence")
    worst = {name: {"clean": rows[name]["clean"], **rows[name]["worst_case"]} for name in names}
    report_figure("robustness", robustness_curves(worst, epsilons))
    by_class = {
        "clean": per_class(found["student", epsilons[0]].broken_by != WRONG, test.labels),
        format_epsilon(epsilons[0]): per_class(found["student", epsilons[0]].broken_by == STANDS, test.labels),
    }
    report_figure("robustness_classes", class_bars(by_class, "Student by class, worst case over attacks"))
    shown = np.unique(np.linspace(0, len(test) - 1, 8).astype(int))
    original, adversarial = test.images[shown], found["student", strongest].adversarial[shown]
    pictures = {
        "original": original,
        "change x10": np.clip(0.5 + 10 * (adversarial - original), 0, 1),
        "attacked": adversarial,
        "reformed": reform(models.autoencoder, adversarial, models.how),
    }
    title = f"What fooled the student at {format_epsilon(strongest)}, through the autoencoder"
    report_figure("robustness_samples", image_rows(pictures, title))
