"""One thin module per DVC stage: read params and inputs, call the rooms, write outputs, log."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from robust_distillation.registry import Registry

if TYPE_CHECKING:
    from robust_distillation.params import Params

_ORDER = (
    "fetch",
    "dataset",
    "validate",
    "surrogate",
    "poison",
    "tune",
    "autoencoder",
    "filter",
    "filter_audit",
    "draw",
    "teacher",
    "student",
    "published",
    "robustness",
    "smoothed",
    "certify",
    "rivals",
    "compare",
    "privacy",
    "register",
    "report",
)
STAGES: "Registry[Callable[[Params], None]]" = Registry(
    "stage", {name: f"robust_distillation.stages.{name}:main" for name in _ORDER}
)
