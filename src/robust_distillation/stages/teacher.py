"""teacher: train at softmax temperature T on the filtered set."""

from robust_distillation.auditing.figures import learning_curves
from robust_distillation.classifiers.storage import load_autoencoder, save_model
from robust_distillation.classifiers.training import evaluate
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.reform import reform
from robust_distillation.params import Params
from robust_distillation.paths import AUTOENCODER, FILTERED, TEACHER, TEST
from robust_distillation.stages.checkpoints import checkpoint
from robust_distillation.stages.results import report_curve, report_figure, report_metrics
from robust_distillation.stages.training import train_teacher


def main(params: Params) -> None:
    """Train, and test on images that went through the same reform as the training set."""
    test, temperature = ImageSet.load(TEST), params.teacher.temperature
    autoencoder, how = load_autoencoder(AUTOENCODER, test.features.shape[1:]), params.filter.reform
    with checkpoint("teacher", "teacher", params) as path:
        model, history = train_teacher(params.teacher, ImageSet.load(FILTERED), autoencoder, how, path)
        save_model(model, TEACHER)
    report_curve("teacher", history)
    report_figure("teacher_curves", learning_curves(history, f"teacher, T = {temperature:g}"))
    tested = evaluate(model, reform(autoencoder, test.images, how), test.labels, temperature=temperature)
    report_metrics("teacher", tested | {"parameters": model.count_params()})
