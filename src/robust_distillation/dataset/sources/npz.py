"""Arrays in one .npz file, by the names that Keras' and MedMNIST's files have."""

import zipfile
import zlib
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.dataset.readers import pickled, tables
from robust_distillation.dataset.sources.arrays import Arrays, save_arrays
from robust_distillation.dataset.sources.files import SPLITS
from robust_distillation.dataset.sources.source import Source
from robust_distillation.errors import InputError

if TYPE_CHECKING:
    from robust_distillation.dataset.readers.tables import Split
    from robust_distillation.dataset.settings import Data

PATTERNS = (("x_{}", "y_{}", "groups_{}"), ("{}_images", "{}_labels", "{}_groups"))
ALONE = (("images", "features", "x"), ("labels", "y"), ("groups",))  # names of one set's arrays, yet to be split
CLASSES = "names"
MAX_BYTES = 8 * 2**30  # of one array
EXPECTED = "x_train and y_train, or train_images and train_labels, or images and labels"


def check(data: "Data") -> None:
    """Refuse a path that is no file."""
    if not data.path.is_file():
        raise InputError(f"params.yaml: data.path: {data.path} is no file; name an .npz of {EXPECTED}")


def fetch(folder: Path, data: "Data") -> None:
    """Take the arrays out of the file that data.path names."""
    check(data)
    arrays = load_arrays(data.path)
    names = arrays.pop(CLASSES, np.empty(0))
    sets = _find_sets(arrays)
    if "train" not in sets:
        raise InputError(f"{data.path}: has {', '.join(sorted(arrays)) or 'no array'} where {EXPECTED} are expected")
    save_arrays(folder, sets, {number: str(name) for number, name in enumerate(names)}, str(data.path))


def load_arrays(path: Path) -> dict[str, Array]:
    """Read the arrays of an .npz file without running anything that it holds.

    Raises:
        InputError: it is no .npz, is corrupt, or holds objects or an array of more than 8 GiB.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
        if large := [name for name, size in sizes.items() if size > MAX_BYTES]:
            raise InputError(f"{path}: {large[0]:.80} has {sizes[large[0]]} bytes, more than {MAX_BYTES}; split it")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, MemoryError) as error:
        raise InputError(f"{path}: no .npz of plain arrays ({' '.join(str(error).split())}); make it again") from None


def _find_sets(arrays: dict[str, Array]) -> "dict[Split, Arrays]":
    sets: dict[Split, Arrays] = {}
    for split, words in SPLITS.items():
        for word, patterns in product(words, PATTERNS):
            images, labels, groups = (pattern.format(word) for pattern in patterns)
            if images in arrays and labels in arrays:
                sets[split] = Arrays(arrays[images], arrays[labels], arrays.get(groups))
    alone = [next((arrays[name] for name in names if name in arrays), None) for names in ALONE]
    if not sets and alone[0] is not None and alone[1] is not None:
        sets["train"] = Arrays(alone[0], alone[1], alone[2])
    return sets


SOURCE = Source(check=check, fetch=fetch, reader=pickled, names=tables.read_names)
