"""Writing files so that a killed step leaves nothing half-written (write beside, fsync, rename), and reading them."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from robust_distillation.errors import InputError, describe

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
AGAIN = "run `dvc repro` to make it"

Record = TypeVar("Record")
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)  # of the dataclasses that JSON files are read as


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place, on failure it is removed.

    Works for a file and for a folder, whichever the caller creates at the yielded path.

    Raises:
        InputError: the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            temporary = Path(folder) / path.name
            yield temporary
            for file in [temporary, *temporary.rglob("*")]:
                if file.is_file():
                    with file.open("rb") as handle:
                        os.fsync(handle.fileno())
            if path.is_dir():
                shutil.rmtree(path)
            temporary.replace(path)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise InputError(f"{path}: not written ({os.strerror(error.errno)}); free some space and run again") from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline; NaN and infinities are refused."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_bytes(path: Path, *, absent: str = AGAIN) -> bytes:
    """Read a file whole.

    Args:
        path: the file.
        absent: what to do where there is none, for the error.

    Raises:
        InputError: the file is missing, or is a folder.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: not found; {absent}") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder where a file is expected; move it away, then {absent}") from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON (line {error.lineno}: {error.msg}); {AGAIN} again") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not JSON (not text); {AGAIN} again") from None


def read_record(path: Path, kind: type[Record], *, absent: str = AGAIN) -> Record:
    """Read a JSON file as a pydantic dataclass whose configuration is `STRICT`.

    Args:
        path: the file.
        kind: the dataclass.
        absent: what to do where there is no file, for the error.

    Raises:
        InputError: the file is missing or is not JSON, or lacks a field, has one too many or of another type.
    """
    try:
        return TypeAdapter(kind).validate_json(read_bytes(path, absent=absent), strict=True)
    except ValidationError as error:
        raise InputError(f"{describe(path, error)}; {AGAIN} again") from None
