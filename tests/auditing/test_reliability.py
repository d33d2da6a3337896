"""Each flag fires on a model built to trip it and stays silent on a sound one."""

import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.auditing.reliability import Known, reliability_flags
from robust_distillation.classifiers.settings import Training
from robust_distillation.classifiers.training import one_hot, train_classifier
from robust_distillation.defences.distillation import soft_labels
from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.attack import Budget
from robust_distillation.threats.evasion.ensemble import STANDS, Ensemble, build
from robust_distillation.threats.evasion.sign import IFGSM
from robust_distillation.threats.evasion.square import Square
from robust_distillation.threats.evasion.victim import Victim

pytestmark = pytest.mark.filterwarnings("ignore::robust_distillation.errors.UnreliableWarning")


def check(problem, victim, **changes):
    settings = {"epsilons": [0.12], "steps": 20, "queries": 300, "seed": 0} | changes
    return reliability_flags(victim, problem.images, problem.labels, **settings)


def raised(problem, victim, **changes):
    return {name for name, flag in check(problem, victim, **changes).items() if flag.raised}


def made_on(model, problem, epsilons):
    """The images as attacked on another model, and nothing else that is known."""
    attack = IFGSM(steps=20)
    return Known(
        transferred={epsilon: [attack(model, problem.images, problem.labels, epsilon=epsilon)] for epsilon in epsilons}
    )


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
    known = made_on(student, problem, [0.1, 0.12])
    assert raised(problem, Victim(problem.model), epsilons=[0.1, 0.12], known=known) == set()


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
    found = raised(problem, Victim(shattered(problem)), known=made_on(problem.model, problem, [0.12]))
    assert {"black_box_beats_white_box", "transfer_beats_white_box", "survives_large_epsilon"} <= found


def test_equal_steps_that_jump_over_what_a_large_ball_holds():
    """Only brightness within 0.003 of the middle fools the model; a step of I-FGSM is 0.06."""
    images = np.full((12, 2, 2, 1), np.linspace(0.1, 0.45, 12)[:, None, None, None], np.float32)

    def model(images):
        far = tf.abs(tf.reduce_mean(images, axis=(1, 2, 3)) - 0.5)
        return tf.stack([far - 0.003, tf.zeros_like(far)], axis=1)

    victim, labels = Victim(model), np.zeros(12, int)
    assert not victim.fooled(IFGSM(steps=20, early_stop=True)(victim, images, labels, epsilon=0.5), labels).all()
    flags = reliability_flags(victim, images, labels, epsilons=[0.01], steps=20, queries=10, seed=0)
    assert flags["survives_large_epsilon"].value == 0


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


def test_what_is_known_is_not_attacked_again_and_gives_the_same_flags(problem, monkeypatch):
    attacked = []
    run = Ensemble.__call__

    def watched(self, victim, images, *arguments, **settings):
        attacked.append(len(images))
        return run(self, victim, images, *arguments, **settings)

    victim = Victim(problem.model)
    ensemble = build(["fgsm", "i_fgsm", "apgd_dlr", "square"], Budget(steps=20, queries=300))
    verdicts = {epsilon: ensemble(victim, problem.images, problem.labels, epsilon=epsilon) for epsilon in (0.085, 0.1)}
    monkeypatch.setattr(Ensemble, "__call__", watched)
    alone = check(problem, victim, epsilons=[0.085, 0.1])
    without = sum(attacked)
    attacked.clear()
    found = check(problem, victim, epsilons=[0.085, 0.1], known=Known(ensemble.attacks, verdicts))
    assert sum(attacked) < without / 2
    assert {name: flag.raised for name, flag in found.items()} == {name: flag.raised for name, flag in alone.items()}


def test_verdicts_tell_what_beats_the_iterative_attacks(problem):
    """Known is that Square felled what I-FGSM, which sees gradients of the wrong sign, cannot."""
    victim = Victim(shattered(problem))
    ensemble = Ensemble({"i_fgsm": IFGSM(steps=20), "square": Square(queries=300)})
    verdicts = ensemble(victim, problem.images, problem.labels, epsilon=0.12)
    flags = check(problem, victim, queries=1, known=Known(ensemble.attacks, {0.12: verdicts}))
    assert flags["black_box_beats_white_box"].value == pytest.approx((verdicts.broken_by == "square").mean())
    assert flags["black_box_beats_white_box"].raised


def test_no_tolerance_is_finer_than_three_images(problem):
    """Two or three images that only Square fells are no sign; four are."""
    epsilon = 0.085
    victim = Victim(problem.model)
    attacks = {loss: IFGSM(steps=20, early_stop=True, loss=loss) for loss in ("cross_entropy", "margin")}
    stands = Ensemble(attacks)(victim, problem.images, problem.labels, epsilon=epsilon)
    few = np.flatnonzero(stands.broken_by == STANDS)[:4]
    assert len(few) == 4
    for count, expected in ((3, False), (4, True)):
        broken_by = np.where(np.isin(np.arange(60), few[:count]), "square", stands.broken_by)
        verdicts = type(stands)(stands.adversarial, broken_by)
        known = Known(attacks | {"square": Square()}, {epsilon: verdicts})
        flags = check(problem, victim, epsilons=[epsilon], tolerance=0.0, known=known)
        assert flags["black_box_beats_white_box"].value == pytest.approx(count / 60)
        assert flags["black_box_beats_white_box"].raised == expected


def test_flags_of_no_images_are_refused(problem):
    with pytest.raises(InputError, match="at least one image"):
        reliability_flags(
            Victim(problem.model),
            problem.images[:0],
            problem.labels[:0],
            epsilons=[0.1],
            steps=20,
            queries=300,
            seed=0,
        )


def test_what_withstands_black_box_queries_in_a_ball_is_spared_them_in_smaller_ones(problem, monkeypatch):
    queried = {}

    def watched(self, victim, images, labels, targets, epsilon):
        queried[epsilon] = {image.tobytes() for image in images}
        return images

    monkeypatch.setattr(Square, "_attack", watched)
    check(problem, Victim(problem.model), epsilons=[0.08, 0.085])
    assert queried[0.085]
    assert not queried[0.085] & queried[0.08]
