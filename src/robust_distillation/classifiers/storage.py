"""Keras files: read in safe mode, and written so that equal models give equal bytes."""

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras

from robust_distillation.errors import InputError
from robust_distillation.files import replacing

EPOCH = (1980, 1, 1, 0, 0, 0)


def load_model(path: Path) -> keras.Model:
    """Read a .keras file in safe mode, which runs no code from it.

    Raises:
        InputError: the file is missing or is no model.
    """
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable Keras model ({reason}); run `dvc repro` to make it") from None


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
