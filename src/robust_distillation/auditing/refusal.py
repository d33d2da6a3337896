"""Detection and abstention as trade-offs: what refusing attacked images costs in clean ones."""

from dataclasses import dataclass

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.auditing.filtering import roc


@dataclass(frozen=True)
class TradeOff:
    """A receiver operating characteristic and the point on it that is deployed.

    Attributes:
        false_positive: shares of clean images refused, over all thresholds.
        true_positive: shares of attacked images refused, over the same thresholds.
        auroc: area under the curve; 0.5 is chance.
        clean_refused: share of clean images refused as deployed.
        attacked_refused: share of attacked images refused as deployed.
    """

    false_positive: Array
    true_positive: Array
    auroc: float
    clean_refused: float
    attacked_refused: float


def trade_off(clean: Array, attacked: Array) -> TradeOff:
    """Compare how far clean (N,) and attacked (M,) images exceed a deployed threshold; above 0 they are refused."""
    scores = np.concatenate([clean, attacked])
    is_attacked = np.arange(len(scores)) >= len(clean)
    curve = roc(scores, is_attacked)
    return TradeOff(
        curve.false_positive,
        curve.true_positive,
        auroc=curve.figures["auroc"],
        clean_refused=float((clean > 0).mean()),
        attacked_refused=float((attacked > 0).mean()),
    )
