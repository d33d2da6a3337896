"""Tables of image files and their labels, among them Kaggle's copy of GTSRB."""

import csv
import io
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from robust_distillation.dataset.readers import tables
from robust_distillation.dataset.readers.tables import Split
from robust_distillation.dataset.sources.files import Found, split_named, take_files
from robust_distillation.dataset.sources.source import Source, find_folder
from robust_distillation.errors import InputError
from robust_distillation.files import read_bytes

if TYPE_CHECKING:
    from robust_distillation.dataset.settings import Columns, Data

HOLDING = ("one table, or train.csv with perhaps validate.csv and test.csv,", "and the images that they list")
DELIMITERS = ",;\t"


def fetch(folder: Path, data: "Data") -> None:
    """Take the images that tables list out of the folder that data.path names."""
    source = find_folder(data, HOLDING)
    found = [one for path, split in _tables(source).items() for one in _rows(path, source, split, data.csv)]
    if not any(one.split == "train" for one in found):
        raise InputError(f"{source}: the table of training images lists none; add rows")
    first: dict[str, str] = {}
    for one in found:
        if (twin := first.setdefault(one.file, one.where)) != one.where:
            raise InputError(f"{one.where}: {one.file} stands in {twin} too; list each image once")
    take_files(found, source, data.group, folder)


def _tables(source: Path) -> dict[Path, Split]:
    paths = sorted(path for path in source.iterdir() if path.suffix.lower() == ".csv" and path.is_file())
    named = {path: split for path in paths if (split := split_named(path.stem))}
    if "train" in named.values():
        return named
    if len(paths) != 1:
        there = ", ".join(path.name for path in paths) or "none"
        raise InputError(f"{source}: holds neither train.csv nor one table alone ({there}); name the tables so")
    return {paths[0]: "train"}


def _rows(path: Path, source: Path, split: Split, columns: "Columns") -> Iterator[Found]:
    text = read_bytes(path).decode("utf-8-sig", errors="replace")
    header = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=max(DELIMITERS, key=header.count))
    there = rows.fieldnames or ()
    asked = [columns.path, columns.label, *(columns.box or ()), *([columns.group] if columns.group else ())]
    if missing := [column for column in asked if column not in there]:
        raise InputError(f"{path}: no column {missing[0]} among {', '.join(there)}; name the columns under data.csv")
    for number, row in enumerate(rows, start=2):
        where = f"{path}: row {number}"
        if empty := [column for column in asked if not (row[column] or "").strip()]:
            raise InputError(f"{where}: {empty[0]} is empty; fill it in, or remove the row")
        file, label = row[columns.path].strip(), row[columns.label].strip()
        if re.fullmatch("-[0-9]+", label):
            raise InputError(f"{where}: label {label} is below 0; correct it")
        if not (source / file).is_file():
            raise InputError(f"{where}: no image {file} in {source}; put it there, or remove the row")
        yield Found(
            Path(file).as_posix(),
            split,
            label,
            where,
            group=row[columns.group] if columns.group else None,
            box=tuple(_whole(row[column], column, where) for column in columns.box) if columns.box else None,
        )


def _whole(text: str, column: str, where: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text.strip()):
        raise InputError(f"{where}: {column} must be a whole number. Received: {text!r:.40}; correct it")
    return int(text)


SOURCE = Source(check=partial(find_folder, holding=HOLDING), fetch=fetch, reader=tables, names=tables.read_names)
