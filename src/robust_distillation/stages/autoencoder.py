"""autoencoder: train the denoising autoencoder with the best hyperparameters and measure it on test images."""

import numpy as np
from tqdm.keras import TqdmCallback

from robust_distillation.auditing.figures import image_rows, learning_curves
from robust_distillation.classifiers.storage import load_model, save_model
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.autoencoder import (
    Hyperparameters,
    adversarial_pairs,
    gaussian_pairs,
    mean_squared_error,
    reconstruct,
    train_autoencoder,
)
from robust_distillation.files import read_record
from robust_distillation.params import Params
from robust_distillation.paths import AUTOENCODER, HYPERPARAMETERS, PROBE, TEST
from robust_distillation.progress import Bar
from robust_distillation.stages.pairs import training_pairs
from robust_distillation.stages.results import report_curve, report_figure, report_metrics


def main(params: Params) -> None:
    """Train afresh (the search keeps no weights), then measure the error on clean and on distorted test images."""
    chosen = read_record(HYPERPARAMETERS, Hyperparameters)
    pairs, validation = training_pairs(params)
    bars = [TqdmCallback(verbose=0, desc="training autoencoder", tqdm_class=Bar)]
    model, history = train_autoencoder(chosen, pairs, validation, params.autoencoder, bars)
    save_model(model, AUTOENCODER)
    report_curve("autoencoder", history)
    report_figure("autoencoder_curves", learning_curves(history, "autoencoder"))

    test = ImageSet.load(TEST)
    distorted = adversarial_pairs(test.features, test.labels, load_model(PROBE), params.autoencoder)
    distorted |= gaussian_pairs(test.features, params.autoencoder)
    errors = {kind: mean_squared_error(model, cell) for kind, cell in distorted.items()}
    adversarial = [errors[kind] for kind in errors if kind.split()[0] in params.autoencoder.kinds]
    metrics = {
        "mse_clean": errors["clean"],
        "mse_adversarial": float(np.mean(adversarial)),
        "mse_per_kind": errors,
        "epochs": len(history["loss"]),
        "parameters": model.count_params(),
    }
    shown = np.linspace(0, len(test) - 1, 8).astype(int)
    strongest = [kind for kind in distorted if kind.split()[0] in params.autoencoder.kinds][-1]
    pictures = {
        "clean": test.images[shown],
        strongest: distorted[strongest][0][shown],
        "reconstructed": reconstruct(model, distorted[strongest][0][shown]),
    }
    report_figure("autoencoder_samples", image_rows(pictures, "Reconstructions of distorted test images"))
    report_metrics("autoencoder", metrics)
