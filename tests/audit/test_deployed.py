import keras
import numpy as np
import pytest
from keras import layers

from robust_distillation.audit.deployed import Answers, Deployed
from robust_distillation.defences.abstention import Abstention
from robust_distillation.defences.detector import Detector
from robust_distillation.threats.evasion.sign import PGD


def test_answers_are_useful_harmful_or_neither():
    excess = {"detector": np.array([0, -1, 0, 0.1]), "abstention": np.array([-1, 0.2, 0, -1])}
    answers = Answers(np.array([True, True, False, False]), excess)
    np.testing.assert_array_equal(answers.useful, [True, False, False, False])
    np.testing.assert_array_equal(answers.harmful, [False, False, True, False])


EPSILON = 0.2
ATTACK = PGD(steps=40, early_stop=True)
GIVEN = {"passes": 8, "seed": 99, "draws": 1}


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
    answers = deployed.answer(adversarial, problem.labels)
    np.testing.assert_array_equal(answers.passed, ~flagged & ~unsure)
    assert {flagged.mean(), unsure.mean()} == {0.5}
    assert deployed.answer(problem.images, problem.labels).useful.all()


def test_who_attacks_all_of_it_passes_what_stops_an_attack_on_the_student(problem, deployed):
    def harmful(victim):
        adversarial = ATTACK(victim, problem.images, problem.labels, epsilon=EPSILON)
        return deployed.answer(adversarial, problem.labels).harmful.mean()

    assert harmful(deployed.victim("deceive", **GIVEN)) > harmful(deployed.classifier) + 0.1


def test_denial_leaves_no_more_useful_answers_than_an_attack_on_the_student(problem, deployed):
    def useful(victim):
        adversarial = ATTACK(victim, problem.images, problem.labels, epsilon=EPSILON)
        return deployed.answer(adversarial, problem.labels).useful.mean()

    assert useful(deployed.victim("deny", **GIVEN)) <= useful(deployed.classifier)
