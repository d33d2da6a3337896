from typing import TYPE_CHECKING

from robust_distillation.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from robust_distillation.threats.evasion.attack import Attack, Budget

_ROOM = "robust_distillation.threats.evasion"
ATTACKS: "Registry[type[Attack] | Callable[[Budget], Attack]]" = Registry(
    "attack",
    {
        "fgsm": f"{_ROOM}.sign:FGSM",
        "i_fgsm": f"{_ROOM}.sign:IFGSM",
        "mi_fgsm": f"{_ROOM}.sign:MIFGSM",
        "pgd": f"{_ROOM}.sign:PGD",
        "apgd_ce": f"{_ROOM}.apgd:APGD",
        "apgd_dlr": f"{_ROOM}.apgd:apgd_dlr",
        "apgd_t": f"{_ROOM}.apgd:APGDT",
        "fab_t": f"{_ROOM}.fab:FABT",
        "deepfool": f"{_ROOM}.deepfool:DeepFool",
        "uniform_noise": f"{_ROOM}.noise:UniformNoise",
        "hop_skip_jump": f"{_ROOM}.hop_skip_jump:HopSkipJump",
        "square": f"{_ROOM}.square:Square",
    },
)
