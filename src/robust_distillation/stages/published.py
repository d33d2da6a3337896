"""published: the defence as it was published, trained beside the other, for the audit to compare."""

from robust_distillation.classifiers.storage import load_autoencoder
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.detectors.detector import load_detector
from robust_distillation.params import Params
from robust_distillation.paths import AUTOENCODER, PUBLISHED, PUBLISHED_DETECTOR, PUBLISHED_FILTERED, TEST
from robust_distillation.stages.checkpoints import checkpoint
from robust_distillation.stages.results import report_metrics
from robust_distillation.stages.training import answering, train_student, train_teacher


def main(params: Params) -> None:
    """Train its teacher and its student on what its filter left, and save the defence around them."""
    asked, train = params.published, ImageSet.load(PUBLISHED_FILTERED)
    autoencoder = load_autoencoder(AUTOENCODER, train.features.shape[1:])
    with checkpoint("published", "teacher", params) as first, checkpoint("published", "student", params) as second:
        teacher, _ = train_teacher(asked.teacher, train, autoencoder, asked.reform, first)
        defence, _ = train_student(
            teacher,
            train,
            autoencoder,
            asked.reform,
            load_detector(PUBLISHED_DETECTOR, autoencoder),
            student=asked.student,
            temperature=asked.teacher.temperature,
            abstaining=asked.abstention,
            checkpoint=second,
        )
        defence.save(PUBLISHED)
    report_metrics("published", answering(defence, ImageSet.load(TEST)))
