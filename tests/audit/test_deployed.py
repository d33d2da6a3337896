import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from robust_distillation.audit.deployed import Answers, Deployed, once, outcome
from robust_distillation.defences.abstention import Abstention
from robust_distillation.defences.detector import Detector
from robust_distillation.threats.evasion.sign import PGD


def test_answers_are_useful_harmful_or_neither():
    excess = {"detector": np.array([0, -1, 0, 0.1]), "abstention": np.array([-1, 0.2, 0, -1])}
    found = Answers(np.array([True, True, False, False]), excess)
    np.testing.assert_array_equal(found.useful, [True, False, False, False])
    np.testing.assert_array_equal(found.harmful, [False, False, True, False])


def answers(correct, refused):
    return Answers(np.array(correct, bool), {"detector": np.where(refused, 1.0, -1.0)})


def test_an_attack_that_is_refused_is_no_success_and_leaves_no_use():
    clean = answers([1, 1, 1, 0], [0, 0, 0, 0])
    as_student = answers([1, 1, 0, 0], [0, 1, 0, 0])
    denied = answers([1, 0, 0, 0], [0, 1, 1, 1])
    found = outcome(clean, as_student, denied)
    np.testing.assert_array_equal(found.as_student, [True, False, False, False])
    np.testing.assert_array_equal(found.adaptively, [True, False, False, False])
    np.testing.assert_array_equal(found.harmed, [False, False, True, True])
    np.testing.assert_array_equal(found.stands, [True, False, False, False])


EPSILON = 0.2
ATTACK = PGD(steps=40, early_stop=True)


@pytest.fixture(scope="module")
def deployed(problem):
    """The problem's model behind a blur; each part stops half of what is made to fool the student alone."""
    image = keras.Input(problem.images.shape[1:])
    blur = keras.Model(image, layers.AveragePooling2D(2, strides=1, padding="same")(image))
    alone = keras.Model(image, problem.model(blur(image)))
    adversarial = ATTACK(alone, problem.images, problem.labels, epsilon=EPSILON)
    settings = {"measure": "passes", "passes": 8, "seed": 3, "class_distributions": np.eye(4).tolist()}
    uncertainty = Abstention(problem.model, **settings).uncertainty(blur.predict(adversarial, verbose=0))
    return Deployed(
        blur,
        "reconstruct",
        Detector(blur, float(np.median(Detector(blur, 0).score(adversarial)))),
        Abstention(problem.model, **settings, threshold=float(np.median(uncertainty))),
        temperature=1.0,
    )


def test_it_passes_what_no_part_refuses(problem, deployed):
    adversarial = ATTACK(deployed.classifier, problem.images, problem.labels, epsilon=EPSILON)
    flagged = deployed.detector.score(adversarial) > deployed.detector.threshold
    blurred = deployed.autoencoder.predict(adversarial, verbose=0)
    unsure = deployed.abstention.uncertainty(blurred) > deployed.abstention.threshold
    passed = deployed.answer(adversarial, problem.labels).passed
    np.testing.assert_array_equal(passed, ~flagged & ~unsure)
    assert {flagged.mean(), unsure.mean()} == {0.5}
    assert deployed.answer(problem.images, problem.labels).useful.all()


def test_who_attacks_all_of_it_passes_what_stops_an_attack_on_the_student(problem, deployed):
    def harmful(victim):
        adversarial = ATTACK(victim, problem.images, problem.labels, epsilon=EPSILON)
        return deployed.answer(adversarial, problem.labels).harmful.mean()

    assert harmful(deployed.victim("deceive")) > harmful(deployed.classifier) + 0.1


def test_the_attacker_judges_as_what_is_deployed_does(problem, deployed):
    adversarial = ATTACK(deployed.victim("deceive"), problem.images, problem.labels, epsilon=EPSILON)
    harmed = deployed.answer(adversarial, problem.labels).harmful
    np.testing.assert_array_equal(deployed.victim("deceive").fooled(adversarial, problem.labels), harmed)


def test_denial_leaves_no_more_useful_answers_than_an_attack_on_the_student(problem, deployed):
    def useful(victim):
        adversarial = ATTACK(victim, problem.images, problem.labels, epsilon=EPSILON)
        return deployed.answer(adversarial, problem.labels).useful.mean()

    assert useful(deployed.victim("deny")) <= useful(deployed.classifier)


def test_what_is_seen_is_reconstructed_once_per_graph():
    calls = []

    def twice(images):
        calls.append(1)
        return 2 * images

    seen = once(twice)
    image = tf.constant([1.0])
    graph = tf.function(lambda images: seen(images) + seen(images))
    assert graph(image).numpy() == 4
    assert len(calls) == 1
    # Another graph has a tensor of its own, and eager calls are never remembered.
    assert tf.function(lambda images: seen(images))(image).numpy() == 2
    assert len(calls) == 2
    assert seen(image) + seen(image) == 4
    assert len(calls) == 4
