"""Each training method against hand-made cases, and on a tiny problem."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from robust_distillation.classifiers import DISTILLING, METHODS
from robust_distillation.classifiers.methods.distillation import CLEAN, HARD, divergence
from robust_distillation.classifiers.methods.method import Batch, cross_entropy
from robust_distillation.classifiers.settings import Adversary, Augmentation, Training
from robust_distillation.classifiers.storage import save_model
from robust_distillation.classifiers.training import one_hot, train_classifier
from robust_distillation.classifiers.watching import Kept, Watch
from robust_distillation.errors import InputError, UnreliableWarning
from robust_distillation.threats.evasion.sign import PGD

TINY = partial(Training, architecture="cnn", batch_size=32, learning_rate=0.003, seed=5)
EPSILON, EPOCHS = 0.085, 15
ADVERSARY = Adversary(epsilon=EPSILON, steps=4, warm_up=0.3, beta=3.0)
NOISY = ("gaussian", "consistency", "smooth_adv")
ADVERSARIAL = [name for name in METHODS if name not in ("standard", *NOISY, *DISTILLING)]


def linear(weights):
    """A model of two classes whose logits are 0 and the weighted sum of the pixels."""
    image = keras.Input((2, 2, 1))
    dense = keras.layers.Dense(2)
    model = keras.Model(image, dense(keras.layers.Flatten()(image)))
    dense.set_weights([np.stack([np.zeros(4), weights], axis=1), np.zeros(2)])
    return model


def batch(progress=0.9, rows=(0,), teach=None):
    count = len(rows)
    images, labels = tf.fill((count, 2, 2, 1), 0.5), tf.tile(tf.constant([[0.0, 1.0]]), (count, 1))
    targets = labels if teach is None else teach(images)
    return Batch(images, targets, tf.constant(rows), tf.constant(progress), tf.constant([1, 2]), labels, teach)


class Stands:
    """Robust accuracy on the problem."""

    def __init__(self, problem):
        self.problem = problem

    def __call__(self, model):
        found = PGD(steps=20)(model, self.problem.images, self.problem.labels, epsilon=EPSILON)
        return (model.predict(found, verbose=0).argmax(axis=1) == self.problem.labels).mean()


WEIGHTS = np.array([1.0, -2.0, 3.0, -4.0], np.float32)


def of(method, temperature=1.0, **adversary):
    settings = TINY(method=method, epochs=1, adversary=Adversary(**{"epsilon": 0.1, "warm_up": 0.5} | adversary))
    return METHODS[method](settings, temperature, (3, 2, 2, 1))


def test_standard_is_the_cross_entropy_at_the_temperature():
    losses, logits = of("standard", 4.0)(linear(WEIGHTS), batch())
    np.testing.assert_allclose(logits, [[0, -1.0]], atol=1e-6)
    assert losses.numpy()[0] == pytest.approx(np.log(1 + np.exp(1 / 4)), rel=1e-5)


def test_one_noisy_step_goes_by_epsilon_from_noise_of_twice_epsilon():
    _, logits = of("n_fgsm")(linear(WEIGHTS), batch())
    # The step lowers the sum by epsilon times the weights' L1 norm, and the noise moves it by twice that at most.
    moved = float(logits[0, 1]) - -1.0
    assert -0.1 * 10 - 0.2 * 10 <= moved <= -0.1 * 10 + 0.2 * 10
    without = of("n_fgsm", noise=0.0)(linear(WEIGHTS), batch())
    np.testing.assert_allclose(without[1], [[0, -1.0 - 0.1 * 10]], atol=1e-6)
    quiet = of("n_fgsm")(linear(WEIGHTS), batch(progress=0.0))
    np.testing.assert_allclose(quiet[1], [[0, -1.0]], atol=1e-6)


def test_mixed_fgsm_counts_clean_and_attacked_images_alike():
    losses, attacked = of("fgsm")(linear(WEIGHTS), batch())
    np.testing.assert_allclose(attacked, [[0, -1.0 - 0.1 * 10]], atol=1e-6)
    expected = (np.log(1 + np.exp(1)) + np.log(1 + np.exp(2))) / 2
    assert losses.numpy()[0] == pytest.approx(expected, rel=1e-5)


def noisy(method, sigma=1e-6, **smoothing):
    settings = TINY(method=method, epochs=1, adversary=Adversary(warm_up=0.5), smoothing={"sigma": sigma} | smoothing)
    return METHODS[method](settings, 1.0, (3, 2, 2, 1))


def test_noise_of_this_deviation_is_learned_with():
    many = batch(rows=tuple(range(4000)))
    _, logits = noisy("gaussian", 0.1)(linear(WEIGHTS), many)
    spread = np.linalg.norm(WEIGHTS) * 0.1
    assert logits.numpy()[:, 1].mean() == pytest.approx(-1, abs=4 * spread / np.sqrt(4000))
    assert logits.numpy()[:, 1].std() == pytest.approx(spread, rel=0.05)


def test_consistency_costs_disagreement_and_doubt():
    plain = noisy("gaussian")(linear(WEIGHTS), batch())[0].numpy()[0]
    doubt = noisy("consistency", consistency=10.0, entropy=0.5)(linear(WEIGHTS), batch())[0].numpy()[0] - plain
    p = 1 / (1 + np.exp(1))
    assert doubt == pytest.approx(-0.5 * (p * np.log(p) + (1 - p) * np.log(1 - p)), rel=1e-3)
    agreeing, apart = (
        noisy("consistency", 0.1, consistency=weight, entropy=0.0)(linear(WEIGHTS), batch())[0].numpy()[0]
        for weight in (0.0, 10.0)
    )
    assert apart > agreeing


def test_smoothed_adversaries_go_to_the_edge_of_the_ball_and_no_farther():
    method = noisy("smooth_adv", radius=0.2, draws=3)
    given, noise = batch(), tf.zeros((3, 1, 2, 2, 1))
    far = method.climb(linear(WEIGHTS), given, noise, tf.constant(0.2))
    expected = 0.5 - 0.2 * WEIGHTS / np.linalg.norm(WEIGHTS)  # the target is class 1, whose logit falls
    np.testing.assert_allclose(tf.reshape(far, [-1]), expected, atol=1e-3)
    _, logits = method(linear(WEIGHTS), given)
    assert logits.numpy()[0, 1] == pytest.approx(-1 - 0.2 * np.linalg.norm(WEIGHTS), abs=1e-3)


@pytest.mark.parametrize("method", NOISY)
def test_each_way_to_train_with_noise_makes_a_model_that_stands_it_better(lesson, problem, method):
    smoothing = {"sigma": 0.3, "radius": 0.1}
    model, history = train(lesson, problem, method=method, epochs=EPOCHS, adversary=ADVERSARY, smoothing=smoothing)
    assert history["loss"][-1] < history["loss"][0]
    assert "val_robust" not in history
    images = problem.images + np.random.default_rng(0).normal(0, 0.3, problem.images.shape).astype(np.float32)
    right = [(one.predict(images, verbose=0).argmax(axis=1) == problem.labels).mean() for one in (problem.model, model)]
    assert right[1] > right[0]


def test_a_step_that_changes_the_logits_costs_by_how_much():
    method, costs = of("fgsm_pgi", beta=3.0), []
    for _ in range(3):  # by the third, the image starts in the corner where its step ends
        losses, logits = method(linear(WEIGHTS), batch())
        costs.append(losses.numpy()[0] - np.log(1 + np.exp(-logits.numpy()[0, 1])))
    assert 0 < costs[0] <= 3 * (0.2 * 10) ** 2 / 2
    assert costs[2] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("method", ["pgd", "fgsm_ep", "fgsm_pgi"])
def test_a_linear_model_meets_the_worst_corner_of_the_ball(method):
    made, steps = of(method), 1 if method == "pgd" else 3
    for _ in range(steps):
        _, logits = made(linear(WEIGHTS), batch())
    assert logits.numpy()[0, 1] == pytest.approx(-1.0 - 0.1 * 10, abs=0.02)


def test_epsilon_grows_in_the_warm_up():
    method = of("n_fgsm")
    grown = [float(method.epsilon(tf.constant(progress))) for progress in (0.0, 0.25, 0.5, 0.9)]
    assert grown == pytest.approx([0, 0.05, 0.1, 0.1])
    assert float(of("n_fgsm", warm_up=0.0).epsilon(tf.constant(0.1))) == pytest.approx(0.1)


def test_trades_asks_for_the_same_answer_in_the_ball():
    model = linear(WEIGHTS)
    clean, logits = of("trades", beta=0.0)(model, batch())
    both, _ = of("trades", beta=2.0)(model, batch())
    assert logits.numpy()[0, 1] == pytest.approx(-1.0)
    p, *corners = (1 / (1 + np.exp(-value)) for value in (-1.0, -2.0, 0.0))  # of class 1: at the image, at two corners
    farthest = max(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)) for q in corners)
    assert float(both[0] - clean[0]) == pytest.approx(2 * farthest, rel=0.02)


def teach(images):
    """A teacher who is sure of class 1 where the images are bright."""
    logit = 4 * tf.reduce_sum(images - 0.3, axis=(1, 2, 3))
    return tf.nn.softmax(tf.stack([tf.zeros_like(logit), logit], axis=1))


def test_ard_learns_soft_labels_where_the_hard_ones_are_attacked():
    losses, logits = of("ard")(linear(WEIGHTS), batch(teach=teach))
    targets, worst = teach(tf.fill((1, 2, 2, 1), 0.5)), tf.constant([[0.0, -2.0]])
    hard = cross_entropy(tf.constant([[0.0, 1.0]]), tf.constant([[0.0, -1.0]]), 1.0)
    expected = (1 - HARD) * divergence(targets, worst, 1.0) + HARD * hard
    np.testing.assert_allclose(losses, expected, rtol=0.02)
    np.testing.assert_allclose(logits, [[0, -1.0]], atol=1e-6)


def test_rslad_learns_soft_labels_on_clean_and_attacked_images():
    losses, _ = of("rslad")(linear(WEIGHTS), batch(teach=teach))
    targets = teach(tf.fill((1, 2, 2, 1), 0.5))
    clean, worst = (divergence(targets, tf.constant([[0.0, value]]), 1.0) for value in (-1.0, -2.0))
    np.testing.assert_allclose(losses, CLEAN * clean + (1 - CLEAN) * worst, rtol=0.02)


def test_adaad_learns_the_teachers_answer_where_the_two_differ_most():
    losses, logits = of("adaad")(linear(WEIGHTS), batch(teach=teach))
    # By each pixel, the divergence changes as (p_student - p_teacher) weight + p_teacher (1 - p_teacher) (t - s) 4, for
    # the logits t = 3.2 and s = -1: it grows in the dark where the weight is above 0, and in the light elsewhere.
    corner = tf.reshape(tf.where(WEIGHTS > 0, 0.4, 0.6), (1, 2, 2, 1))
    np.testing.assert_allclose(logits, linear(WEIGHTS)(corner), atol=0.05)
    np.testing.assert_allclose(losses, divergence(teach(corner), linear(WEIGHTS)(corner), 1.0), rtol=0.05)


@pytest.fixture(scope="module")
def teacher(lesson, problem):
    """A model that stands better than the plain one."""
    return train(lesson, problem, method="n_fgsm", epochs=EPOCHS, adversary=ADVERSARY)[0]


@pytest.mark.parametrize("method", DISTILLING)
def test_a_distilled_student_stands_better_than_the_plain_model(lesson, problem, teacher, method):
    images, labels = lesson
    hard, validation = one_hot(labels, 4), (problem.images, one_hot(problem.labels, 4))
    soft = keras.ops.softmax(teacher.predict(images, verbose=0)).numpy()
    settings = TINY(method=method, epochs=EPOCHS, adversary=ADVERSARY)
    student, _ = train_classifier(images, soft, settings, labels=hard, teacher=teacher, validation=validation)
    assert Stands(problem)(student) > Stands(problem)(problem.model)


def test_a_method_that_needs_a_teacher_says_so(lesson, problem):
    with pytest.raises(InputError, match="training method adaad needs a teacher"):
        train(lesson, problem, method="adaad", epochs=1)


def test_soft_labels_follow_what_becomes_of_the_image(lesson, problem):
    """A teacher is asked anew where images are varied: its answers are those on what the student sees."""
    asked = []

    class Teacher:
        def __call__(self, images, training=False):
            asked.append(images)
            return problem.model(images, training=training)

    images, labels = lesson
    hard, validation = one_hot(labels, 4), (problem.images, one_hot(problem.labels, 4))
    for augmentation, times in ((Augmentation(), 0), (Augmentation(shift=1.0), 1)):
        asked.clear()
        settings = TINY(epochs=1, augmentation=augmentation)
        train_classifier(images, hard, settings, labels=hard, teacher=Teacher(), validation=validation)
        assert bool(asked) == bool(times)


def test_each_image_starts_where_its_own_last_perturbation_ended():
    method = of("fgsm_ep")
    method(linear(WEIGHTS), batch(rows=(2,)))
    np.testing.assert_array_equal(method.memory[:2], 0)
    assert (method.memory[2].numpy() != 0).any()


@pytest.mark.parametrize("method", ADVERSARIAL)
def test_each_method_makes_a_model_that_stands_better(lesson, problem, method):
    model, history = train(lesson, problem, method=method, epochs=EPOCHS, adversary=ADVERSARY)
    assert history["loss"][-1] < history["loss"][0]
    assert {"val_robust", "val_single_step"} <= history.keys()
    assert Stands(problem)(model) > Stands(problem)(problem.model)


def train(lesson, problem, **changes):
    images, labels = lesson
    checkpoint = changes.pop("checkpoint", None)
    validation = problem.images, one_hot(problem.labels, 4)
    settings = TINY(**{"epochs": 3} | changes)
    return train_classifier(images, one_hot(labels, 4), settings, validation=validation, checkpoint=checkpoint)


EVERYTHING = {
    "method": "fgsm_ep",
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "schedule": "linear",
    "weight_decay": 5e-4,
    "average": 0.99,
    "self_distillation": 0.5,
    "label_smoothing": 0.05,
    "class_balance": True,
    "weight_perturbation": 0.005,
    "augmentation": Augmentation(rotation=0.1, shift=1, brightness=0.1, cut_out=3),
}


@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["plain", "everything"])
def test_a_training_that_was_killed_ends_in_the_same_weights(lesson, problem, tmp_path, monkeypatch, settings):
    whole, history = train(lesson, problem, epochs=4, **settings)
    path = tmp_path / "checkpoint.p"

    def kill(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Kept, "on_epoch_begin", kill)
        with pytest.raises(KeyboardInterrupt):
            train(lesson, problem, epochs=4, checkpoint=path, **settings)
    resumed, again = train(lesson, problem, epochs=4, checkpoint=path, **settings)
    assert again.keys() == history.keys()
    for name, values in history.items():
        assert again[name] == pytest.approx(values)
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_training_that_ended_early_and_was_killed_then_is_over(lesson, problem, tmp_path):
    path = tmp_path / "checkpoint.p"
    whole, history = train(lesson, problem, epochs=40, patience=1, checkpoint=path)
    again, same = train(lesson, problem, epochs=40, patience=1, checkpoint=path)
    assert same == history
    assert len(history["loss"]) < 40
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_average_of_the_weights_is_plain_keras(lesson, problem, tmp_path):
    model, _ = train(lesson, problem, average=0.9)
    save_model(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(problem.images, verbose=0), model.predict(problem.images, verbose=0))
    plain, _ = train(lesson, problem)
    assert any((one != other).any() for one, other in zip(model.get_weights(), plain.get_weights(), strict=True))


def test_training_ends_where_it_gets_no_better_and_the_best_weights_come_back(lesson, problem):
    model, history = train(lesson, problem, epochs=40, patience=2)
    best = int(np.argmax(history["val_accuracy"]))
    assert len(history["val_accuracy"]) == best + 3 < 40
    assert (model.predict(problem.images, verbose=0).argmax(axis=1) == problem.labels).mean() == pytest.approx(
        history["val_accuracy"][best]
    )


class Weights:
    """A model whose weights say how it does under one step and under several."""

    def __init__(self):
        self.weights, self.stop_training = [], False

    def get_weights(self):
        return list(self.weights)

    def set_weights(self, weights):
        self.weights = weights


def watched(problem, accuracies, count=500):
    """What a watch on `count` images does over epochs with these accuracies, under one step and under several."""
    watch = Watch(np.resize(problem.images, (count, *problem.images.shape[1:])), np.zeros((count, 4)), 0.1, 1.0)
    trainer = Weights()
    trainer.kept = trainer
    watch.set_model(trainer)
    logs = []
    for epoch, found in enumerate(accuracies):
        watch._attacked = lambda found=found: found
        trainer.weights = [epoch]
        logs.append({})
        watch.on_epoch_end(epoch, logs[-1])
        if trainer.stop_training:
            break
    return trainer, logs


def test_weights_are_moved_before_a_step_and_come_back(lesson, problem):
    plain, _ = train(lesson, problem, epochs=1)
    still, _ = train(lesson, problem, epochs=1, weight_perturbation=1e-12)
    moved, _ = train(lesson, problem, epochs=1, weight_perturbation=0.02)
    away = [
        max(np.abs(one - other).max() for one, other in zip(plain.get_weights(), model.get_weights(), strict=True))
        for model in (still, moved)
    ]
    assert away[0] < away[1]
    assert away[1] > 1e-3


def test_balanced_classes_learn_the_rare_one_sooner(lesson, problem):
    images, labels = lesson
    few = (labels != 3) | (np.cumsum(labels == 3) <= 4)
    recalls = []
    for balance in (False, True):
        model, _ = train((images[few], labels[few]), problem, epochs=3, class_balance=balance)
        answers = model.predict(problem.images, verbose=0).argmax(axis=1)
        recalls.append((answers[problem.labels == 3] == 3).mean())
    assert recalls[1] > recalls[0]


def test_the_graph_of_a_step_is_built_once(lesson, problem, monkeypatch):
    from robust_distillation.classifiers.training import _Trainer

    step, built = _Trainer.train_step, []
    monkeypatch.setattr(_Trainer, "train_step", lambda self, data: built.append(data) or step(self, data))
    train(lesson, problem, method="fgsm_ep", epochs=2, average=0.9)
    assert len(built) == 1


def test_the_watch_brings_the_last_good_epoch_back_when_robustness_collapses(problem):
    with pytest.warns(
        UnreliableWarning,
        match=r"epoch 3: accuracy is 0\.95 under one step and 0\.02 under 10: .*the best, 0\.45, is kept",
    ):
        trainer, logs = watched(problem, [(0.5, 0.4), (0.6, 0.45), (0.95, 0.02), (0.9, 0.0)])
    assert trainer.weights == [1]
    assert len(logs) == 3
    assert logs[-1]["val_robust"] == 0.45


def test_the_watch_brings_the_best_epoch_back_when_robustness_crumbles(problem):
    with pytest.warns(UnreliableWarning, match=r"epoch 5: accuracy is 0\.73 under one step and 0\.52 under 10"):
        trainer, logs = watched(
            problem, [(0.75, 0.69), (0.78, 0.72), (0.78, 0.7), (0.73, 0.62), (0.73, 0.52), (0.7, 0.4)]
        )
    assert trainer.weights == [1]
    assert logs[-1]["val_robust"] == 0.72


def test_the_watch_takes_no_fall_for_a_collapse_that_few_images_may_show_by_chance(problem):
    _, logs = watched(problem, [(0.65, 0.6), (0.5, 0.3)], count=32)
    assert logs[1]["val_robust"] == 0.3


def test_what_has_learned_nothing_yet_cannot_collapse(problem):
    trainer, logs = watched(problem, [(0.25, 0.25), (0.35, 0.0), (0.5, 0.4)])
    assert len(logs) == 3
    assert trainer.weights == [2]


def test_the_watch_lets_a_sound_training_be(problem):
    trainer, logs = watched(problem, [(0.3, 0.25), (0.5, 0.35), (0.55, 0.3), (0.7, 0.5)])
    assert len(logs) == 4
    assert trainer.weights == [3]


def test_one_step_is_never_stronger_than_several(lesson, problem):
    _, history = train(lesson, problem, method="n_fgsm", adversary=Adversary(epsilon=0.1))
    assert all(
        robust <= single + 1e-6
        for robust, single in zip(history["val_robust"], history["val_single_step"], strict=True)
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "magic"}, "must be one of standard, fgsm, n_fgsm"),
        ({"label_smoothing": 1.0}, "less than 1"),
        ({"average": 1.0}, "less than 1"),
        ({"optimizer": "rmsprop"}, "'adam' or 'sgd'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        TINY(**{"epochs": 1} | changes)
