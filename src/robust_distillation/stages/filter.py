"""filter: score the training set with the detector, discard above the threshold, keep the rest, and reform it."""

import csv
from collections.abc import Mapping

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.classifiers.storage import load_autoencoder, load_model
from robust_distillation.classifiers.training import seed_everything
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.detectors import DETECTORS
from robust_distillation.defences.detectors.detector import Models, save_detector
from robust_distillation.defences.reform import reform_set
from robust_distillation.errors import InputError
from robust_distillation.files import read_record, replacing
from robust_distillation.params import Params
from robust_distillation.paths import (
    AUTOENCODER,
    CLASSES,
    DETECTOR,
    FILTERED,
    INFERENCE_DETECTOR,
    POISONED,
    PROBE,
    SCORES,
    SURVIVORS,
    TRUSTED,
)
from robust_distillation.records import Classes
from robust_distillation.stages.pairs import split_trusted
from robust_distillation.stages.results import report_metrics


def main(params: Params) -> None:
    """Fit the detector with trusted images that the autoencoder was not trained on, then filter."""
    seed_everything(params.autoencoder.seed)
    settings = params.filter
    _, calibrate = split_trusted(params, ImageSet.load(TRUSTED))
    autoencoder = load_autoencoder(AUTOENCODER, calibrate.features.shape[1:])
    train = ImageSet.load(POISONED)
    models = Models(autoencoder, load_model(PROBE))
    fitted = DETECTORS[settings.detector].fit(train, calibrate, models, settings)
    detector, scores = fitted.detector, fitted.scores
    kept = scores <= detector.threshold
    check_classes(train.labels, kept, detector.threshold)

    survivors = train.take(kept)
    survivors.save(SURVIVORS)
    reform_set(autoencoder, survivors, settings.reform).save(FILTERED)
    with replacing(SCORES) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "label", "score", "kept", "reason", *(f"p_{name}" for name in fitted.parts)])
        written = [[f"{score:.8f}" for score in found] for found in (scores, *fitted.parts.values())]
        columns = train.ids, train.labels, written[0], kept.astype(int), reasons(kept, settings.detector, fitted.parts)
        writer.writerows(zip(*columns, *written[1:], strict=True))
    save_detector(detector, DETECTOR)
    deployed = detector
    if settings.inference_detector not in ("same", "none"):
        deployed = DETECTORS[settings.inference_detector].fit(train, calibrate, models, settings).detector
    save_detector(deployed, INFERENCE_DETECTOR)
    report_metrics(
        "filter",
        {
            "threshold_start": settings.threshold_start,
            "threshold": detector.threshold,
            "kept": int(kept.sum()),
            "discarded": int((~kept).sum()),
        },
    )


def reasons(kept: Array, detector: str, parts: Mapping[str, Array]) -> list[str]:
    """Return which detector had each discarded image discarded (N,); of several that with the smallest p-value."""
    if not parts:
        return ["" if keep else detector for keep in kept]
    names, lowest = list(parts), np.argmin(list(parts.values()), axis=0)
    return ["" if keep else names[which] for keep, which in zip(kept, lowest, strict=True)]


def check_classes(labels: Array, kept: Array, threshold: float) -> None:
    """Refuse a filter that leaves nothing of a class.

    Raises:
        InputError: names the classes.
    """
    classes = read_record(CLASSES, Classes)
    lost = [
        f"{classes.ids[label]} ({classes.names[label]})"
        for label in np.unique(labels)
        if not kept[labels == label].any()
    ]
    if lost:
        raise InputError(
            f"{POISONED}: the threshold {threshold:.5g} discards every image of class {', '.join(lost)}; "
            "raise filter.keep_clean in params.yaml or train a better autoencoder"
        )
