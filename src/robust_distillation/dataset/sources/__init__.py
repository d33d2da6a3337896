"""Sources: where images come from, by name."""

from typing import TYPE_CHECKING

from robust_distillation.registry import Registry

if TYPE_CHECKING:
    from robust_distillation.dataset.sources.source import Source

_ROOM = "robust_distillation.dataset.sources"
_NAMES = ("synthetic", "digits", "gtsrb", "udacity", "fashion_mnist", "folder", "csv", "npz")
SOURCES: "Registry[Source]" = Registry("source", {name: f"{_ROOM}.{name}:SOURCE" for name in _NAMES})
