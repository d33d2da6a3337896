"""poison: the attacker replaces a fraction of the training images; the truth about which goes to the auditor alone."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from robust_distillation.auditing.figures import image_rows
from robust_distillation.classifiers.storage import load_model
from robust_distillation.classifiers.training import evaluate, seed_everything
from robust_distillation.dataset.pickles import ImageSet, save_pickle
from robust_distillation.params import Params
from robust_distillation.paths import POISONED, SURROGATE, TRAIN, TRUTH
from robust_distillation.stages.results import report_figure, report_metrics
from robust_distillation.threats.poisons.poison import Poisoned, cells, poison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 8  # images, or one of each kind and strength


def main(params: Params) -> None:
    """Write the poisoned training set (same ids, order and dtype) and, apart, the truth."""
    seed_everything(params.poison.seed)
    train = ImageSet.load(TRAIN)
    surrogate = load_model(SURROGATE)
    result = poison(train.features, train.labels, surrogate, params.poison)
    poisoned = replace(train, features=result.features, labels=result.labels)
    poisoned.save(POISONED)
    save_pickle(TRUTH, {"ids": train.ids, "tracks": train.tracks, "kinds": result.kinds, "strengths": result.strengths})

    rows = np.flatnonzero(result.kinds != "")
    figures = {"surrogate_accuracy_before": 0.0, "surrogate_accuracy_after": 0.0, "largest_change": 0}
    if len(rows):
        before, after = train.take(rows), poisoned.take(rows)
        figures = {
            "surrogate_accuracy_before": evaluate(surrogate, before.images, before.labels)["accuracy"],
            "surrogate_accuracy_after": evaluate(surrogate, after.images, before.labels)["accuracy"],
            "largest_change": round(float(np.abs(after.images - before.images).max()) * 255),
        }
        report_figure("poison_samples", _samples(train, poisoned, result))
    counts = {kind: int((result.kinds == kind).sum()) for kind in params.poison.kinds}
    relabelled = int((poisoned.labels != train.labels).sum())
    report_metrics(
        "poison", {"poisoned": len(rows), "of": len(train), "relabelled": relabelled, "per_kind": counts, **figures}
    )


def _samples(train: ImageSet, poisoned: ImageSet, result: Poisoned) -> "Figure":
    """Draw a few images of each kind and strength: as they were, what was changed, and as they are."""
    found = cells(result.kinds, result.strengths)
    each = max(1, SHOWN // len(found))
    shown, columns = [], []
    for name, rows in found.items():
        for row in np.flatnonzero(rows)[:each]:
            old, new = train.labels[row], poisoned.labels[row]
            shown.append(row)
            columns.append(f"{name}\nlabel {old}" + (f", now {new}" if old != new else ""))
    before, after = (images.take(np.array(shown)) for images in (train, poisoned))
    pictures = {
        "original": before.images,
        "change x10": np.clip(0.5 + 10 * (after.images - before.images), 0, 1),
        "poisoned": after.images,
    }
    return image_rows(pictures, "Poisoned training images", columns)
