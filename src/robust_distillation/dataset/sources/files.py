"""What the sources of loose image files have in common."""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from robust_distillation.dataset.readers.tables import Split, describe, write_table
from robust_distillation.errors import InputError
from robust_distillation.progress import Bar

IMAGES = "images"  # folder beside the table
SPLITS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validate": ("validate", "validation", "valid", "val"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Found:
    """An image file of a user's, and what is known of it.

    Attributes:
        file: path below the user's folder, with slashes.
        split: the set that the user has put it into; `train` where there is no word of it.
        label: what the user calls its class.
        where: what names it in errors.
        group: what no split may part, in the user's words; None where that is not known.
        box: of what it shows, x1, y1, x2, y2 in pixels; None for the whole image.
    """

    file: str
    split: Split
    label: str
    where: str
    group: str | None = None
    box: tuple[int, ...] | None = None


def split_named(name: str) -> Split | None:
    """Return the set that a folder or file of this name holds, if any."""
    return next((split for split, names in SPLITS.items() if name.lower() in names), None)


def take_files(found: list[Found], source: Path, pattern: str | None, folder: Path) -> None:
    """Copy image files and write the table of them, once each was read to its end.

    Args:
        found: the files.
        source: the user's folder.
        pattern: regular expression whose first group, in the path of a file, names what no split may part; None where
            `Found.group` says it.
        folder: where to.

    Raises:
        InputError: a file is missing, is no image, leads out of the user's folder or fits the pattern not, a box is
            empty or outside its image, or there is one class alone.
    """
    ids = class_ids(sorted({one.label for one in found}))
    if len(ids) < 2:
        raise InputError(f"{source}: holds one class alone, {next(iter(ids))}; a classifier needs two")
    groups: dict[str | None, int] = {None: -1}
    root, rows = source.resolve(), []
    for one in Bar(found, desc="copying", unit="image"):
        path = source / one.file
        if not path.resolve().is_relative_to(root):
            raise InputError(f"{one.where}: {one.file} leads out of the folder {source}; put the image itself there")
        group = one.group if pattern is None else _group(one, pattern)
        row = describe(
            path,
            f"{IMAGES}/{one.file}",
            split=one.split,
            label=ids[one.label],
            group=groups.setdefault(group, len(groups) - 1),
            box=one.box,
        )
        (folder / row.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / row.file)
        rows.append(row)
    write_table(folder, rows, {number: name for name, number in ids.items()})


def class_ids(names: Iterable[str]) -> dict[str, int]:
    """Return the id of each class: its name where all names are whole numbers, else its place in their order.

    Raises:
        InputError: two names are one number.
    """
    names = list(names)
    if not all(re.fullmatch("[0-9]{1,9}", name) for name in names):
        return {name: number for number, name in enumerate(names)}
    ids = {name: int(name) for name in names}
    if len(set(ids.values())) < len(ids):
        raise InputError(f"classes {', '.join(names)}: two are one number; rename one")
    return dict(sorted(ids.items(), key=lambda item: item[1]))


def _group(one: Found, pattern: str) -> str:
    match = re.search(pattern, one.file)
    if match is None:
        raise InputError(f"{one.where}: {one.file} does not fit data.group {pattern!r}; correct the expression")
    return match[1]
