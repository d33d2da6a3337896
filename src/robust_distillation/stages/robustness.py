"""robustness: attack the undefended model, the teacher, the student and the whole defence through all of it."""

import csv
from dataclasses import dataclass
from itertools import product
from typing import Any

import mlflow
import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.audit.distances import nearest_distances, summary
from robust_distillation.audit.figures import (
    class_bars,
    distance_curves,
    image_rows,
    robustness_curves,
    trade_off_curves,
    worst_case,
)
from robust_distillation.audit.flags import MEANINGS, Flag
from robust_distillation.audit.outcome import outcome
from robust_distillation.audit.refusal import TradeOff, trade_off
from robust_distillation.audit.reliability import Known, reliability_flags
from robust_distillation.audit.robustness import accuracy_after, attack_in_shards, interval, per_class
from robust_distillation.classifiers.storage import load_model
from robust_distillation.classifiers.training import seed_everything
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.defence import Answers, Defence
from robust_distillation.defences.reform import reformed_classifier
from robust_distillation.files import replacing
from robust_distillation.params import Params, Robustness, format_epsilon
from robust_distillation.paths import (
    BUILD,
    DEFENCE,
    ROBUSTNESS,
    SURROGATE,
    TEACHER,
    TEST,
    TRAIN,
    UNDEFENDED,
)
from robust_distillation.progress import Bar
from robust_distillation.stages.results import report_figure, report_metrics
from robust_distillation.stages.shards import Shards
from robust_distillation.threats.evasion.ensemble import (
    STANDS,
    WRONG,
    Budget,
    Ensemble,
    Verdicts,
    build,
    standard,
)
from robust_distillation.threats.evasion.norms import Norm
from robust_distillation.threats.evasion.sign import PGD
from robust_distillation.threats.evasion.transfer import extract
from robust_distillation.threats.evasion.victim import Model, Victim
from robust_distillation.tracking.runs import input_digest

ALONE = ("undefended", "teacher", "student")
ADAPTIVE = ("denied", "deceived")
Found = dict[tuple[str, float], Verdicts]  # by victim and epsilon
Transferred = dict[float, dict[str, Array]]  # by epsilon and source


def main(params: Params) -> None:
    """Report accuracies by model, attack and epsilon; `defence` counts only what is answered, right and unflagged."""
    settings = params.robustness
    seed_everything(settings.seed)
    test = ImageSet.load(TEST)
    test = test.take(np.argsort(test.ids)[: len(test) if settings.images == "all" else settings.images])
    target = _load(params)
    rows: dict[str, Any] = {"images": len(test)}
    sources: dict[str, Model | Victim] = {"surrogate": load_model(SURROGATE), "teacher": target.victims["teacher"]}
    if settings.extraction:
        sources["extracted"], rows["extraction"] = _extract(target.victims["student"], test, params)
    ensemble = _ensemble(settings)
    transferred = _transfer(sources, test, settings)
    attacks = [*ensemble.attacks, *(f"transfer_{source}" for source in sources)]
    rows["attacks"] = ", ".join(attacks)
    shards = Shards(BUILD / "robustness" / input_digest("robustness", params))
    found: Found = {}
    for name, victim in target.victims.items():
        for epsilon in sorted(settings.epsilons):
            # Whoever attacks the whole defence tries first what fooled the student, and so is never the weaker one.
            known = {"as_student": found["student", epsilon].adversarial} if name in ADAPTIVE else None
            found[name, epsilon] = attack_in_shards(
                victim,
                test.images,
                test.labels,
                ensemble,
                epsilon=epsilon,
                name=f"{name} at {format_epsilon(epsilon)}",
                done=shards,
                candidates=known,
                transferred=transferred[epsilon],
            )
    rows |= _alone(found, attacks, settings)
    clean, attacked = _answers(target.defence, test, found)
    rows |= _defence(test.labels, clean, attacked, settings)
    trade_offs = _trade_offs(clean, attacked, found)
    rows["refusal"] = {
        part: {
            " ".join(key): {
                "auroc": one.auroc,
                "clean_refused": one.clean_refused,
                "attacked_refused": one.attacked_refused,
            }
            for key, one in curves.items()
        }
        for part, curves in trade_offs.items()
    }
    distances = _distances(target, test, settings)
    rows["nearest"] = {" ".join(key): summary(values) for key, values in distances.items()}
    flags = _flags(target.victims["student"], test, ensemble, transferred, found, settings)
    rows["flags"] = {name: float(flag.raised) for name, flag in flags.items()}
    rows["flag_values"] = {name: flag.value for name, flag in flags.items()}
    mlflow.set_tags(
        {f"flag.{name}": f"{flag.raised}: {MEANINGS[name]} {flag.value:.4g}" for name, flag in flags.items()}
    )
    report_metrics("robustness", rows)
    _write_table(test, found)
    _draw(target.defence, test, found, rows, attacks, flags)
    report_figure("robustness_distances", distance_curves(distances))
    report_figure("robustness_refusal", trade_off_curves(_labelled(trade_offs)))
    shards.clear()


@dataclass(frozen=True)
class _Target:
    """What is attacked.

    Attributes:
        defence: all of it.
        victims: by name. `denied` and `deceived` are the whole defence under attackers who want no useful answer, and a
            harmful one.
    """

    defence: Defence
    victims: dict[str, Victim]


def _load(params: Params) -> _Target:
    defence = Defence.load(DEFENCE)
    teacher = reformed_classifier(defence.autoencoder, load_model(TEACHER))
    victims = {
        "undefended": Victim(load_model(UNDEFENDED)),
        "teacher": Victim(teacher, temperature=params.teacher.temperature),
        "student": Victim(defence.classifier, temperature=defence.temperature),
        "denied": defence.victim("deny"),
        "deceived": defence.victim("deceive"),
    }
    return _Target(defence, victims)


def _extract(student: Victim, test: ImageSet, params: Params) -> tuple[Model, dict[str, float]]:
    """Return a model trained on the student's answers to queries, how many it took, and how often the two agree."""
    start = ImageSet.load(TRAIN)
    start = start.take(np.arange(min(params.robustness.extraction_images, len(start))))
    extracted, queries = extract(student, start.images, start.labels, params.surrogate)
    answers = student.predict_logits(test.images, test.labels).argmax(axis=1)
    agreeing = ~Victim(extracted).fooled(test.images, answers)
    return extracted, {"queries": queries, "agreement": float(agreeing.mean())}


def _ensemble(settings: Robustness) -> Ensemble:
    if settings.attacks == "standard":
        return standard(seed=settings.seed)
    budget = Budget(steps=settings.steps, restarts=settings.restarts, queries=settings.queries, seed=settings.seed)
    return build(settings.attacks, budget)


def _transfer(sources: dict[str, Model | Victim], test: ImageSet, settings: Robustness) -> Transferred:
    """Return the images as attacked on each source, all the way, for all victims alike."""
    attack = PGD(steps=max(settings.steps, settings.transfer_steps), seed=settings.seed)
    made: Transferred = {epsilon: {} for epsilon in settings.epsilons}
    for epsilon, name in Bar(list(product(made, sources)), desc="attacking other models", unit="set"):
        made[epsilon][f"transfer_{name}"] = attack(sources[name], test.images, test.labels, epsilon=epsilon)
    return made


def _alone(found: Found, attacks: list[str], settings: Robustness) -> dict[str, Any]:
    """Return the accuracies of each model on its own."""
    rows = {}
    for name in ALONE:
        verdicts = {format_epsilon(epsilon): found[name, epsilon] for epsilon in sorted(settings.epsilons)}
        after = {epsilon: accuracy_after(item, attacks) for epsilon, item in verdicts.items()}
        rows[name] = {attack: {epsilon: shares[attack] for epsilon, shares in after.items()} for attack in attacks} | {
            "clean": float((next(iter(verdicts.values())).broken_by != WRONG).mean()),
            **_worst_case({epsilon: item.broken_by == STANDS for epsilon, item in verdicts.items()}),
        }
    return rows


def _worst_case(standing: dict[str, Array]) -> dict[str, Any]:
    return {
        "worst_case": {epsilon: float(rows.mean()) for epsilon, rows in standing.items()},
        "worst_case_interval": {epsilon: interval(rows) for epsilon, rows in standing.items()},
    }


def _answers(defence: Defence, test: ImageSet, found: Found) -> tuple[Answers, dict[tuple[str, float], Answers]]:
    """Return what the defence says of the clean images, and of those made against the student or all of it."""
    attacked = {
        key: defence.answer(verdicts.adversarial) for key, verdicts in found.items() if key[0] in ("student", *ADAPTIVE)
    }
    return defence.answer(test.images), attacked


def _defence(
    labels: Array, clean: Answers, attacked: dict[tuple[str, float], Answers], settings: Robustness
) -> dict[str, Any]:
    """Return what is left of the defence, and how often an attack on it succeeds."""
    outcomes = {
        format_epsilon(epsilon): outcome(labels, clean, *(attacked[name, epsilon] for name in ("student", *ADAPTIVE)))
        for epsilon in sorted(settings.epsilons)
    }
    defence = {
        "clean": float(clean.useful(labels).mean()),
        "attacked_as_student": {key: float(one.as_student.mean()) for key, one in outcomes.items()},
        "attacked_adaptively": {key: float(one.adaptively.mean()) for key, one in outcomes.items()},
        **_worst_case({key: one.stands for key, one in outcomes.items()}),
    }
    return {
        "defence": defence,
        "attack_success": {key: float(one.harmed.mean()) for key, one in outcomes.items()},
        "attack_success_interval": {key: interval(one.harmed) for key, one in outcomes.items()},
    }


def _trade_offs(
    clean: Answers, attacked: dict[tuple[str, float], Answers], found: Found
) -> dict[str, dict[tuple[str, str], TradeOff]]:
    """Return, by part, attacker and epsilon, how well the part tells what deceives from clean images.

    An attacker who wants to be refused is no case of it.
    """
    broken = {key: ~np.isin(found[key].broken_by, (STANDS, WRONG)) for key in attacked if key[0] != "denied"}
    return {
        part: {
            (name, format_epsilon(epsilon)): trade_off(excess, attacked[name, epsilon].excess[part][rows])
            for (name, epsilon), rows in broken.items()
            if rows.any()
        }
        for part, excess in clean.excess.items()
    }


def _labelled(trade_offs: dict[str, dict[tuple[str, str], TradeOff]]) -> dict[str, Any]:
    return {
        part: {
            f"{attacker} {epsilon}: AUROC {one.auroc:.2f}": (
                one.false_positive,
                one.true_positive,
                (one.clean_refused, one.attacked_refused),
            )
            for (attacker, epsilon), one in found.items()
        }
        for part, found in trade_offs.items()
    }


def _distances(target: _Target, test: ImageSet, settings: Robustness) -> dict[tuple[str, str], Array]:
    few = slice(settings.distances.images)
    images, labels = test.images[few], test.labels[few]
    steps = max(settings.steps, settings.distances.steps)
    norms: tuple[Norm, ...] = ("linf", "l2")
    cases = Bar(list(product(("undefended", "student"), norms)), desc="nearest adversarial images", unit="case")
    return {
        (name, norm): nearest_distances(
            target.victims[name], images, labels, norm=norm, steps=steps, seed=settings.seed
        )
        for name, norm in cases
    }


def _flags(
    student: Victim,
    test: ImageSet,
    ensemble: Ensemble,
    transferred: Transferred,
    found: Found,
    settings: Robustness,
) -> dict[str, Flag]:
    few = slice(settings.flags.images)
    verdicts = {epsilon: found["student", epsilon] for epsilon in settings.epsilons}
    known = Known(
        ensemble.attacks,
        {key: Verdicts(one.adversarial[few], one.broken_by[few]) for key, one in verdicts.items()},
        {epsilon: [images[few] for images in made.values()] for epsilon, made in transferred.items()},
    )
    return reliability_flags(
        student,
        test.images[few],
        test.labels[few],
        epsilons=settings.epsilons,
        steps=settings.steps,
        queries=settings.queries,
        seed=settings.seed,
        known=known,
        tolerance=settings.flags.tolerance,
        zero_share=settings.flags.zero_gradients,
        large_epsilon=settings.flags.large_epsilon,
    )


def _write_table(test: ImageSet, found: Found) -> None:
    with replacing(ROBUSTNESS) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "label", "attacked", "epsilon", "broken_by"])
        for (name, epsilon), verdicts in found.items():
            for row in zip(test.ids, test.labels, verdicts.broken_by, strict=True):
                writer.writerow([row[0], row[1], name, format_epsilon(epsilon), row[2]])
    mlflow.log_artifact(str(ROBUSTNESS))


def _draw(
    defence: Defence,
    test: ImageSet,
    found: Found,
    rows: dict[str, Any],
    attacks: list[str],
    flags: dict[str, Flag],
) -> None:
    epsilons = sorted({epsilon for _, epsilon in found})
    curves = {name: rows[name] for name in (*ALONE, "defence")}
    raised = [name for name, flag in flags.items() if flag.raised]
    report_figure("robustness", robustness_curves(curves, epsilons, attacks, raised))
    by_class = {
        "clean": per_class(found["student", epsilons[0]].broken_by != WRONG, test.labels),
        format_epsilon(epsilons[0]): per_class(found["student", epsilons[0]].broken_by == STANDS, test.labels),
    }
    report_figure("robustness_classes", class_bars(by_class, f"Student by class\n{worst_case(attacks)}"))
    strongest = found["student", epsilons[-1]]
    fell = np.flatnonzero(~np.isin(strongest.broken_by, (STANDS, WRONG)))
    among = fell if len(fell) else np.arange(len(test))
    shown = among[np.unique(np.linspace(0, len(among) - 1, 8).astype(int))]
    original, adversarial = test.images[shown], strongest.adversarial[shown]
    pictures = {
        "original": original,
        "change x10": np.clip(0.5 + 10 * (adversarial - original), 0, 1),
        "attacked": adversarial,
        "reformed": defence.reform(adversarial),
    }
    title = f"What fooled the student at {format_epsilon(epsilons[-1])}, through the autoencoder"
    report_figure("robustness_samples", image_rows(pictures, title))
