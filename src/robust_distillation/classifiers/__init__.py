"""Classifiers that attacker and defender build alike: architectures and training methods by name, and how to train."""

from typing import TYPE_CHECKING

from robust_distillation.registry import Registry

if TYPE_CHECKING:
    from robust_distillation.classifiers.architectures import Architecture
    from robust_distillation.classifiers.methods import Method

_ROOM = "robust_distillation.classifiers"
ARCHITECTURES: "Registry[Architecture]" = Registry(
    "architecture", {name: f"{_ROOM}.architectures:{name}" for name in ("lenet", "cnn", "vgg", "resnet", "srn")}
)
METHODS: "Registry[type[Method]]" = Registry(
    "training method",
    {
        "standard": f"{_ROOM}.methods:Standard",
        "n_fgsm": f"{_ROOM}.methods:NoisyFGSM",
        "fgsm_ep": f"{_ROOM}.methods:PriorGuidedFGSM",
        "pgd": f"{_ROOM}.methods:PGD",
        "trades": f"{_ROOM}.methods:TRADES",
    },
)
