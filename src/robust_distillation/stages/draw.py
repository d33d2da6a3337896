"""draw: further images of the same classes, the defender's own, to train on beside the training set."""

from robust_distillation.dataset.synthetic.further import draw_further
from robust_distillation.files import read_record
from robust_distillation.params import Params
from robust_distillation.paths import CLASSES, FURTHER
from robust_distillation.records import Classes
from robust_distillation.stages.results import report_metrics


def main(params: Params) -> None:
    """Draw them as params.draw asks; none, where it asks for none."""
    asked, like = params.draw, params.dataset
    further = draw_further(
        read_record(CLASSES, Classes).ids,
        tracks_per_class=asked.tracks_per_class,
        frames_per_track=asked.frames_per_track,
        image_size=like.image_size,
        colour=like.colour,
        crop_to_roi=like.crop_to_roi,
        seed=asked.seed,
    )
    further.save(FURTHER)
    report_metrics("draw", {"images": len(further)})
