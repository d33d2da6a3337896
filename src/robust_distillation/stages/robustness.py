"""robustness: attack the undefended model, the teacher, the student and the whole defence through all of it."""

import csv
from dataclasses import dataclass
from typing import Any

import mlflow
import numpy as np

from robust_distillation.audit.deployed import Answers, Deployed
from robust_distillation.audit.distances import nearest_distances, summary
from robust_distillation.audit.figures import (
    class_bars,
    distance_curves,
    image_rows,
    robustness_curves,
    trade_off_curves,
)
from robust_distillation.audit.refusal import TradeOff, trade_off
from robust_distillation.audit.reliability import Flag, reliability_flags
from robust_distillation.audit.robustness import accuracy_after, attack_in_shards, interval, per_class
from robust_distillation.classifiers.storage import load_model
from robust_distillation.classifiers.training import seed_everything
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.abstention import Abstention
from robust_distillation.defences.detector import Detector
from robust_distillation.defences.reform import reform, reformed_classifier
from robust_distillation.files import read_json, replacing
from robust_distillation.params import Params, Robustness, Training, format_epsilon
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
    TRAIN,
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
from robust_distillation.threats.evasion.norms import Norm
from robust_distillation.threats.evasion.sign import PGD
from robust_distillation.threats.evasion.transfer import Transfer, extract
from robust_distillation.threats.evasion.victim import Model, Victim
from robust_distillation.tracking.runs import input_digest

CLOSELY = 100  # images that are looked at for flags and distances
RAND_DRAWS = 20
SEEDS_OF_EXTRACTION = 50  # images that an attacker who steals the student starts from
ALONE = ("undefended", "teacher", "student")
Found = dict[tuple[str, float], Verdicts]


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
        sources["extracted"], rows["extraction"] = _extract(target.victims["student"], test, params.surrogate)
    ensemble = _ensemble(settings, sources)
    shards = Shards(BUILD / "robustness" / input_digest("robustness", params))
    found = {
        (name, epsilon): attack_in_shards(
            victim,
            test.images,
            test.labels,
            ensemble,
            epsilon=epsilon,
            name=f"{name} at {format_epsilon(epsilon)}",
            done=shards,
        )
        for name, victim in target.victims.items()
        for epsilon in sorted(settings.epsilons)
    }
    rows |= _alone(found, list(ensemble.attacks), settings)
    clean, attacked = _answers(target.deployed, test, found)
    rows |= _defence(clean, attacked, settings)
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
    few = test.take(np.arange(min(CLOSELY, len(test))))
    distances = _distances(target, few, settings)
    rows["nearest"] = {" ".join(key): summary(values) for key, values in distances.items()}
    flags = reliability_flags(
        target.victims["student"],
        few.images,
        few.labels,
        epsilon=min(settings.epsilons),
        steps=settings.steps,
        queries=settings.queries,
        seed=settings.seed,
        surrogate=sources["surrogate"],
    )
    rows["flags"] = {name: float(flag.raised) for name, flag in flags.items()}
    rows["flag_values"] = {name: flag.value for name, flag in flags.items()}
    mlflow.set_tags({f"flag.{name}": f"{flag.raised}: {flag.says} {flag.value:.4g}" for name, flag in flags.items()})
    report_metrics("robustness", rows)
    _write_table(test, found)
    _draw(target.deployed, test, found, rows, flags)
    report_figure("robustness_distances", distance_curves(distances))
    report_figure("robustness_refusal", trade_off_curves(_labelled(trade_offs)))
    shards.clear()


@dataclass(frozen=True)
class _Target:
    """What is attacked.

    Attributes:
        deployed: the whole defence.
        victims: by name. `denied` and `deceived` are the whole defence under attackers who want no useful answer, and a
            harmful one.
    """

    deployed: Deployed
    victims: dict[str, Victim]


def _load(params: Params) -> _Target:
    settings, temperature = params.robustness, params.teacher.temperature
    autoencoder = load_model(AUTOENCODER)
    deployed = Deployed(
        autoencoder,
        params.filter.reform,
        Detector(autoencoder, read_json(DETECTOR)["threshold"]),
        Abstention(load_model(STUDENT), **read_json(ABSTENTION)),
        temperature,
    )
    draws = RAND_DRAWS if settings.attacks == "rand" else 1
    adapted = {"passes": settings.passes, "seed": settings.seed, "draws": draws}
    teacher = reformed_classifier(autoencoder, load_model(TEACHER), params.filter.reform)
    victims = {
        "undefended": Victim(load_model(UNDEFENDED), draws=draws),
        "teacher": Victim(teacher, temperature=temperature, draws=draws),
        "student": Victim(deployed.classifier, temperature=temperature, draws=draws),
        "denied": deployed.victim("deny", **adapted),
        "deceived": deployed.victim("deceive", **adapted),
    }
    return _Target(deployed, victims)


def _extract(student: Victim, test: ImageSet, settings: Training) -> tuple[Model, dict[str, float]]:
    """Return a model trained on the student's answers to queries, how many it took, and how often the two agree."""
    start = ImageSet.load(TRAIN).take(np.arange(SEEDS_OF_EXTRACTION))
    extracted, queries = extract(student, start.images, start.labels, settings)
    answers = student.predict_logits(test.images, test.labels).argmax(axis=1)
    agreeing = ~Victim(extracted).fooled(test.images, answers)
    return extracted, {"queries": queries, "agreement": float(agreeing.mean())}


def _ensemble(settings: Robustness, sources: dict[str, Model | Victim]) -> Ensemble:
    """Return the attacks of the params, then a transfer from each source."""
    if settings.attacks == "standard":
        chosen = standard(seed=settings.seed)
    elif settings.attacks == "rand":
        chosen = rand(seed=settings.seed)
    else:
        budget = Budget(steps=settings.steps, restarts=settings.restarts, queries=settings.queries, seed=settings.seed)
        chosen = build(settings.attacks, budget)
    crafted = PGD(steps=max(settings.steps, 20), seed=settings.seed)
    transfers = {f"transfer_{name}": Transfer(attack=crafted, surrogate=source) for name, source in sources.items()}
    return Ensemble({**chosen.attacks, **transfers})


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


def _worst_case(standing: dict[str, np.ndarray]) -> dict[str, Any]:
    return {
        "worst_case": {epsilon: float(rows.mean()) for epsilon, rows in standing.items()},
        "worst_case_interval": {epsilon: interval(rows) for epsilon, rows in standing.items()},
    }


def _answers(deployed: Deployed, test: ImageSet, found: Found) -> tuple[Answers, dict[tuple[str, float], Answers]]:
    """Return what the defence says of the clean images, and of those made against the student or all of it."""
    attacked = {
        key: deployed.answer(verdicts.adversarial, test.labels)
        for key, verdicts in found.items()
        if key[0] in ("student", "denied", "deceived")
    }
    return deployed.answer(test.images, test.labels), attacked


def _defence(clean: Answers, attacked: dict[tuple[str, float], Answers], settings: Robustness) -> dict[str, Any]:
    """Return what is left of the defence, and how often an attack on it succeeds.

    `attacked_as_student` knows nothing of detector and abstention, `attacked_adaptively` follows them; the worst case
    takes both.
    """
    as_student, adaptively, worst, success = {}, {}, {}, {}
    for epsilon in sorted(settings.epsilons):
        key = format_epsilon(epsilon)
        student, *adaptive = (attacked[name, epsilon] for name in ("student", "denied", "deceived"))
        as_student[key] = clean.useful & student.useful
        adaptively[key] = np.logical_and.reduce([clean.useful, *(answers.useful for answers in adaptive)])
        worst[key] = as_student[key] & adaptively[key]
        success[key] = float(np.logical_or.reduce([answers.harmful for answers in (student, *adaptive)]).mean())
    defence = {
        "clean": float(clean.useful.mean()),
        "attacked_as_student": {key: float(rows.mean()) for key, rows in as_student.items()},
        "attacked_adaptively": {key: float(rows.mean()) for key, rows in adaptively.items()},
        **_worst_case(worst),
    }
    return {"defence": defence, "attack_success": success}


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


def _distances(target: _Target, few: ImageSet, settings: Robustness) -> dict[tuple[str, str], np.ndarray]:
    norms: tuple[Norm, ...] = ("linf", "l2")
    return {
        (name, norm): nearest_distances(
            target.victims[name], few.images, few.labels, norm=norm, steps=max(settings.steps, 20), seed=settings.seed
        )
        for norm in norms
        for name in ("undefended", "student")
    }


def _write_table(test: ImageSet, found: Found) -> None:
    with replacing(ROBUSTNESS) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "label", "attacked", "epsilon", "broken_by"])
        for (name, epsilon), verdicts in found.items():
            for row in zip(test.ids, test.labels, verdicts.broken_by, strict=True):
                writer.writerow([row[0], row[1], name, format_epsilon(epsilon), row[2]])
    mlflow.log_artifact(str(ROBUSTNESS))


def _draw(deployed: Deployed, test: ImageSet, found: Found, rows: dict[str, Any], flags: dict[str, Flag]) -> None:
    epsilons = sorted({epsilon for _, epsilon in found})
    curves = {name: rows[name] for name in (*ALONE, "defence")}
    raised = [name for name, flag in flags.items() if flag.raised]
    report_figure("robustness", robustness_curves(curves, epsilons, raised))
    by_class = {
        "clean": per_class(found["student", epsilons[0]].broken_by != WRONG, test.labels),
        format_epsilon(epsilons[0]): per_class(found["student", epsilons[0]].broken_by == STANDS, test.labels),
    }
    report_figure("robustness_classes", class_bars(by_class, "Student by class, worst case over attacks"))
    shown = np.unique(np.linspace(0, len(test) - 1, 8).astype(int))
    original, adversarial = test.images[shown], found["student", epsilons[-1]].adversarial[shown]
    pictures = {
        "original": original,
        "change x10": np.clip(0.5 + 10 * (adversarial - original), 0, 1),
        "attacked": adversarial,
        "reformed": reform(deployed.autoencoder, adversarial, deployed.how),
    }
    title = f"What fooled the student at {format_epsilon(epsilons[-1])}, through the autoencoder"
    report_figure("robustness_samples", image_rows(pictures, title))
