"""robustness: audit the whole defence, with the undefended model and the teacher beside it."""

import csv

import mlflow
import numpy as np

from robust_distillation.auditing.audit import audit
from robust_distillation.auditing.backdoors import attack_success_rates
from robust_distillation.auditing.flags import MEANINGS
from robust_distillation.auditing.report import Report
from robust_distillation.classifiers.storage import load_model
from robust_distillation.classifiers.training import seed_everything
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.defence import Defence
from robust_distillation.defences.reform import reformed_classifier
from robust_distillation.files import replacing
from robust_distillation.params import Params
from robust_distillation.paths import BUILD, DEFENCE, PUBLISHED, ROBUSTNESS, SURROGATE, TEACHER, TEST, TRAIN, UNDEFENDED
from robust_distillation.settings import format_epsilon
from robust_distillation.stages.results import report_figure, report_metrics
from robust_distillation.stages.shards import Shards
from robust_distillation.threats.evasion.attack import Budget
from robust_distillation.threats.evasion.ensemble import Verdicts
from robust_distillation.threats.evasion.transfer import extract
from robust_distillation.threats.evasion.victim import Model, Victim
from robust_distillation.tracking.runs import input_digest


def main(params: Params) -> None:
    """Report accuracies by model, attack and epsilon; `defence` counts only what is answered, right and unflagged."""
    settings = params.robustness
    seed_everything(settings.seed)
    test = ImageSet.load(TEST)
    test = test.take(np.argsort(test.ids)[: len(test) if settings.images == "all" else settings.images])
    defence, published = Defence.load(DEFENCE), Defence.load(PUBLISHED)
    undefended = Defence(student=load_model(UNDEFENDED), classes=defence.classes)
    teacher = Victim(
        reformed_classifier(defence.autoencoder, load_model(TEACHER)), temperature=params.teacher.temperature
    )
    sources: dict[str, Model | Victim] = {"surrogate": load_model(SURROGATE), "teacher": teacher}
    extraction = {}
    if settings.extraction:
        sources["extracted"], extraction["extraction"] = _extract(defence, test, params)
    shards = Shards(BUILD / "robustness" / input_digest("robustness", params), Verdicts)
    report = audit(
        defence,
        test.images,
        test.labels,
        epsilons=settings.epsilons,
        attacks=settings.attacks,
        budget=Budget(steps=settings.steps, restarts=settings.restarts, queries=settings.queries, seed=settings.seed),
        beside={
            "undefended": Victim(undefended.student),
            "published": published,
            "teacher": teacher,
        },
        sources=sources,
        transfer_steps=settings.transfer_steps,
        nearest=settings.distances,
        reliability=settings.flags,
        done=shards,
    )
    mlflow.set_tags(
        {f"flag.{one.key}": f"{one.flag.raised}: {MEANINGS[one.name]} {one.flag.value:.4g}" for one in report.flags}
    )
    triggers = {
        name: attack_success_rates(one.answer, test.features, test.labels, params.poison)
        for name, one in {"undefended": undefended, "published": published, "defence": defence}.items()
    }
    found = {"triggers": triggers} if triggers["defence"] else {}
    report_metrics("robustness", report.to_dict() | extraction | found)
    _write_table(report, test)
    for name, figure in report.figures().items():
        report_figure(name, figure)
    shards.clear()


def _extract(defence: Defence, test: ImageSet, params: Params) -> tuple[Model, dict[str, float]]:
    """Return a model trained on the student's answers to queries, how many it took, and how often the two agree."""
    student = Victim(defence.classifier, temperature=defence.temperature)
    start = ImageSet.load(TRAIN)
    start = start.take(np.arange(min(params.robustness.extraction_images, len(start))))
    extracted, queries = extract(student, start.images, start.labels, params.surrogate)
    answers = student.predict_logits(test.images, test.labels).argmax(axis=1)
    agreeing = ~Victim(extracted).fooled(test.images, answers)
    return extracted, {"queries": queries, "agreement": float(agreeing.mean())}


def _write_table(report: Report, test: ImageSet) -> None:
    with replacing(ROBUSTNESS) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "label", "attacked", "epsilon", "broken_by"])
        for name, epsilon, verdicts in report.verdicts():
            for row in zip(test.ids, test.labels, verdicts.broken_by, strict=True):
                writer.writerow([*row[:2], name, format_epsilon(epsilon), row[2]])
    mlflow.log_artifact(str(ROBUSTNESS))
