"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): its four IDX files, downloaded or from a user's folder."""

import gzip
import io
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.dataset.readers import pickled, tables
from robust_distillation.dataset.sources.arrays import Arrays, save_arrays
from robust_distillation.dataset.sources.source import Source, download_or_find, find_folder
from robust_distillation.errors import InputError
from robust_distillation.files import read_bytes

if TYPE_CHECKING:
    from robust_distillation.dataset.readers.tables import Split
    from robust_distillation.dataset.settings import Data

URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"
MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
PREFIXES: "dict[Split, str]" = {"train": "train", "test": "t10k"}
NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
MAX_BYTES = 2**30  # of one file, unpacked
AGAIN = "fetch the file again"


def fetch(folder: Path, data: "Data") -> None:
    """Take the files out of the folder that data.path names, packed or not, or download them."""
    source = download_or_find(data, URL, MD5)
    sets = {
        split: Arrays(*(read_idx(_find(source, f"{prefix}-{what}-ubyte")) for what in ("images-idx3", "labels-idx1")))
        for split, prefix in PREFIXES.items()
    }
    save_arrays(folder, sets, dict(enumerate(NAMES)), str(source))


def read_idx(path: Path) -> Array:
    """Read an array of bytes in the IDX format of the MNIST files.

    Args:
        path: of the file; packed by gzip if it ends in `.gz`.

    Returns:
        uint8, of the shape that the file states.

    Raises:
        InputError: the file is missing, is no whole gzip, has another magic number, or is shorter or longer than its
            shape says.
    """
    content = read_bytes(path, absent=AGAIN)
    if path.suffix == ".gz":
        content = _unpack(content, path)
    dimensions = content[3] if len(content) > 3 else 0
    if content[:3] != b"\0\0\x08" or not dimensions:
        raise InputError(f"{path}: begins with {content[:4].hex()}, not the 000008 of an IDX file of bytes; {AGAIN}")
    start = 4 + 4 * dimensions
    shape = tuple(np.frombuffer(content[4:start].ljust(4 * dimensions, b"\0"), ">u4").tolist())
    if (expected := start + int(np.prod(shape, dtype=object))) != len(content):
        raise InputError(f"{path}: has {len(content)} bytes, but its shape {shape} needs {expected}; {AGAIN}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _unpack(content: bytes, path: Path) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: truncated or no gzip ({error}); {AGAIN}") from None
    if len(unpacked) > MAX_BYTES:
        raise InputError(f"{path}: unpacks to more than {MAX_BYTES} bytes; {AGAIN}")
    return unpacked


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise InputError(f"{folder}: holds neither {name}.gz nor {name}; put the file there")


def mirrored() -> dict[int, int]:
    """Return the class of each class in a mirror: clothes stay what they are."""
    return {class_id: class_id for class_id in range(len(NAMES))}


SOURCE = Source(
    check=partial(find_folder, holding=MD5), fetch=fetch, reader=pickled, names=tables.read_names, mirrored=mirrored
)
