"""surrogate: the attacker trains a model of its own, of another architecture and seed than the defender's."""

from robust_distillation.auditing.figures import learning_curves
from robust_distillation.classifiers.storage import save_model
from robust_distillation.classifiers.training import evaluate, one_hot, train_classifier
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.files import read_record
from robust_distillation.params import Params
from robust_distillation.paths import CLASSES, SURROGATE, TEST, TRAIN, VALIDATE
from robust_distillation.records import Classes
from robust_distillation.stages.results import report_curve, report_figure, report_metrics


def main(params: Params) -> None:
    """Train on the clean training set, as an attacker who can read it would."""
    n_classes = len(read_record(CLASSES, Classes).ids)
    train, validate, test = ImageSet.load(TRAIN), ImageSet.load(VALIDATE), ImageSet.load(TEST)
    model, history = train_classifier(
        train.images,
        one_hot(train.labels, n_classes),
        params.surrogate,
        validation=(validate.images, one_hot(validate.labels, n_classes)),
    )
    save_model(model, SURROGATE)
    report_curve("surrogate", history)
    report_figure("surrogate_curves", learning_curves(history, "surrogate"))
    report_metrics("surrogate", {"accuracy": evaluate(model, test.images, test.labels)["accuracy"]})
