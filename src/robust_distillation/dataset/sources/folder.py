"""A folder of class folders, with or without folders of the sets above them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from robust_distillation.dataset.readers import tables
from robust_distillation.dataset.readers.tables import Split
from robust_distillation.dataset.sources.files import Found, split_named, take_files
from robust_distillation.dataset.sources.source import Source, find_folder
from robust_distillation.errors import InputError

if TYPE_CHECKING:
    from robust_distillation.dataset.settings import Data

HOLDING = ("a folder of images for each class",)


def fetch(folder: Path, data: "Data") -> None:
    """Take the images out of the folder that data.path names."""
    source = find_folder(data, HOLDING)
    take_files(list(_find(source)), source, data.group, folder)


def _find(source: Path) -> Iterator[Found]:
    """Find the images by set and class; files beside the folders, and hidden ones, are left alone."""
    above = {path: split_named(path.name) for path in _folders(source)}
    if not above:
        raise InputError(f"{source}: holds no folder; put the images of each class into a folder of its own")
    if "train" not in above.values():
        yield from _find_classes(source, source, "train")
        return
    for path, split in above.items():
        if split is None:
            raise InputError(f"{path}: beside a folder for training, only validate and test are read; move it away")
        yield from _find_classes(source, path, split)


def _find_classes(source: Path, above: Path, split: Split) -> Iterator[Found]:
    for path in _folders(above):
        files = sorted(file for file in path.rglob("*") if file.is_file() and not _hidden(file.relative_to(above)))
        if not files:
            raise InputError(f"{path}: an empty class folder; put images there, or remove it")
        for file in files:
            yield Found(file.relative_to(source).as_posix(), split, path.name, where=str(file))


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not _hidden(Path(one.name)))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


SOURCE = Source(check=partial(find_folder, holding=HOLDING), fetch=fetch, reader=tables, names=tables.read_names)
