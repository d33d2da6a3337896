"""Shards of a long evaluation, kept on disk until it is done, so that an interrupted one goes on where it was."""

import shutil
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import quote, unquote

import numpy as np

from robust_distillation.files import replacing

Found = TypeVar("Found")


class Shards(MutableMapping[str, Found], Generic[Found]):
    """What was found by name, one .npz file each.

    Args:
        folder: where they lie; name it after everything that they depend on.
        kind: a dataclass whose fields are arrays.
    """

    def __init__(self, folder: Path, kind: type[Found]) -> None:
        self.folder, self.kind = folder, kind

    def _path(self, name: str) -> Path:
        return self.folder / f"{quote(name, safe='')}.npz"

    def __contains__(self, name: object) -> bool:
        return self._path(str(name)).exists()

    def __getitem__(self, name: str) -> Found:
        if name not in self:
            raise KeyError(name)
        with np.load(self._path(name), allow_pickle=False) as arrays:
            return self.kind(**arrays)

    def __setitem__(self, name: str, found: Found) -> None:
        with replacing(self._path(name)) as temporary, temporary.open("wb") as handle:
            np.savez(handle, **vars(found))

    def __delitem__(self, name: str) -> None:
        self._path(name).unlink()

    def __iter__(self) -> Iterator[str]:
        return (unquote(file.stem) for file in self.folder.glob("*.npz"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def clear(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
