"""Keras files: read in safe mode, and written so that equal models give equal bytes."""

import io
import json
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras

from robust_distillation.errors import InputError
from robust_distillation.files import AGAIN, read_bytes, replacing

# What Keras, h5py and zipfile raise on a file whose parts are missing, damaged or not those of a model.
UNREADABLE = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
EPOCH = (1980, 1, 1, 0, 0, 0)


def load_model(path: Path) -> keras.Model:
    """Read a .keras file in safe mode, which runs no code from it.

    Raises:
        InputError: the file is missing, is no Keras file, or is corrupt.
    """
    content = read_bytes(path)
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise InputError(f"{path}: not a Keras file; {AGAIN} again")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a readable Keras model ({reason:.200}); {AGAIN} again") from None


def load_autoencoder(path: Path, shape: tuple[int, ...]) -> keras.Model:
    """Read an autoencoder as `load_model` does.

    Args:
        path: the .keras file.
        shape: (H, W, C) of the images.

    Raises:
        InputError: as `load_model`, or the model does not map such images to such images.
    """
    model = load_model(path)
    taken, returned = model.input_shape[1:], model.output_shape[1:]
    if not taken == returned == shape:
        raise InputError(f"{path}: no autoencoder of {shape} images, for it makes {returned} of {taken}; {AGAIN} again")
    return model


def save_model(model: keras.Model, path: Path) -> None:
    """Write a .keras file without what Keras adds of the moment: the date, and addresses in memory as object ids."""
    with tempfile.TemporaryDirectory() as folder, replacing(path) as temporary:
        raw = Path(folder) / path.name
        model.save(raw)
        with zipfile.ZipFile(raw) as source, zipfile.ZipFile(temporary, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                if name.endswith(".json"):
                    content = json.dumps(_timeless(json.loads(content), {})).encode()
                target.writestr(zipfile.ZipInfo(name, EPOCH), content)


def _timeless(value: Any, numbers: dict[int, int]) -> Any:
    """Number shared objects by their first appearance and leave the date out."""
    if isinstance(value, list):
        return [_timeless(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: numbers.setdefault(item, len(numbers)) if key == "shared_object_id" else _timeless(item, numbers)
        for key, item in value.items()
        if key != "date_saved"
    }
