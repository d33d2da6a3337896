"""The pairs of distorted and clean images that tune and autoencoder train, judge and test on."""

import numpy as np

from robust_distillation.classifiers.storage import load_model
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.tracks import split_by_track, track_groups
from robust_distillation.defences.autoencoder import Pairs, adversarial_pairs, gaussian_pairs, join
from robust_distillation.errors import InputError
from robust_distillation.params import Params
from robust_distillation.paths import POISONED, PROBE, TRUSTED, VALIDATE


def training_pairs(params: Params) -> tuple[Pairs, Pairs]:
    """Return the pairs to train on and those to judge by, in the mode that the params name.

    In mode `adversarial` they come from half of the trusted tracks and from the validation set, attacked through the
    defender's probe. In mode `gaussian` they come from the training set, as the defender got it, with the validation
    set, and from the trusted part; without that, from the training set, and from the validation set.
    """
    settings = params.autoencoder
    validate, trusted = ImageSet.load(VALIDATE), ImageSet.load(TRUSTED)
    if settings.mode == "gaussian":
        own, judged = ImageSet.load(POISONED).features, validate.features
        if len(trusted):
            own, judged = np.concatenate([own, judged]), trusted.features
        return join(gaussian_pairs(own, settings)), join(gaussian_pairs(judged, settings))
    fit, _ = split_trusted(params, trusted)
    probe = load_model(PROBE)
    return (
        join(adversarial_pairs(fit.features, fit.labels, probe, settings)),
        join(adversarial_pairs(validate.features, validate.labels, probe, settings)),
    )


def split_trusted(params: Params, trusted: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Split the trusted part by track: one half to train the autoencoder on, one to infer the threshold from.

    Raises:
        InputError: it is all of one track.
    """
    if not len(trusted):
        return trusted, trusted
    n_groups = len(np.unique(track_groups(trusted.tracks)))
    if n_groups < 2:
        raise InputError(
            f"{TRUSTED}: {len(trusted)} images of {n_groups} tracks cannot be split in two; "
            "raise dataset.trusted_samples in params.yaml"
        )
    fit, calibrate = split_by_track(trusted.tracks, 0.5, params.autoencoder.seed)
    return trusted.take(fit), trusted.take(calibrate)
