"""Detectors: what tells suspicious images from clean ones, by name."""

from typing import TYPE_CHECKING

from robust_distillation.registry import Registry

if TYPE_CHECKING:
    from robust_distillation.defences.detectors.detector import Detector

RECORD = "detector.json"  # of what is stored of a detector besides its networks
DETECTORS: "Registry[type[Detector]]" = Registry(
    "detector", {"mse": "robust_distillation.defences.detectors.mse:ReconstructionError"}
)
