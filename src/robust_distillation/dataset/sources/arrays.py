"""What the sources of whole arrays have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.readers.pickled import PICKLES
from robust_distillation.dataset.readers.reader import NO_TRACK
from robust_distillation.dataset.readers.tables import Split, write_names
from robust_distillation.errors import InputError

PICKLE: dict[Split, str] = dict(zip(("train", "validate", "test"), PICKLES, strict=True))


@dataclass(frozen=True)
class Arrays:
    """Images as a source has them.

    Attributes:
        images: (N, H, W) or (N, H, W, C) with one channel or three; uint8, or floats in [0, 1].
        labels: integers (N,) or (N, 1).
        groups: of each image (N,), what no split may part; None where that is not known.
    """

    images: Array
    labels: Array
    groups: Array | None = None


def save_arrays(folder: Path, sets: Mapping[Split, Arrays], names: Mapping[int, str], where: str) -> None:
    """Write sets as pickles, once they were checked, and the names of their classes.

    Args:
        folder: where to.
        sets: `train`, and those that the source has besides.
        names: of the classes by id; empty to call them by their ids.
        where: what names the source in errors.

    Raises:
        InputError: an array is of a wrong shape or type, sets differ in size or channels, a label is out of range, or
            there is one class alone.
    """
    pixels = {split: _features(one.images, f"{where}: {split}") for split, one in sets.items()}
    labels = {split: _labels(one, names, f"{where}: {split}") for split, one in sets.items()}
    shapes = {split: array.shape[1:] for split, array in pixels.items()}
    if different := [split for split, shape in shapes.items() if shape != shapes["train"]]:
        split = different[0]
        raise InputError(f"{where}: {split} has images of {shapes[split]}, train of {shapes['train']}; make them equal")
    present = np.unique(labels["train"]).tolist()
    if len(present) < 2:
        raise InputError(
            f"{where}: train holds one class alone, {', '.join(map(str, present))}; a classifier needs two"
        )
    groups: dict[Any, int] = {}
    for split, features in pixels.items():
        count, height, width, _ = features.shape
        whole = np.tile([width, height], (count, 1))
        ImageSet(
            features=features,
            labels=labels[split],
            ids=np.array([f"{Path(PICKLE[split]).stem}/{row:05}" for row in range(count)], dtype=np.str_),
            tracks=_tracks(sets[split], groups),
            sizes=whole,
            coords=np.hstack([np.zeros_like(whole), whole]),
        ).save(folder / PICKLE[split])
    write_names(folder, names or {class_id: str(class_id) for class_id in present})


def _tracks(one: Arrays, groups: dict[Any, int]) -> Array:
    """Return the number of each group, which new ones get in `groups`."""
    if one.groups is None:
        return np.full(len(one.images), NO_TRACK)
    return np.array([groups.setdefault(name, len(groups)) for name in one.groups.tolist()])


def _features(images: Array, where: str) -> Array:
    """Return images as uint8 (N, H, W, C)."""
    if images.dtype.kind == "f" and images.size and images.min() >= 0 and images.max() <= 1:
        images = np.rint(255 * images).astype(np.uint8)
    shaped = images[..., None] if images.ndim == 3 else images
    if shaped.dtype != np.uint8 or shaped.ndim != 4 or shaped.shape[3] not in (1, 3) or not shaped.size:
        raise InputError(
            f"{where}: images must be uint8, or floats in [0, 1], of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3). "
            f"Received: {images.dtype} {images.shape}"
        )
    return shaped


def _labels(one: Arrays, names: Mapping[int, str], where: str) -> Array:
    """Return labels as int64 (N,)."""
    labels = one.labels[:, 0] if one.labels.ndim == 2 and one.labels.shape[1] == 1 else one.labels
    for name, array in (("labels", labels), ("groups", one.groups)):
        if array is not None and array.shape != (len(one.images),):
            raise InputError(f"{where}: {len(one.images)} images, but {name} of shape {array.shape}; give one each")
    if labels.dtype.kind not in "iu":
        raise InputError(f"{where}: labels must be whole numbers. Received: {labels.dtype}")
    outside = (labels < 0) | (~np.isin(labels, list(names)) if names else False)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        allowed = f"0 to {max(names)}" if names else "at least 0"
        raise InputError(f"{where}: row {row}: label {labels[row]} is out of range, which is {allowed}; correct it")
    return labels.astype(np.int64)
