"""teacher: train at softmax temperature T on the filtered set."""

from robust_distillation.auditing.figures import learning_curves
from robust_distillation.classifiers.storage import load_autoencoder, save_model
from robust_distillation.classifiers.training import evaluate, one_hot, train_classifier
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.reform import reform
from robust_distillation.files import read_record
from robust_distillation.params import Params
from robust_distillation.paths import AUTOENCODER, CLASSES, TEACHER, TEST, VALIDATE
from robust_distillation.records import Classes
from robust_distillation.stages.checkpoints import checkpoint
from robust_distillation.stages.results import report_curve, report_figure, report_metrics
from robust_distillation.stages.training import training_images


def main(params: Params) -> None:
    """Train, and test on images that went through the same reform as the training set."""
    classes = read_record(CLASSES, Classes)
    n_classes = len(classes.ids)
    validate, test = ImageSet.load(VALIDATE), ImageSet.load(TEST)
    autoencoder, how = load_autoencoder(AUTOENCODER, test.features.shape[1:]), params.filter.reform
    images, labels, own = training_images(params.teacher, autoencoder, how)
    with checkpoint("teacher", "teacher", params) as path:
        model, history = train_classifier(
            images,
            one_hot(labels, n_classes),
            params.teacher,
            temperature=params.teacher.temperature,
            validation=(reform(autoencoder, validate.images, how), one_hot(validate.labels, n_classes)),
            own=own,
            becomes=classes.mirror,
            checkpoint=path,
        )
        save_model(model, TEACHER)
    report_curve("teacher", history)
    report_figure("teacher_curves", learning_curves(history, f"teacher, T = {params.teacher.temperature:g}"))
    tested = evaluate(model, reform(autoencoder, test.images, how), test.labels, temperature=params.teacher.temperature)
    report_metrics("teacher", tested | {"parameters": model.count_params()})
