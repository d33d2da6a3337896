"""Image sets as pickles that can be read without trusting them: arrays and plain containers, nothing else."""

import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from robust_distillation.errors import InputError
from robust_distillation.files import replacing

PROTOCOL = 4
READABLE_KINDS = "biufcU"
CORRUPT = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class ImageSet:
    """Images with what is known of each; row i of every array is the same image.

    Attributes:
        features: uint8, (N, H, W, C), 0 to 255.
        labels: int64, (N,).
        ids: text, (N,): one stable id per raw image, the same in every set that holds the image.
        tracks: int64, (N,): the physical sign that the frame shows; -1 where the source has none.
        sizes: int64, (N, 2): width and height of the raw image in pixels.
        coords: int64, (N, 4): the sign's box x1, y1, x2, y2 in the raw image in pixels.

    Example:
        >>> images = rd.ImageSet(
        ...     features=np.full((3, 8, 8, 1), 255, np.uint8),
        ...     labels=np.array([0, 1, 1]),
        ...     ids=np.array(["a", "b", "c"]),
        ...     tracks=np.array([0, 1, 1]),
        ...     sizes=np.full((3, 2), 30),
        ...     coords=np.tile([5, 5, 25, 25], (3, 1)),
        ... )
        >>> images.take(images.labels == 1).ids.tolist()
        ['b', 'c']
        >>> float(images.images.max())
        1.0
    """

    features: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    ids: npt.NDArray[np.str_]
    tracks: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    coords: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.labels)
        expected = {"labels": (), "ids": (), "tracks": (), "sizes": (2,), "coords": (4,)}
        if self.features.ndim != 4 or len(self.features) != count or self.features.dtype != np.uint8:
            raise ValueError(
                f"features must be uint8 of shape ({count}, H, W, C). "
                f"Received: {self.features.dtype} {self.features.shape}"
            )
        for name, row in expected.items():
            array = getattr(self, name)
            if array.shape != (count, *row) or array.dtype.kind not in ("U" if name == "ids" else "iu"):
                kind = "text" if name == "ids" else "whole numbers"
                raise ValueError(
                    f"{name} must be {kind} of shape {(count, *row)}. Received: {array.dtype} {array.shape}"
                )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> npt.NDArray[np.float32]:
        """The features as float32 in [0, 1]."""
        return self.features.astype(np.float32) / 255

    def take(self, indices: npt.ArrayLike) -> "ImageSet":
        """Rows `indices` (whole numbers, or a boolean mask of length N), in that order."""
        rows = np.asarray(indices)
        rows = rows if rows.size else rows.astype(np.int64)
        return ImageSet(**{name: array[rows] for name, array in vars(self).items()})

    def save(self, path: str | Path) -> None:
        """Write the set as a pickle of one dict, one key per attribute; the same set gives the same bytes."""
        save_pickle(Path(path), vars(self))

    @classmethod
    def load(cls, path: str | Path) -> "ImageSet":
        """Read a set that `save` wrote, or a pickle of `features` and `labels` [, `sizes`, `coords`].

        Where the file has none, ids are made from its name and the row, tracks are -1, sizes are those of the stored
        images, and coords span the whole image.

        Raises:
            InputError: the file is missing, corrupt, holds anything but arrays and plain containers, lacks features or
                labels, or has arrays whose type or shape does not fit.
        """
        path = Path(path)
        values = load_pickle(path)
        for name in ("features", "labels"):
            if not isinstance(values.get(name), np.ndarray):
                raise InputError(f"{path}: no array {name!r} among its keys {sorted(map(str, values))}")
        features, labels = values["features"], values["labels"]
        count = len(labels) if labels.ndim else 0
        height, width = features.shape[1:3] if features.ndim == 4 else (0, 0)
        defaults = {
            "features": features,
            "labels": labels,
            "ids": np.array([f"{path.stem}/{row:05}" for row in range(count)], dtype=np.str_),
            "tracks": np.full(count, -1),
            "sizes": np.tile([width, height], (count, 1)),
        }
        try:
            arrays = {name: np.asarray(values.get(name, default)) for name, default in defaults.items()}
            sizes = arrays["sizes"]
            arrays["coords"] = np.asarray(values.get("coords", np.hstack([np.zeros_like(sizes), sizes])))
            read = cls(**arrays)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None
        whole = {name: getattr(read, name).astype(np.int64) for name in ("labels", "tracks", "sizes", "coords")}
        return cls(features=read.features, ids=read.ids, **whole)


def save_pickle(path: Path, value: dict[str, Any]) -> None:
    """Write a dict of arrays and plain containers; equal values give equal bytes.

    Args:
        path: where to; replaced in one step.
        value: arrays are written C-contiguous.
    """
    with replacing(path) as temporary, temporary.open("wb") as handle:
        pickler = pickle.Pickler(handle, protocol=PROTOCOL)
        # Without the memo the bytes depend on the values alone, not on which equal objects happen to be one object.
        pickler.fast = True
        pickler.dump(
            {key: np.ascontiguousarray(item) if isinstance(item, np.ndarray) else item for key, item in value.items()}
        )


def load_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dict without running anything that the file names.

    Arrays of numbers and of text, numpy scalars and plain containers are read, whichever numpy (1 or 2) or Python (2 or
    3) wrote them.

    Raises:
        InputError: the file is missing, truncated or corrupt, is not a dict, or asks for anything else.
    """
    try:
        with path.open("rb") as handle:
            _refuse_large_memo(handle, path.stat().st_size)
            value = _settle(_Reader(handle, encoding="latin1").load())
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run `dvc repro` to make it") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder where a pickle is expected; move it away") from None
    except _RefusedError as refused:
        raise InputError(
            f"{path}: refused, for it asks for {refused}; only arrays and plain containers are read"
        ) from None
    except CORRUPT as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: truncated, corrupt or not a pickle ({reason}); make or copy it again") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds a {type(value).__name__} where a dict is expected")
    return value


def _refuse_large_memo(handle: BinaryIO, n_bytes: int) -> None:
    """Refuse a memo index that no file of this length needs: the unpickler would allocate up to it."""
    for opcode, argument, _ in pickletools.genops(handle):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > n_bytes:
            raise pickle.UnpicklingError(f"memo index {argument} in {n_bytes} bytes")
    handle.seek(0)


class _RefusedError(Exception):
    """What the file asked for and does not get."""


class _Dtype:
    """Stands for a dtype while a file is read, for numpy's own would let the file set its internals."""

    __slots__ = ("order", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])

    def resolve(self) -> np.dtype[Any]:
        dtype = np.dtype(self.text).newbyteorder(self.order)  # type: ignore[arg-type]
        if dtype.kind not in READABLE_KINDS:
            raise _RefusedError(f"an array of dtype {dtype}")
        return dtype


class _Array:
    """Stands for an array until the file has given its state."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: npt.NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: _Dtype, shape: tuple[int, ...], order: str) -> npt.NDArray[Any]:
    kind = dtype.resolve()
    if isinstance(data, list):
        raise _RefusedError("an array of objects")
    raw = data.encode("latin1") if isinstance(data, str) else data
    array = np.frombuffer(raw, kind) if len(raw) else np.empty(0, kind)
    return array.reshape(shape, order="F" if order == "F" else "C").astype(kind.newbyteorder("="))


class _Reader(pickle.Unpickler):
    """Gives the names that a numpy pickle needs as methods of its own; a method has no attribute a file could set."""

    def find_class(self, module: str, name: str) -> Any:
        allowed: dict[str, Callable[..., Any] | None] = {
            "numpy.dtype": self.dtype,
            "numpy.ndarray": None,
            "numpy.core.multiarray._reconstruct": self.array,
            "numpy.core.multiarray.scalar": self.scalar,
            "numpy.core.numeric._frombuffer": self.frombuffer,
            "_codecs.encode": self.encode,
            "__builtin__.bytes": bytes,
        }
        wanted = f"{module}.{name}"
        try:
            return allowed[wanted.replace("numpy._core.", "numpy.core.", 1)]
        except KeyError:
            raise _RefusedError(wanted) from None

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError(f"an object kept elsewhere ({pid!r:.40})")

    def dtype(self, text: str, *_: Any) -> _Dtype:
        return _Dtype(text)

    def array(self, *_: Any) -> _Array:
        return _Array()

    def scalar(self, dtype: _Dtype, data: Any) -> Any:
        return _array(data, dtype, (1,), "C")[0]

    def frombuffer(self, data: Any, dtype: _Dtype, shape: tuple[int, ...], order: str) -> npt.NDArray[Any]:
        return _array(data, dtype, shape, order)

    def encode(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise _RefusedError(f"_codecs.encode to {encoding!r:.40}")
        return text.encode("latin1")


def _settle(value: Any) -> Any:
    """Put the arrays in the place of what stood for them."""
    match value:
        case _Array():
            if value.value is None:
                raise ValueError("an array without content")
            return value.value
        case dict():
            return {_settle(key): _settle(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return type(value)(map(_settle, value))
        case None | bool() | int() | float() | complex() | str() | bytes() | bytearray() | np.ndarray() | np.generic():
            return value
        case _:
            raise _RefusedError(f"a {type(value).__name__}")
