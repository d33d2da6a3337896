"""Classifiers that attacker and defender build alike: architectures and training methods by name, and how to train."""

from typing import TYPE_CHECKING

from robust_distillation.registry import Registry

if TYPE_CHECKING:
    from robust_distillation.classifiers.architectures import Architecture
    from robust_distillation.classifiers.methods import Method

_ROOM = "robust_distillation.classifiers"
ARCHITECTURES: "Registry[Architecture]" = Registry(
    "architecture", {name: f"{_ROOM}.architectures:{name}" for name in ("lenet", "cnn", "vgg", "resnet")}
)
METHODS: "Registry[Method]" = Registry("training method", {"standard": f"{_ROOM}.methods:standard"})
