"""Udacity-style pickles of traffic signs, from a user's folder."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from robust_distillation.dataset.readers import pickled
from robust_distillation.dataset.readers.pickled import PICKLES, VALIDATE, VALIDATES
from robust_distillation.dataset.signs import name_signs
from robust_distillation.dataset.sources.source import Source, find_folder, take
from robust_distillation.dataset.synthetic.mirroring import mirrored_signs
from robust_distillation.errors import InputError

if TYPE_CHECKING:
    from robust_distillation.dataset.settings import Data


def fetch(folder: Path, data: "Data") -> None:
    """Take the pickles out of the folder that data.path names."""
    source = find_folder(data, PICKLES)
    take(find_pickles(source), source, pickled, folder)


def find_pickles(folder: Path) -> dict[str, Path]:
    """The pickles in `folder` by the names of PICKLES; `validate.p` passes for `valid.p`.

    Raises:
        InputError: one is missing.
    """
    found = {}
    for name in PICKLES:
        names = VALIDATES if name == VALIDATE else (name,)
        paths = [folder / one for one in names if (folder / one).is_file()]
        if not paths:
            raise InputError(f"{folder}: holds no {' or '.join(names)}; put the pickle there")
        found[name] = paths[0]
    return found


SOURCE = Source(
    check=partial(find_folder, holding=PICKLES),
    fetch=fetch,
    reader=pickled,
    names=name_signs,
    mirrored=mirrored_signs,
    signs=True,
    warning="warning: the pickles name no tracks, so frames of one physical sign may be in several sets",
)
