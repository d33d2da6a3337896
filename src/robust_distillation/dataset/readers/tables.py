"""Image files of any format beside a table of them, as sources of loose files leave them in data/raw."""

import csv
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, fields
from pathlib import Path, PurePosixPath
from typing import Literal

from PIL import Image, ImageOps
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from robust_distillation.dataset.readers.reader import Record
from robust_distillation.errors import InputError
from robust_distillation.errors import describe as in_words
from robust_distillation.files import STRICT, read_bytes, read_json, write_json

TABLE, NAMES = "images.csv", "classes.json"
AGAIN = "run `dvc repro` to make it again"
GREY, COLOURED = ("1", "L", "LA"), ("P", "RGB", "RGBA", "PA", "CMYK", "YCbCr")
CORRUPT = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)

Split = Literal["train", "validate", "test"]


@dataclass(frozen=True, config=STRICT)
class Row:
    """One image of the table.

    Attributes:
        file: path below the folder of the table, with slashes.
        split: the set that the source has put it into; `train` where it does not say.
        label: class id.
        group: number of what no split may part; -1 where that is not known.
        width: in pixels, as people see it.
        height: in pixels.
        x1: left side of the box of what the image shows.
        y1: its upper side.
        x2: its right side, exclusive.
        y2: its lower side, exclusive.
        crc: CRC-32 of the file.
        n_bytes: its length.
    """

    file: str
    split: Split
    label: int
    group: int
    width: int
    height: int
    x1: int
    y1: int
    x2: int
    y2: int
    crc: int
    n_bytes: int


def describe(path: Path, file: str, *, split: Split, label: int, group: int, box: tuple[int, ...] | None) -> Row:
    """Read an image to its end and return its row.

    Args:
        path: of the image.
        file: what the row will call it.
        split: see `Row`.
        label: see `Row`.
        group: see `Row`.
        box: of what it shows, x1, y1, x2, y2 in pixels; None for the whole image.

    Raises:
        InputError: it is missing, no image, corrupt, or of a mode that is not read, or the box is empty or outside it.
    """
    content = read_bytes(path, absent="correct its name, or put it there")
    width, height = _open(content, str(path)).size
    x1, y1, x2, y2 = box or (0, 0, width, height)
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise InputError(f"{path}: box {x1},{y1},{x2},{y2} is empty or outside the {width}x{height} image; correct it")
    return Row(file, split, label, group, width, height, x1, y1, x2, y2, zlib.crc32(content), len(content))


def write_table(folder: Path, rows: Iterable[Row], names: Mapping[int, str]) -> None:
    """Write the table of images in a folder, and the names of their classes."""
    with (folder / TABLE).open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(map(astuple, rows))
    write_names(folder, names)


def write_names(folder: Path, names: Mapping[int, str]) -> None:
    """Write what people call the classes of the images in a folder, by class id."""
    write_json(folder / NAMES, {str(class_id): name for class_id, name in names.items()})


def read_names(folder: Path) -> dict[int, str]:
    """Return what people call the classes of the images in a folder, by class id.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    return {int(class_id): name for class_id, name in read_json(folder / NAMES).items()}


def list_training(folder: Path) -> list[Record]:
    """The images of the set `train`, and those of no set yet.

    Raises:
        InputError: the table is missing, or is not such a table.
    """
    return _list(folder, "train")


def list_validation(folder: Path) -> list[Record]:
    """The images of the set `validate`.

    Raises:
        InputError: the table is missing, or is not such a table.
    """
    return _list(folder, "validate")


def list_test(folder: Path) -> list[Record]:
    """The images of the set `test`.

    Raises:
        InputError: the table is missing, or is not such a table.
    """
    return _list(folder, "test")


def _list(folder: Path, split: Split) -> list[Record]:
    text = read_bytes(folder / TABLE).decode(errors="replace")
    parse, records = TypeAdapter(Row), []
    for number, cells in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        try:
            row = parse.validate_python(cells)
        except ValidationError as error:
            raise InputError(f"{in_words(folder / TABLE, error)} in row {number}; {AGAIN}") from None
        if PurePosixPath(row.file).is_absolute() or ".." in PurePosixPath(row.file).parts:
            raise InputError(f"{folder / TABLE}: row {number}: {row.file} lies outside the folder; {AGAIN}")
        if row.split == split:
            records.append(_record(folder, row))
    return records


def _record(folder: Path, row: Row) -> Record:
    return Record(
        id=row.file,
        archive=folder,
        member=row.file,
        crc=row.crc,
        n_bytes=row.n_bytes,
        label=row.label,
        track=row.group,
        size=(row.width, row.height),
        coords=(row.x1, row.y1, row.x2, row.y2),
    )


def read_files(records: Iterable[Record]) -> Iterator[bytes]:
    """The image files of records, in the records' order.

    Raises:
        InputError: a file is missing.
    """
    for record in records:
        yield read_bytes(record.archive / record.member)


def decode(file: bytes, record: Record) -> Image.Image:
    """The image of one file as people see it: turned as its EXIF data say, its transparent parts white.

    Raises:
        InputError: the file is no image, or not the one that was listed.
    """
    where = f"{record.archive}: {record.member}"
    image = _open(file, where)
    if image.size != record.size:
        raise InputError(f"{where} is {image.size} pixels, but {record.size} in {TABLE}; {AGAIN}")
    return image


def _open(content: bytes, where: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content))
        mode = "L" if image.mode in GREY else "RGB"
        if image.mode not in (*GREY, *COLOURED):
            raise InputError(f"{where} has pixels of mode {image.mode}; convert it to 8 bits, grey or colour")
        ImageOps.exif_transpose(image, in_place=True)
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, image.convert("RGBA")).convert(mode)
        return image.convert(mode)
    except CORRUPT as error:
        raise InputError(f"{where} is no image or a corrupt one ({' '.join(str(error).split())}); mend it") from None
