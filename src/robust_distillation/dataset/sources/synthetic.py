"""Traffic signs that are drawn here, in the official archives' layout."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from robust_distillation.dataset.signs import SIGNS, resolve_classes
from robust_distillation.dataset.sources import gtsrb

if TYPE_CHECKING:
    from robust_distillation.dataset.settings import Data


def fetch(folder: Path, data: "Data") -> None:
    """Draw the archives."""
    from robust_distillation.dataset.synthetic.archives import draw_archives

    drawn = data.synthetic
    draw_archives(
        folder,
        classes=resolve_classes(drawn.classes, range(len(SIGNS))),
        tracks_per_class=drawn.tracks_per_class,
        frames_per_track=drawn.frames_per_track,
        test_per_class=drawn.test_per_class,
        seed=drawn.seed,
    )


SOURCE = replace(gtsrb.SOURCE, fetch=fetch)
