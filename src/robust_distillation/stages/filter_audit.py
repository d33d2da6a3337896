"""filter_audit: the only stage that knows which rows are poisoned tells what the filter was worth."""

import csv

import numpy as np

from robust_distillation.auditing.figures import roc_figure, score_histogram
from robust_distillation.auditing.filtering import audit_filter, curves
from robust_distillation.dataset.pickles import load_pickle
from robust_distillation.defences.detectors import RECORD
from robust_distillation.errors import InputError
from robust_distillation.files import read_record
from robust_distillation.params import Params
from robust_distillation.paths import DETECTOR, SCORES, TRUTH
from robust_distillation.records import Detecting
from robust_distillation.stages.results import report_figure, report_metrics


def main(params: Params) -> None:
    """Join scores and truth by id, measure, and draw."""
    with SCORES.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    truth = load_pickle(TRUTH)
    if [row["id"] for row in rows] != truth["ids"].tolist():
        raise InputError(f"{SCORES} and {TRUTH} list different images; run `dvc repro filter_audit`")
    scores = np.array([float(row["score"]) for row in rows])
    kept = np.array([row["kept"] == "1" for row in rows])
    kinds, strengths = truth["kinds"], truth["strengths"]
    metrics = audit_filter(scores, kept, kinds, strengths, truth["tracks"])
    threshold = read_record(DETECTOR / RECORD, Detecting).threshold
    report_figure("filter_scores", score_histogram(scores, kinds != "", threshold))
    report_figure("filter_roc", roc_figure(curves(scores, kinds, strengths)))
    report_metrics("filter_audit", metrics)
