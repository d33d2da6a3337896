"""What a defender does: autoencoder, detectors, distillation, abstention, smoothing, input filters, all as one."""

from typing import TYPE_CHECKING

from robust_distillation.registry import Registry

if TYPE_CHECKING:
    from robust_distillation.defences.input_filters import Named

_FILTERS = "robust_distillation.defences.input_filters"
INPUT_FILTERS: "Registry[type[Named]]" = Registry(
    "input filter",
    {
        "median": f"{_FILTERS}:Median",
        "dual_median": f"{_FILTERS}:DualMedian",
        "gaussian": f"{_FILTERS}:Gaussian",
        "bilateral": f"{_FILTERS}:Bilateral",
        "bit_depth": f"{_FILTERS}:BitDepth",
        "jpeg": f"{_FILTERS}:JPEG",
        "total_variation": f"{_FILTERS}:TotalVariation",
        "reform": f"{_FILTERS}:Reform",
    },
)
STACKED = "+"  # between the names of a stack of filters
