"""report: one page about the run, for people who would rather look than read."""

import csv

import keras
import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.auditing.figures import confusion_figure
from robust_distillation.classifiers.storage import load_model
from robust_distillation.classifiers.training import predict_logits
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.defence import Defence
from robust_distillation.files import read_json, replacing
from robust_distillation.overview import PLACES
from robust_distillation.params import Params
from robust_distillation.paths import (
    DATASET,
    DEFENCE,
    FIGURES,
    FILTERED,
    METRICS,
    PARAMS,
    POISONED,
    REPORT,
    ROBUSTNESS,
    TEST,
    UNDEFENDED,
    VERDICT,
)
from robust_distillation.showing.report import Page, Seen, render
from robust_distillation.stages.results import report_figure
from robust_distillation.tracking.promotion import FLAGS, meaning, minima, refusals
from robust_distillation.tracking.registry import log_report, read_registered
from robust_distillation.tracking.runs import digest, lineage
from robust_distillation.tracking.summary import read_metrics

SHOWN = 300  # test images in the explorer, at most
HASHED = (DATASET, POISONED, FILTERED, UNDEFENDED, DEFENCE)


def main(params: Params) -> None:
    """Draw what the student confuses, write the page, and log it to this run and to that of the version."""
    test, defence, flat = ImageSet.load(TEST), Defence.load(DEFENCE), read_metrics()
    names = defence.classes.names
    answered = predict_logits(defence.classifier, test.images).argmax(axis=1)
    report_figure("confusion", confusion_figure(test.labels, answered, names))
    metrics = {file.stem: read_json(file) for file in sorted(METRICS.glob("*.json"))}
    seen, features = _seen(test, defence, load_model(UNDEFENDED))
    registered = read_registered()
    raised = {name.removeprefix(FLAGS): value for name, value in flat.items() if name.startswith(FLAGS) and value}
    page = Page(
        title=f"{registered.name}, version {registered.version}",
        refusals=refusals(flat, params.promotion),
        gate={name: (least, flat.get(name)) for name, least in minima(params.promotion).items()},
        metrics=metrics,
        flags=[f"{name}: {meaning(name)}, {metrics['robustness']['flag_values'][name]:.4g}" for name in raised],
        validation=read_json(VERDICT),
        figures={file.stem: file.read_bytes() for file in sorted(FIGURES.glob("*.png"))},
        names=names,
        seen=seen,
        features=features,
        lineage={**lineage(), "MLflow run": f"{registered.run_id}, shown by `{PLACES['runs and models']}`"},
        hashes={str(path): digest(path) for path in HASHED},
        params=PARAMS.read_text(),
    )
    with replacing(REPORT) as temporary:
        temporary.write_text(render(page), encoding="utf-8")
    log_report(REPORT, registered)


def _seen(test: ImageSet, defence: Defence, undefended: keras.Model) -> tuple[list[Seen], Array]:
    """Return what is said of the first images that were attacked, and these."""
    fell: dict[str, dict[str, dict[str, str]]] = {}
    with ROBUSTNESS.open(newline="") as handle:
        for row in csv.DictReader(handle):
            fell.setdefault(row["id"], {}).setdefault(row["attacked"], {})[row["epsilon"]] = row["broken_by"]
    shown = test.take(np.flatnonzero(np.isin(test.ids, list(fell)[:SHOWN])))
    shown = shown.take(np.argsort(shown.ids))
    answers, alone = defence.answer(shown.images), predict_logits(undefended, shown.images).argmax(axis=1)
    refused = {part: answers.refused_by(part) for part in answers.scores}
    return [
        Seen(
            id=str(shown.ids[row]),
            label=int(shown.labels[row]),
            answer=int(answers.best[row]),
            confidence=float(answers.probabilities[row].max()),
            undefended=int(alone[row]),
            refused=", ".join(part for part, by in refused.items() if by[row]),
            scores={
                part: (float(scores[row]), float(answers.thresholds[part])) for part, scores in answers.scores.items()
            },
            fell=fell[str(shown.ids[row])],
        )
        for row in range(len(shown))
    ], shown.features
