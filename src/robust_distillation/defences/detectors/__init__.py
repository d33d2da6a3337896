"""Detectors: what tells suspicious images from clean ones, by name."""

from typing import TYPE_CHECKING

from robust_distillation.registry import Registry

if TYPE_CHECKING:
    from robust_distillation.defences.detectors.detector import Detector

RECORD = "detector.json"  # of what is stored of a detector besides its networks
NEED_LABELS = ("label", "trigger", "combined")  # detectors of the training set alone
_ROOM = "robust_distillation.defences.detectors"
DETECTORS: "Registry[type[Detector]]" = Registry(
    "detector",
    {
        "mse": f"{_ROOM}.mse:ReconstructionError",
        "kl": f"{_ROOM}.kl:PredictionChange",
        "combined": f"{_ROOM}.combined:Combined",
        "label": f"{_ROOM}.label:LabelDisagreement",
        "residual": f"{_ROOM}.residual:Residual",
        "trigger": f"{_ROOM}.trigger:Trigger",
    },
)
