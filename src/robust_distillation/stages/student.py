"""student: learn the labels that the teacher gives, infer when to abstain; train the undefended model beside it."""

from dataclasses import replace

from robust_distillation.auditing.figures import learning_curves
from robust_distillation.classifiers.storage import load_autoencoder, load_model, save_model
from robust_distillation.classifiers.training import evaluate, one_hot, train_classifier
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.abstention import Abstention, class_distributions, infer_threshold
from robust_distillation.defences.defence import Defence
from robust_distillation.defences.detectors.detector import load_detector
from robust_distillation.defences.distillation import distil, without_outlier
from robust_distillation.defences.reform import reform
from robust_distillation.files import read_record
from robust_distillation.params import Params
from robust_distillation.paths import (
    AUTOENCODER,
    CLASSES,
    DEFENCE,
    INFERENCE_DETECTOR,
    POISONED,
    TEACHER,
    TEST,
    UNDEFENDED,
    VALIDATE,
)
from robust_distillation.records import Classes
from robust_distillation.stages.checkpoints import checkpoint
from robust_distillation.stages.results import report_curve, report_figure, report_metrics
from robust_distillation.stages.training import training_images


def main(params: Params) -> None:
    """Train the student; then the same architecture on the poisoned set as it came, with hard labels at T = 1."""
    classes = read_record(CLASSES, Classes)
    n_classes = len(classes.ids)
    validate, test = ImageSet.load(VALIDATE), ImageSet.load(TEST)
    autoencoder = load_autoencoder(AUTOENCODER, test.features.shape[1:])
    teacher, how = load_model(TEACHER), params.filter.reform
    images, labels, own = training_images(params.student, autoencoder, how)
    validate_seen = reform(autoencoder, validate.images, how)
    soft = params.student.labels == "soft"
    temperature = params.teacher.temperature if soft else 1.0
    measure, passes, seed = params.abstention.measure, params.abstention.passes, params.abstention.seed
    with checkpoint("student", "student", params) as path:
        network, history = distil(
            teacher,
            images,
            labels,
            params.student,
            temperature=temperature,
            passes=passes,
            seed=seed,
            validation=(validate_seen, validate.labels),
            own=own,
            becomes=classes.mirror,
            checkpoint=path,
        )
    student = network if soft else without_outlier(network)
    means = class_distributions(student, images[:own], labels[:own]).tolist()
    unsure = Abstention(network if measure == "outlier" else student, measure, passes, seed, means)
    threshold = infer_threshold(unsure.uncertainty(validate_seen), params.abstention.coverage)
    no_detector = params.filter.inference_detector == "none"
    defence = Defence(
        student=student,
        classes=classes,
        temperature=temperature,
        autoencoder=autoencoder if how == "reconstruct" else None,
        detector=None if no_detector else load_detector(INFERENCE_DETECTOR, autoencoder),
        abstention=replace(unsure, threshold=threshold),
    )
    defence.save(DEFENCE)
    answers = defence.answer(test.images)
    answered = ~answers.refused_by("abstention")
    correct = answers.best == test.labels

    poisoned = ImageSet.load(POISONED)
    undefended, _ = train_classifier(
        poisoned.images,
        one_hot(poisoned.labels, n_classes),
        replace(params.student, method="standard", further_share=0.0),
        becomes=classes.mirror,
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
