"""smoothed: train the base of randomized smoothing, a network that has seen noise."""

from robust_distillation.auditing.figures import learning_curves
from robust_distillation.classifiers.training import evaluate
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.params import Params
from robust_distillation.paths import FILTERED, SMOOTHED, TEST
from robust_distillation.stages.checkpoints import checkpoint
from robust_distillation.stages.results import report_curve, report_figure, report_metrics
from robust_distillation.stages.training import train_on_labels


def main(params: Params) -> None:
    """Train it on what the filter left."""
    asked, test = params.smoothed, ImageSet.load(TEST)
    with checkpoint("smoothed", "base", params) as kept:
        model, history = train_on_labels(ImageSet.load(FILTERED), asked, SMOOTHED, kept)
    report_curve("smoothed", history)
    report_figure("smoothed_curves", learning_curves(history, f"smoothed, sigma = {asked.smoothing.sigma:g}"))
    report_metrics("smoothed", evaluate(model, test.images, test.labels))
