"""Sources: where images come from, by name."""

from typing import TYPE_CHECKING

from robust_distillation.registry import Registry

if TYPE_CHECKING:
    from robust_distillation.dataset.sources.source import Source

_ROOM = "robust_distillation.dataset.sources"
SOURCES: "Registry[Source]" = Registry(
    "source", {name: f"{_ROOM}.{name}:SOURCE" for name in ("synthetic", "gtsrb", "udacity")}
)
