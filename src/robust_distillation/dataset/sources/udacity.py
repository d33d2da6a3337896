"""Udacity-style pickles of traffic signs, from a user's folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from robust_distillation.dataset import udacity
from robust_distillation.dataset.signs import sign_name
from robust_distillation.dataset.sources.source import Source, find_folder, take
from robust_distillation.dataset.splitting import split_untracked
from robust_distillation.dataset.synthetic.mirroring import mirrored_signs

if TYPE_CHECKING:
    from robust_distillation.dataset.settings import Classes, Data


def check(data: "Data") -> None:
    """Refuse a folder that is none."""
    find_folder(data, udacity.PICKLES)


def fetch(folder: Path, data: "Data", _: "Classes") -> None:
    """Take the pickles out of the folder that data.archives names."""
    source = find_folder(data, udacity.PICKLES)
    take(udacity.find_pickles(source), source, udacity, folder)


SOURCE = Source(
    check=check,
    fetch=fetch,
    reader=udacity,
    name=sign_name,
    split=split_untracked,
    mirrored=mirrored_signs,
    signs=True,
    warning="warning: the pickles name no tracks, so frames of one physical sign may be in several sets",
)
