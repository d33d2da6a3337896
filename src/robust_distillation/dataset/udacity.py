"""Udacity-style pickles as a source: `features`, `labels` and often `sizes` and `coords`, one pickle for each set.

Their images are resized already, while `coords` is in pixels of the original, whose width and height `sizes` gives.
They name no tracks. A row is read as an image file, so what is done with the archives' images is done with these too.
"""

import io
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from robust_distillation.dataset.archives import Record
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.errors import InputError

TRAIN, VALIDATE, TEST = PICKLES = ("train.p", "valid.p", "test.p")
OTHER_NAMES = {VALIDATE: "validate.p"}
NO_TRACK = -1
AGAIN = "make or copy the pickle again"


def find_pickles(folder: Path) -> dict[str, Path]:
    """The pickles in `folder` by the names of PICKLES; `validate.p` passes for `valid.p`.

    Raises:
        InputError: one is missing.
    """
    found = {}
    for name in PICKLES:
        names = [name, OTHER_NAMES[name]] if name in OTHER_NAMES else [name]
        paths = [folder / one for one in names if (folder / one).is_file()]
        if not paths:
            raise InputError(f"{folder}: holds no {' or '.join(names)}; put the pickle there")
        found[name] = paths[0]
    return found


def load_pickled(path: Path) -> ImageSet:
    """Read a pickle, and check what an image set leaves open.

    Raises:
        InputError: the file is missing, corrupt or refused, or its images are not of three channels, a label is
            negative, or a box is empty or outside the original image; the message names the row.
    """
    images = ImageSet.load(path)
    if images.features.shape[3] != 3:
        raise InputError(f"{path}: features must have 3 channels. Received: shape {images.features.shape}; {AGAIN}")
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
            track=NO_TRACK,
            size=tuple(images.sizes[row].tolist()),
            coords=tuple(images.coords[row].tolist()),
        )
        for row, file in enumerate(files)
    ]


def list_training(folder: Path) -> list[Record]:
    """The rows of `valid.p`, then those of `train.p`.

    Raises:
        InputError: a pickle is missing, or as `load_pickled`.
    """
    found = find_pickles(folder)
    return [*list_rows(found[VALIDATE]), *list_rows(found[TRAIN])]


def list_test(folder: Path) -> list[Record]:
    """The rows of `test.p`.

    Raises:
        InputError: a pickle is missing, or as `load_pickled`.
    """
    return list_rows(find_pickles(folder)[TEST])


def read_files(records: Iterable[Record]) -> Iterator[bytes]:
    """The rows of records as PPM files, in the records' order.

    Raises:
        InputError: a pickle is missing, corrupt or refused.
    """
    features: dict[Path, npt.NDArray[np.uint8]] = {}
    for record in records:
        if record.archive not in features:
            features[record.archive] = ImageSet.load(record.archive).features
        yield _as_file(features[record.archive][int(record.member)])


def decode(file: bytes, _record: Record) -> Image.Image:
    """The image of one file as RGB."""
    return Image.open(io.BytesIO(file), formats=["PPM"])


def _as_file(pixels: npt.NDArray[np.uint8]) -> bytes:
    height, width, _ = pixels.shape
    return b"P6 %d %d 255\n" % (width, height) + pixels.tobytes()
