"""poison: the attacker replaces a fraction of the training images; the truth about which goes to the auditor alone."""

from dataclasses import replace

import numpy as np

from robust_distillation.auditing.figures import image_rows
from robust_distillation.classifiers.storage import load_model
from robust_distillation.classifiers.training import evaluate, seed_everything
from robust_distillation.dataset.pickles import ImageSet, save_pickle
from robust_distillation.params import Params
from robust_distillation.paths import POISONED, SURROGATE, TRAIN, TRUTH
from robust_distillation.stages.results import report_figure, report_metrics
from robust_distillation.threats.poisons.poison import poison


def main(params: Params) -> None:
    """Write the poisoned training set (same ids, order and dtype) and, apart, the truth."""
    seed_everything(params.poison.seed)
    train = ImageSet.load(TRAIN)
    surrogate = load_model(SURROGATE)
    result = poison(train.features, train.labels, surrogate, params.poison)
    poisoned = replace(train, features=result.features, labels=result.labels)
    poisoned.save(POISONED)
    save_pickle(TRUTH, {"ids": train.ids, "kinds": result.kinds, "epsilons": result.epsilons})

    rows = np.flatnonzero(result.kinds != "")
    figures = {"surrogate_accuracy_before": 0.0, "surrogate_accuracy_after": 0.0, "largest_change": 0}
    if len(rows):
        before, after = train.take(rows), poisoned.take(rows)
        change = after.images - before.images
        figures = {
            "surrogate_accuracy_before": evaluate(surrogate, before.images, before.labels)["accuracy"],
            "surrogate_accuracy_after": evaluate(surrogate, after.images, after.labels)["accuracy"],
            "largest_change": round(float(np.abs(change).max()) * 255),
        }
        shown = np.unique(np.linspace(0, len(rows) - 1, 8).astype(int))
        pictures = {
            "original": before.images[shown],
            "change x10": np.clip(0.5 + 10 * change[shown], 0, 1),
            "poisoned": after.images[shown],
        }
        report_figure("poison_samples", image_rows(pictures, "Poisoned training images, labels kept"))
    counts = {kind: int((result.kinds == kind).sum()) for kind in params.poison.kinds}
    report_metrics("poison", {"poisoned": len(rows), "of": len(train), "per_kind": counts, **figures})
