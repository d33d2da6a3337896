"""What a filter is worth, against the truth that only the auditor knows."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import auc, average_precision_score, precision_score, recall_score, roc_curve

from robust_distillation.arrays import Array
from robust_distillation.auditing.resampling import RESAMPLES, resampled
from robust_distillation.progress import Bar
from robust_distillation.threats.poisons.poison import cells

RATES = {"tpr_at_1": 0.01, "tpr_at_5": 0.05}  # shares of clean images lost


@dataclass(frozen=True)
class Curve:
    """A receiver operating characteristic.

    Attributes:
        false_positive: share of clean images lost, ascending (M,).
        true_positive: share of the poison caught (M,).
    """

    false_positive: Array
    true_positive: Array

    @property
    def figures(self) -> dict[str, float]:
        """`auroc`, and the share of the poison caught where 1 % (`tpr_at_1`) and 5 % of clean images are lost."""
        caught = {
            name: float(self.true_positive[np.searchsorted(self.false_positive, rate, side="right") - 1])
            for name, rate in RATES.items()
        }
        return {"auroc": float(auc(self.false_positive, self.true_positive)), **caught}


def roc(scores: Array, poisoned: Array, weights: Array | None = None) -> Curve:
    """Return the curve over all thresholds.

    Args:
        scores: (N,), larger is more suspicious.
        poisoned: booleans (N,), of which some are true and some are not.
        weights: (N,) how often each row counts; once by default.
    """
    false_positive, true_positive, _ = roc_curve(poisoned, scores, sample_weight=weights, drop_intermediate=False)
    return Curve(false_positive, true_positive)


def curves(scores: Array, kinds: Array, strengths: Array) -> dict[str, Curve]:
    """Return the curve of each kind and strength of poison against all clean rows; none where there are none.

    Args:
        scores: (N,), larger is more suspicious.
        kinds: (N,) the poison of each row, empty where it is clean.
        strengths: (N,) of each row's poison.
    """
    clean = kinds == ""
    if not clean.any():
        return {}
    return {name: roc(scores[cell | clean], cell[cell | clean]) for name, cell in cells(kinds, strengths).items()}


def audit_filter(scores: Array, kept: Array, kinds: Array, strengths: Array, tracks: Array) -> dict[str, object]:
    """Compare a filter's scores and verdicts with the truth.

    Args:
        scores: (N,), larger is more suspicious.
        kept: booleans (N,), False where the filter discarded.
        kinds: (N,) the poison of each row, empty where it is clean.
        strengths: (N,) of each row's poison.
        tracks: (N,) of each row; frames of a track are drawn together for the intervals, for they are much alike.

    Returns:
        `auroc`, `tpr_at_1`, `tpr_at_5`, `average_precision`, `precision` and `recall` of discarding, `clean_kept`
        (share), `poison_kept` (share), and `per_kind`: of each kind and strength against all clean rows, the first
        three with the bounds of 95 % intervals (`_low`, `_high`), and `caught`, the share that was discarded. A figure
        that needs poison, or clean rows, where there are none is None.
    """
    poisoned = kinds != ""
    whole: dict[str, float | None] = dict.fromkeys(("auroc", *RATES))
    if poisoned.any() and not poisoned.all():
        whole |= roc(scores, poisoned).figures
    per_kind = {name: dict(curve.figures) for name, curve in curves(scores, kinds, strengths).items()}
    bounds = _intervals(scores, kinds, strengths, tracks) if per_kind else {}
    for name, cell in cells(kinds, strengths).items():
        per_kind.setdefault(name, {})["caught"] = float((~kept[cell]).mean())
        per_kind[name] |= bounds.get(name, {})
    return {
        **whole,
        "average_precision": float(average_precision_score(poisoned, scores)) if whole["auroc"] is not None else None,
        "precision": float(precision_score(poisoned, ~kept, zero_division=0)),
        "recall": float(recall_score(poisoned, ~kept, zero_division=0)),
        "clean_kept": float(kept[~poisoned].mean()) if not poisoned.all() else None,
        "poison_kept": float(kept[poisoned].mean()) if poisoned.any() else None,
        "per_kind": per_kind,
    }


def _intervals(scores: Array, kinds: Array, strengths: Array, tracks: Array) -> dict[str, dict[str, float]]:
    """Return by kind and strength the bounds of 95 % intervals: percentiles of a bootstrap over tracks."""
    clean, found = kinds == "", cells(kinds, strengths)
    drawn: dict[str, list[dict[str, float]]] = {name: [] for name in found}
    for weights in Bar(resampled(tracks), total=RESAMPLES, desc="intervals", unit="draw"):
        for name, cell in found.items():
            rows = (cell | clean) & (weights > 0)
            if cell[rows].any() and clean[rows].any():
                drawn[name].append(roc(scores[rows], cell[rows], weights[rows]).figures)
    return {
        name: {
            f"{figure}_{bound}": float(np.percentile([one[figure] for one in draws], percentile))
            for figure in ("auroc", *RATES)
            for bound, percentile in (("low", 2.5), ("high", 97.5))
        }
        for name, draws in drawn.items()
        if draws
    }
