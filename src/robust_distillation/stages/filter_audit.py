"""filter_audit: the only stage that knows which rows are poisoned tells what the filter was worth."""

import csv
from typing import TYPE_CHECKING

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.auditing.figures import image_rows, roc_figure, score_histogram
from robust_distillation.auditing.filtering import audit_filter, curves, roc
from robust_distillation.classifiers.storage import load_autoencoder
from robust_distillation.dataset.pickles import ImageSet, load_pickle
from robust_distillation.defences.autoencoder import reconstruct
from robust_distillation.defences.detectors import RECORD
from robust_distillation.errors import InputError
from robust_distillation.files import read_record
from robust_distillation.params import Params
from robust_distillation.paths import AUTOENCODER, DETECTOR, POISONED, SCORES, TRAIN, TRUTH
from robust_distillation.records import Detecting
from robust_distillation.stages.results import report_figure, report_metrics
from robust_distillation.threats.poisons.poison import cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def main(params: Params) -> None:
    """Join scores and truth by id, measure, and draw."""
    with SCORES.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    truth = load_pickle(TRUTH)
    if [row["id"] for row in rows] != truth["ids"].tolist():
        raise InputError(f"{SCORES} and {TRUTH} list different images; run `dvc repro filter_audit`")
    kinds, strengths = truth["kinds"], truth["strengths"]
    scores, kept = _verdicts(rows)
    threshold = read_record(DETECTOR / RECORD, Detecting).threshold
    report_figure("filter_scores", score_histogram(scores, kinds != "", threshold))
    published = _verdicts(rows, "published_")
    drawn = curves(scores, kinds, strengths)
    if drawn:
        drawn |= {"all": roc(scores, kinds != ""), "all, published filter": roc(published[0], kinds != "")}
    report_figure("filter_roc", roc_figure(drawn))
    report_figure("filter_samples", _samples(kinds, strengths, scores, kept))
    ours, beside = (
        audit_filter(*verdicts, kinds, strengths, truth["tracks"]) for verdicts in ((scores, kept), published)
    )
    report_metrics("filter_audit", ours | {"published": beside})


def _verdicts(rows: list[dict[str, str]], of: str = "") -> tuple[Array, Array]:
    """Return scores (N,) and which rows were kept (N,), of one of the two detectors."""
    scores = np.array([float(row[f"{of}score"]) for row in rows])
    return scores, np.array([row[f"{of}kept"] == "1" for row in rows])


def _samples(kinds: Array, strengths: Array, scores: Array, kept: Array) -> "Figure":
    """Draw a caught and a missed image of each kind and strength, and of clean ones, with their reconstructions."""
    groups = {"clean": kinds == "", **cells(kinds, strengths)}
    shown, columns = [], []
    for name, group in groups.items():
        for verdict, rows in (("discarded", group & ~kept), ("kept", group & kept)):
            for row in np.flatnonzero(rows)[:1]:
                shown.append(row)
                columns.append(f"{name}\nscore {scores[row]:.3g}\n{verdict}")
    original, poisoned = (ImageSet.load(path).take(np.array(shown)).images for path in (TRAIN, POISONED))
    reconstructed = reconstruct(load_autoencoder(AUTOENCODER, poisoned.shape[1:]), poisoned)
    pictures = {
        "original": original,
        "as it came": poisoned,
        "reconstructed": reconstructed,
        "residual x10": np.clip(0.5 + 10 * (poisoned - reconstructed), 0, 1),
    }
    return image_rows(pictures, "What the filter keeps and discards", columns)
