"""student: learn the labels that the teacher gives, infer when to abstain; train the undefended model beside it."""

from dataclasses import replace

from robust_distillation.auditing.figures import learning_curves
from robust_distillation.classifiers.storage import load_autoencoder, load_model
from robust_distillation.classifiers.training import evaluate
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.detectors.detector import load_detector
from robust_distillation.params import Params
from robust_distillation.paths import (
    AUTOENCODER,
    DEFENCE,
    FILTERED,
    INFERENCE_DETECTOR,
    POISONED,
    TEACHER,
    TEST,
    UNDEFENDED,
)
from robust_distillation.stages.checkpoints import checkpoint
from robust_distillation.stages.results import report_curve, report_figure, report_metrics
from robust_distillation.stages.training import answering, train_on_labels, train_student


def main(params: Params) -> None:
    """Train the student; then the same architecture on the poisoned set as it came, with hard labels at T = 1."""
    test = ImageSet.load(TEST)
    autoencoder = load_autoencoder(AUTOENCODER, test.features.shape[1:])
    no_detector = params.filter.inference_detector == "none"
    detector = None if no_detector else load_detector(INFERENCE_DETECTOR, autoencoder)
    with checkpoint("student", "student", params) as path:
        defence, history = train_student(
            load_model(TEACHER),
            ImageSet.load(FILTERED),
            autoencoder,
            params.filter.reform,
            detector,
            student=params.student,
            temperature=params.teacher.temperature,
            abstaining=params.abstention,
            checkpoint=path,
        )
        defence.save(DEFENCE)

    plain = replace(params.student, method="standard", further_share=0.0)
    with checkpoint("student", "undefended", params) as path:
        undefended, _ = train_on_labels(ImageSet.load(POISONED), plain, UNDEFENDED, path)

    report_curve("student", history)
    report_figure("student_curves", learning_curves(history, f"student, T = {defence.temperature:g}"))
    alone = evaluate(undefended, test.images, test.labels)["accuracy"]
    report_metrics("student", answering(defence, test) | {"undefended_accuracy": alone})
