import numpy as np
import pytest

from robust_distillation.auditing.backdoors import attack_success_rates
from robust_distillation.defences.defence import Answers
from robust_distillation.threats.settings import Poison

PATCH = 3


def asked(**changes):
    return Poison(epsilons=[0.1], alpha=0.1, iterations=1, fraction=0.1, target=1, patch=PATCH, seed=9, **changes)


def answer(images):
    """Class 1 where the corner is chequered and the image is bright; no answer where it is dark."""
    corner = images[:, -PATCH:, -PATCH:].std(axis=(1, 2, 3))
    found = np.where(corner > 0.3, 1, 0)
    dark = 1.0 - images[:, 0, 0, 0]
    return Answers(np.eye(3)[found], {"detector": dark}, {"detector": 0.8})


@pytest.fixture
def images():
    features = np.full((8, 12, 12, 3), 128, np.uint8)
    features[:2] = 20
    return features, np.array([0, 0, 0, 1, 1, 2, 2, 2])


def test_triggered_images_of_other_classes_that_are_answered_with_the_target_are_counted(images):
    kinds = ["fgsm", "badnets", "label_flip", "blended"]
    assert attack_success_rates(answer, *images, asked(kinds=kinds)) == {"badnets": 4 / 6, "blended": 0.0}


def test_with_a_source_its_images_alone_are_counted(images):
    assert attack_success_rates(answer, *images, asked(kinds=["badnets"], source=2)) == {"badnets": 1.0}


def test_without_an_image_there_is_no_rate(images):
    features, labels = images
    of_target = labels == 1
    assert attack_success_rates(answer, features[of_target], labels[of_target], asked(kinds=["badnets"])) == {
        "badnets": None
    }
