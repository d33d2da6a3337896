"""student: learn the teacher's soft labels at T, infer when to abstain; train the undefended model beside it."""

from robust_distillation.audit.figures import learning_curves
from robust_distillation.classifiers.storage import load_autoencoder, load_model, save_model
from robust_distillation.classifiers.training import evaluate, one_hot, predict_logits, train_classifier
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.abstention import Abstention, class_distributions, infer_threshold
from robust_distillation.defences.distillation import soft_labels
from robust_distillation.defences.reform import reform
from robust_distillation.files import read_record, write_json
from robust_distillation.params import Params
from robust_distillation.paths import (
    ABSTENTION,
    AUTOENCODER,
    CLASSES,
    FILTERED,
    POISONED,
    STUDENT,
    TEACHER,
    TEST,
    UNDEFENDED,
    VALIDATE,
)
from robust_distillation.records import Classes
from robust_distillation.stages.results import report_curve, report_figure, report_metrics


def main(params: Params) -> None:
    """Train the student; then the same architecture on the poisoned set as it came, with hard labels at T = 1."""
    n_classes = len(read_record(CLASSES, Classes).ids)
    train, validate, test = ImageSet.load(FILTERED), ImageSet.load(VALIDATE), ImageSet.load(TEST)
    autoencoder = load_autoencoder(AUTOENCODER, test.features.shape[1:])
    teacher, how = load_model(TEACHER), params.filter.reform
    validate_seen, test_seen = (reform(autoencoder, part.images, how) for part in (validate, test))
    temperature = params.teacher.temperature
    student, history = train_classifier(
        train.images,
        soft_labels(teacher, train.images, temperature),
        params.student,
        temperature=temperature,
        validation=(validate_seen, one_hot(validate.labels, n_classes)),
    )
    abstention = {
        "measure": params.abstention.measure,
        "passes": params.abstention.passes,
        "seed": params.abstention.seed,
        "class_distributions": class_distributions(student, train.images, train.labels).tolist(),
    }
    measured = Abstention(student, **abstention)
    threshold = infer_threshold(measured.uncertainty(validate_seen), params.abstention.coverage)
    answered = measured.uncertainty(test_seen) <= threshold
    correct = predict_logits(student, test_seen).argmax(axis=1) == test.labels
    save_model(student, STUDENT)
    write_json(ABSTENTION, abstention | {"threshold": threshold})

    poisoned = ImageSet.load(POISONED)
    undefended, _ = train_classifier(
        poisoned.images,
        one_hot(poisoned.labels, n_classes),
        params.student,
        validation=(validate.images, one_hot(validate.labels, n_classes)),
    )
    save_model(undefended, UNDEFENDED)

    report_curve("student", history)
    report_figure("student_curves", learning_curves(history, f"student, T = {temperature:g}"))
    report_metrics(
        "student",
        {
            "accuracy": float(correct.mean()),
            "coverage": float(answered.mean()),
            "accuracy_when_answering": float(correct[answered].mean()) if answered.any() else None,
            "abstention_threshold": threshold,
            "undefended_accuracy": evaluate(undefended, test.images, test.labels)["accuracy"],
            "parameters": student.count_params(),
        },
    )
