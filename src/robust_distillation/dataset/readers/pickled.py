"""Pickles of arrays: `features`, `labels` and perhaps `tracks`, `sizes` and `coords`, one pickle for each set.

In Udacity's pickles of GTSRB the images are resized already, while `coords` is in pixels of the original, whose width
and height `sizes` gives. A row is read as an image file, so what is done with the archives' images is done with these
too.
"""

import io
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.readers.reader import Record
from robust_distillation.errors import InputError

TRAIN, VALIDATE, TEST = PICKLES = ("train.p", "valid.p", "test.p")
VALIDATES = (VALIDATE, "validate.p")
MODES = {1: "P5", 3: "P6"}  # kinds of PPM files by channels
AGAIN = "make or copy the pickle again"


def load_pickled(path: Path) -> ImageSet:
    """Read a pickle, and check what an image set leaves open.

    Raises:
        InputError: the file is missing, corrupt or refused, or its images have neither one channel nor three, a label
            is negative, or a box is empty or outside the original image; the message names the row.
    """
    images = ImageSet.load(path)
    if images.features.shape[3] not in MODES:
        raise InputError(f"{path}: features must have 1 or 3 channels. Received: {images.features.shape}; {AGAIN}")
    if (negative := np.flatnonzero(images.labels < 0)).size:
        row = negative[0]
        raise InputError(f"{path}: row {row}: labels must be at least 0. Received: {images.labels[row]}; {AGAIN}")
    start, end = images.coords[:, :2], images.coords[:, 2:]
    kept = (start >= 0) & (start < end) & (end <= images.sizes)
    if (wrong := np.flatnonzero(~kept.all(axis=1))).size:
        row = wrong[0]
        box, size = (",".join(map(str, values[row])) for values in (images.coords, images.sizes))
        raise InputError(f"{path}: row {row}: coords {box} are empty or outside the image of sizes {size}; {AGAIN}")
    return images


def list_rows(path: Path) -> list[Record]:
    """What a pickle holds, by row; a record's member is the row's number.

    Raises:
        InputError: as `load_pickled`.
    """
    images = load_pickled(path)
    files = [_as_file(pixels) for pixels in images.features]
    return [
        Record(
            id=str(images.ids[row]),
            archive=path,
            member=str(row),
            crc=zlib.crc32(file),
            n_bytes=len(file),
            label=int(images.labels[row]),
            track=int(images.tracks[row]),
            size=tuple(images.sizes[row].tolist()),
            coords=tuple(images.coords[row].tolist()),
        )
        for row, file in enumerate(files)
    ]


def list_training(folder: Path) -> list[Record]:
    """The rows of `train.p`.

    Raises:
        InputError: as `load_pickled`.
    """
    return list_rows(folder / TRAIN)


def list_validation(folder: Path) -> list[Record]:
    """The rows of `valid.p` (or `validate.p`), if there is one.

    Raises:
        InputError: as `load_pickled`.
    """
    return next((list_rows(folder / name) for name in VALIDATES if (folder / name).exists()), [])


def list_test(folder: Path) -> list[Record]:
    """The rows of `test.p`, if there is one.

    Raises:
        InputError: as `load_pickled`.
    """
    return list_rows(folder / TEST) if (folder / TEST).exists() else []


def read_files(records: Iterable[Record]) -> Iterator[bytes]:
    """The rows of records as PPM or PGM files, in the records' order.

    Raises:
        InputError: a pickle is missing, corrupt or refused.
    """
    features: dict[Path, npt.NDArray[np.uint8]] = {}
    for record in records:
        if record.archive not in features:
            features[record.archive] = ImageSet.load(record.archive).features
        yield _as_file(features[record.archive][int(record.member)])


def decode(file: bytes, _record: Record) -> Image.Image:
    """The image of one file."""
    return Image.open(io.BytesIO(file), formats=["PPM"])


def _as_file(pixels: npt.NDArray[np.uint8]) -> bytes:
    height, width, channels = pixels.shape
    return b"%s %d %d 255\n" % (MODES[channels].encode(), width, height) + pixels.tobytes()
