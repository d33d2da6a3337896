"""smoothed: train the base of randomized smoothing, a network that has seen noise."""

from robust_distillation.auditing.figures import learning_curves
from robust_distillation.classifiers.storage import save_model
from robust_distillation.classifiers.training import evaluate, one_hot, train_classifier
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.files import read_record
from robust_distillation.params import Params
from robust_distillation.paths import CLASSES, FILTERED, SMOOTHED, TEST, VALIDATE
from robust_distillation.records import Classes
from robust_distillation.stages.checkpoints import checkpoint
from robust_distillation.stages.results import report_curve, report_figure, report_metrics


def main(params: Params) -> None:
    """Train it on what the filter left."""
    train, validate, test = (ImageSet.load(path) for path in (FILTERED, VALIDATE, TEST))
    classes, asked = read_record(CLASSES, Classes), params.smoothed
    with checkpoint("smoothed", "base", params) as path:
        model, history = train_classifier(
            train.images,
            one_hot(train.labels, len(classes.ids)),
            asked,
            validation=(validate.images, one_hot(validate.labels, len(classes.ids))),
            becomes=classes.mirror,
            checkpoint=path,
        )
        save_model(model, SMOOTHED)
    report_curve("smoothed", history)
    report_figure("smoothed_curves", learning_curves(history, f"smoothed, sigma = {asked.smoothing.sigma:g}"))
    report_metrics("smoothed", evaluate(model, test.images, test.labels))
