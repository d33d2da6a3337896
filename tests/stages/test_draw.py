from pathlib import Path
from types import SimpleNamespace

import pytest

from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.files import write_json
from robust_distillation.paths import CLASSES, FURTHER
from robust_distillation.stages import draw


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Run the stage, and return what it drew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(draw, "report_metrics", lambda *_: None)
    write_json(CLASSES, {"ids": [3, 14], "names": ["one", "other"], "mirror": [-1, -1]})

    def run(tracks: int) -> ImageSet:
        draw.main(
            SimpleNamespace(
                dataset=SimpleNamespace(image_size=24, colour="grey", crop_to_roi=True),
                draw=SimpleNamespace(tracks_per_class=tracks, frames_per_track=2, seed=4),
            )
        )
        return ImageSet.load(Path(FURTHER))

    return run


def test_signs_are_drawn_like_the_others(drawn):
    further = drawn(tracks=3)
    assert further.features.shape == (12, 24, 24, 1)
    assert further.labels.tolist() == [0] * 6 + [1] * 6


def test_none_are_drawn_where_none_are_asked(drawn):
    assert drawn(tracks=0).features.shape == (0, 24, 24, 1)
