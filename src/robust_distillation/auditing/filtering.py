"""What a filter is worth, against the truth that only the auditor knows."""

from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score, roc_curve

from robust_distillation.arrays import Array
from robust_distillation.threats.poisons.poison import cells


def audit_filter(scores: Array, kept: Array, kinds: Array, strengths: Array) -> dict[str, object]:
    """Compare a filter's scores and verdicts with the truth.

    Args:
        scores: (N,), larger is more suspicious.
        kept: booleans (N,), False where the filter discarded.
        kinds: (N,) the poison of each row, empty where it is clean.
        strengths: (N,) of each row's poison.

    Returns:
        `auroc`, `average_precision`, `precision` and `recall` of discarding, `clean_kept` (share), `poison_kept`
        (share), and `auroc_per_kind` of each kind and strength against all clean rows. A figure that needs poison, or
        clean rows, where there are none is None.
    """
    poisoned = kinds != ""
    both = bool(poisoned.any() and not poisoned.all())
    per_kind: dict[str, float | None] = {}
    for name, cell in cells(kinds, strengths).items():
        rows = cell | ~poisoned
        per_kind[name] = float(roc_auc_score(cell[rows], scores[rows])) if both else None
    return {
        "auroc": float(roc_auc_score(poisoned, scores)) if both else None,
        "average_precision": float(average_precision_score(poisoned, scores)) if both else None,
        "precision": float(precision_score(poisoned, ~kept, zero_division=0)),
        "recall": float(recall_score(poisoned, ~kept, zero_division=0)),
        "clean_kept": float(kept[~poisoned].mean()) if not poisoned.all() else None,
        "poison_kept": float(kept[poisoned].mean()) if poisoned.any() else None,
        "auroc_per_kind": per_kind,
    }


def roc(scores: Array, poisoned: Array) -> tuple[Array, Array]:
    """Return false and true positive rates over all thresholds."""
    false_positive, true_positive, _ = roc_curve(poisoned, scores)
    return false_positive, true_positive
