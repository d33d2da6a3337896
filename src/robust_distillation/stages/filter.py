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
    PUBLISHED_DETECTOR,
    PUBLISHED_FILTERED,
    SCORES,
    TRUSTED,
)
from robust_distillation.records import Classes
from robust_distillation.stages.pairs import split_trusted
from robust_distillation.stages.results import report_metrics


def main(params: Params) -> None:
    """Fit the detectors with trusted images that the autoencoder was not trained on, then filter.

    Beside the detector of the filter, the one that the published defence filters by has its own survivors.
    """
    seed_everything(params.autoencoder.seed)
    settings = params.filter
    _, calibrate = split_trusted(params, ImageSet.load(TRUSTED))
    autoencoder = load_autoencoder(AUTOENCODER, calibrate.features.shape[1:])
    train = ImageSet.load(POISONED)
    models = Models(autoencoder, load_model(PROBE))
    asked = dict.fromkeys((settings.detector, params.published.detector, settings.deployed or settings.detector))
    fitted = {name: DETECTORS[name].fit(train, calibrate, models, settings) for name in asked}
    ours, published = fitted[settings.detector], fitted[params.published.detector]
    check_classes(train.labels, ours.kept, ours.detector.threshold)
    check_classes(train.labels, published.kept, published.detector.threshold)

    reform_set(autoencoder, train.take(ours.kept), settings.reform).save(FILTERED)
    reform_set(autoencoder, train.take(published.kept), params.published.reform).save(PUBLISHED_FILTERED)
    columns = {
        "id": train.ids,
        "label": train.labels,
        "score": decimals(ours.scores),
        "kept": ours.kept.astype(int),
        "reason": reasons(ours.kept, settings.detector, ours.parts),
        **{f"p_{name}": decimals(part) for name, part in ours.parts.items()},
        "published_score": decimals(published.scores),
        "published_kept": published.kept.astype(int),
    }
    with replacing(SCORES) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    save_detector(ours.detector, DETECTOR)
    save_detector(published.detector, PUBLISHED_DETECTOR)
    if settings.deployed is None:
        with replacing(INFERENCE_DETECTOR) as temporary:
            temporary.mkdir()
    else:
        save_detector(fitted[settings.deployed].detector, INFERENCE_DETECTOR)
    report_metrics(
        "filter",
        {
            "threshold_start": settings.threshold_start,
            "threshold": ours.detector.threshold,
            "trusted": len(calibrate),
            "kept": int(ours.kept.sum()),
            "discarded": int((~ours.kept).sum()),
        },
    )


def decimals(values: Array) -> list[str]:
    """Return scores (N,) as text."""
    return [f"{value:.8f}" for value in values]


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
