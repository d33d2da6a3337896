"""Detectors: what tells suspicious images from clean ones, by name."""

from typing import TYPE_CHECKING

from robust_distillation.registry import Registry

if TYPE_CHECKING:
    from robust_distillation.defences.detectors.detector import Detector

RECORD = "detector.json"  # of what is stored of a detector besides its networks
_ROOM = "robust_distillation.defences.detectors"
DETECTORS: "Registry[type[Detector]]" = Registry(
    "detector",
    {
        "mse": f"{_ROOM}.mse:ReconstructionError",
        "kl": f"{_ROOM}.kl:PredictionChange",
        "residual": f"{_ROOM}.residual:Residual",
    },
)
