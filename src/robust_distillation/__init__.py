"""Denoising-autoencoder-based defensive distillation, from raw images to a promoted, attacked student.

One import offers what attacks, judges and reads; the modules behind it are loaded when a name is first used.

Example:
    >>> import keras
    >>> import numpy as np
    >>> import robust_distillation as rd

    Ten plain images of 8x8 pixels, from dark to bright, and a model that tells which are brighter than 0.5:

    >>> brightness = np.array([0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95], np.float32)
    >>> images = np.ones((10, 8, 8, 1), np.float32) * brightness[:, None, None, None]
    >>> labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    >>> mean = keras.layers.GlobalAveragePooling2D()
    >>> model = keras.Sequential([keras.Input((8, 8, 1)), mean, keras.layers.Dense(2)])
    >>> model.set_weights([np.array([[-10, 10]]), np.array([5, -5])])

    A change of 0.1 a pixel makes the model wrong on the two images nearest to 0.5:

    >>> victim = rd.Victim(model)
    >>> verdicts = rd.standard()(victim, images, labels, epsilon=0.1)
    >>> np.flatnonzero(verdicts.broken_by != rd.STANDS)
    array([4, 5])

    The other examples of this package start from these names; `help(rd.PGD)` shows one.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# TensorFlow leaves oneDNN off on processors without AVX512-VNNI, where networks train faster with it all the same.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

if TYPE_CHECKING:
    from robust_distillation.auditing.audit import audit as audit
    from robust_distillation.auditing.distances import nearest_distances as nearest_distances
    from robust_distillation.auditing.explanation import explain as explain
    from robust_distillation.auditing.reliability import reliability_flags as reliability_flags
    from robust_distillation.auditing.report import Report as Report
    from robust_distillation.auditing.settings import NearestSearch as NearestSearch
    from robust_distillation.auditing.settings import Reliability as Reliability
    from robust_distillation.classifiers.settings import Training as Training
    from robust_distillation.classifiers.training import one_hot as one_hot
    from robust_distillation.classifiers.training import train_classifier as train_classifier
    from robust_distillation.dataset.generator import DatasetGenerator as DatasetGenerator
    from robust_distillation.dataset.pickles import ImageSet as ImageSet
    from robust_distillation.dataset.synthetic.further import draw_further as draw_further
    from robust_distillation.defences.abstention import Abstention as Abstention
    from robust_distillation.defences.autoencoder import Hyperparameters as Hyperparameters
    from robust_distillation.defences.autoencoder import build_autoencoder as build_autoencoder
    from robust_distillation.defences.defence import Defence as Defence
    from robust_distillation.defences.detectors.mse import ReconstructionError as ReconstructionError
    from robust_distillation.defences.detectors.mse import infer_threshold as infer_threshold
    from robust_distillation.defences.distillation import distil as distil
    from robust_distillation.defences.settings import Student as Student
    from robust_distillation.defences.smoothing import Smoothed as Smoothed
    from robust_distillation.errors import InputError as InputError
    from robust_distillation.errors import UnreliableWarning as UnreliableWarning
    from robust_distillation.pretrained import load_pretrained as load_pretrained
    from robust_distillation.records import Classes as Classes
    from robust_distillation.threats.evasion import ATTACKS as ATTACKS
    from robust_distillation.threats.evasion.acceleration import accelerated as accelerated
    from robust_distillation.threats.evasion.apgd import APGD as APGD
    from robust_distillation.threats.evasion.apgd import APGDT as APGDT
    from robust_distillation.threats.evasion.attack import Attack as Attack
    from robust_distillation.threats.evasion.attack import Budget as Budget
    from robust_distillation.threats.evasion.carlini_wagner import CarliniWagner as CarliniWagner
    from robust_distillation.threats.evasion.deepfool import DeepFool as DeepFool
    from robust_distillation.threats.evasion.ensemble import STANDS as STANDS
    from robust_distillation.threats.evasion.ensemble import WRONG as WRONG
    from robust_distillation.threats.evasion.ensemble import Ensemble as Ensemble
    from robust_distillation.threats.evasion.ensemble import Verdicts as Verdicts
    from robust_distillation.threats.evasion.ensemble import build as build
    from robust_distillation.threats.evasion.ensemble import rand as rand
    from robust_distillation.threats.evasion.ensemble import standard as standard
    from robust_distillation.threats.evasion.fab import FABT as FABT
    from robust_distillation.threats.evasion.hop_skip_jump import HopSkipJump as HopSkipJump
    from robust_distillation.threats.evasion.noise import UniformNoise as UniformNoise
    from robust_distillation.threats.evasion.sign import FGSM as FGSM
    from robust_distillation.threats.evasion.sign import IFGSM as IFGSM
    from robust_distillation.threats.evasion.sign import MIFGSM as MIFGSM
    from robust_distillation.threats.evasion.sign import PGD as PGD
    from robust_distillation.threats.evasion.square import Square as Square
    from robust_distillation.threats.evasion.transfer import Transfer as Transfer
    from robust_distillation.threats.evasion.victim import Victim as Victim
    from robust_distillation.threats.evasion.victim import bpda as bpda

__version__ = "0.1.0"

# Each name and the module that defines it. The imports above say the same to editors and mypy; a test compares the two.
_MODULES = {
    "NearestSearch": "auditing.settings",
    "Reliability": "auditing.settings",
    "audit": "auditing.audit",
    "nearest_distances": "auditing.distances",
    "reliability_flags": "auditing.reliability",
    "Report": "auditing.report",
    "DatasetGenerator": "dataset.generator",
    "ImageSet": "dataset.pickles",
    "Abstention": "defences.abstention",
    "Defence": "defences.defence",
    "ReconstructionError": "defences.detectors.mse",
    "Smoothed": "defences.smoothing",
    "InputError": "errors",
    "load_pretrained": "pretrained",
    "Classes": "records",
    "accelerated": "threats.evasion.acceleration",
    "APGD": "threats.evasion.apgd",
    "APGDT": "threats.evasion.apgd",
    "Attack": "threats.evasion.attack",
    "CarliniWagner": "threats.evasion.carlini_wagner",
    "DeepFool": "threats.evasion.deepfool",
    "ATTACKS": "threats.evasion",
    "Budget": "threats.evasion.attack",
    "Ensemble": "threats.evasion.ensemble",
    "STANDS": "threats.evasion.ensemble",
    "Verdicts": "threats.evasion.ensemble",
    "WRONG": "threats.evasion.ensemble",
    "build": "threats.evasion.ensemble",
    "rand": "threats.evasion.ensemble",
    "standard": "threats.evasion.ensemble",
    "FABT": "threats.evasion.fab",
    "HopSkipJump": "threats.evasion.hop_skip_jump",
    "UniformNoise": "threats.evasion.noise",
    "FGSM": "threats.evasion.sign",
    "IFGSM": "threats.evasion.sign",
    "MIFGSM": "threats.evasion.sign",
    "PGD": "threats.evasion.sign",
    "Square": "threats.evasion.square",
    "Transfer": "threats.evasion.transfer",
    "UnreliableWarning": "errors",
    "Victim": "threats.evasion.victim",
    "bpda": "threats.evasion.victim",
    "explain": "auditing.explanation",
    "Training": "classifiers.settings",
    "one_hot": "classifiers.training",
    "train_classifier": "classifiers.training",
    "draw_further": "dataset.synthetic.further",
    "Hyperparameters": "defences.autoencoder",
    "build_autoencoder": "defences.autoencoder",
    "infer_threshold": "defences.detectors.mse",
    "distil": "defences.distillation",
    "Student": "defences.settings",
}
__all__ = list(_MODULES)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _load(name: str) -> Any:
    """Return what a name stands for, and keep it.

    Raises:
        AttributeError: it stands for nothing; the message names the nearest that does.
    """
    if name not in _MODULES:
        from difflib import get_close_matches

        offered = {known.lower(): known for known in __all__}
        nearest = get_close_matches(name.lower(), offered, n=1)
        hint = f"did you mean {offered[nearest[0]]!r}?" if nearest else f"dir({__name__}) names what it offers"
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; {hint}", name=name)
    globals()[name] = value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


if not TYPE_CHECKING:  # to mypy, a module with __getattr__ has every name, misspelled ones too
    __getattr__ = _load
