"""Each flag fires on a model built to trip it and stays silent on a sound one."""

import pytest
import tensorflow as tf

from robust_distillation.audit.reliability import reliability_flags
from robust_distillation.classifiers.training import one_hot, train_classifier
from robust_distillation.defences.distillation import soft_labels
from robust_distillation.params import Training
from robust_distillation.threats.evasion.victim import Victim

pytestmark = pytest.mark.filterwarnings("ignore::robust_distillation.threats.evasion.victim.UnreliableWarning")


def raised(problem, victim, **changes):
    settings = {"epsilons": [0.12], "steps": 20, "queries": 300, "seed": 0} | changes
    flags = reliability_flags(victim, problem.images, problem.labels, **settings)
    return {name for name, flag in flags.items() if flag.raised}


TEMPERATURE = 20.0


@pytest.fixture(scope="module")
def student(problem):
    """Teacher and student trained at temperature 20."""
    settings = Training(architecture="cnn", epochs=60, batch_size=16, learning_rate=0.003, seed=2)
    truth = one_hot(problem.labels, 4)
    given = {"temperature": TEMPERATURE, "validation": (problem.images, truth)}
    teacher, _ = train_classifier(problem.images, truth, settings, **given)
    labels = soft_labels(teacher, problem.images, TEMPERATURE)
    return train_classifier(problem.images, labels, settings, **given)[0]


def test_silent_on_a_sound_model(problem, student):
    assert raised(problem, Victim(problem.model), epsilons=[0.1, 0.12], surrogates=[student]) == set()


def test_a_student_of_a_high_temperature_attacked_on_its_softmax(problem, student):
    found = raised(problem, Victim(lambda images: tf.nn.softmax(student(images))))
    assert {"zero_gradients", "softmax_outputs"} <= found


def test_the_same_student_attacked_on_logits_over_its_temperature(problem, student):
    assert raised(problem, Victim(student, temperature=TEMPERATURE)) == set()


def test_randomness(problem):
    noise = tf.random.Generator.from_seed(0)
    found = raised(problem, Victim(lambda images: problem.model(images) + noise.normal((1, 4), stddev=0.1)))
    assert "random_forward" in found


def shattered(problem):
    """Right logits, wrong gradients: those of the model with their sign turned."""
    return lambda images: problem.model(2 * tf.stop_gradient(images) - images)


def test_gradients_that_point_the_wrong_way(problem):
    found = raised(problem, Victim(shattered(problem)), surrogates=[problem.model])
    assert {"black_box_beats_white_box", "transfer_beats_white_box", "survives_large_epsilon"} <= found


def test_a_budget_that_is_not_enough(problem):
    found = raised(problem, Victim(problem.model), steps=1)
    assert "more_steps_gain" in found


def test_a_single_step_that_beats_many(problem):
    """The gradient is right at the clean images and wrong everywhere else."""
    clean = tf.constant(problem.images)

    def model(images):
        away = tf.reduce_min(tf.reduce_max(tf.abs(images[:, None] - clean[None]), axis=(2, 3, 4)), axis=1)
        sign = tf.where(away < 1e-6, 1.0, -1.0)[:, None, None, None]
        fixed = tf.stop_gradient(images)
        return problem.model(fixed + tf.stop_gradient(sign) * (images - fixed))

    assert "single_step_beats_iterative" in raised(problem, Victim(model))
