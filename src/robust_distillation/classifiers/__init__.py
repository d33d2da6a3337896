"""Classifiers that attacker and defender build alike: architectures and training methods by name, and how to train."""

from typing import TYPE_CHECKING

from robust_distillation.registry import Registry

if TYPE_CHECKING:
    from robust_distillation.classifiers.architectures import Architecture
    from robust_distillation.classifiers.methods.method import Method

_ROOM = "robust_distillation.classifiers"
ARCHITECTURES: "Registry[Architecture]" = Registry(
    "architecture",
    {
        name: f"{_ROOM}.architectures:{name}"
        for name in ("lenet", "cnn", "vgg", "resnet", "srn", "srn_small", "srn_deep")
    },
)
DISTILLING = ("ard", "rslad", "adaad")  # methods that need a teacher
METHODS: "Registry[type[Method]]" = Registry(
    "training method",
    {
        "standard": f"{_ROOM}.methods.method:Standard",
        "fgsm": f"{_ROOM}.methods.adversarial:MixedFGSM",
        "n_fgsm": f"{_ROOM}.methods.adversarial:NoisyFGSM",
        "fgsm_ep": f"{_ROOM}.methods.adversarial:PriorGuidedFGSM",
        "fgsm_pgi": f"{_ROOM}.methods.adversarial:RegularisedFGSM",
        "pgd": f"{_ROOM}.methods.adversarial:PGD",
        "trades": f"{_ROOM}.methods.adversarial:TRADES",
        "gaussian": f"{_ROOM}.methods.noise:Gaussian",
        "consistency": f"{_ROOM}.methods.noise:Consistency",
        "smooth_adv": f"{_ROOM}.methods.noise:SmoothAdversarial",
        "ard": f"{_ROOM}.methods.distillation:ARD",
        "rslad": f"{_ROOM}.methods.distillation:RSLAD",
        "adaad": f"{_ROOM}.methods.distillation:AdaAD",
    },
)
