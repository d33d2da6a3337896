"""Each training method against hand-made cases, and on a tiny problem."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from robust_distillation.classifiers import METHODS
from robust_distillation.classifiers.methods import Batch
from robust_distillation.classifiers.settings import Adversary, Augmentation, Training
from robust_distillation.classifiers.storage import save_model
from robust_distillation.classifiers.training import one_hot, train_classifier
from robust_distillation.classifiers.watching import Kept, Watch
from robust_distillation.errors import UnreliableWarning
from robust_distillation.threats.evasion.sign import PGD

TINY = partial(Training, architecture="cnn", batch_size=32, learning_rate=0.003, seed=5)
EPSILON = 0.085
ADVERSARIAL = [name for name in METHODS if name != "standard"]


def linear(weights):
    """A model of two classes whose logits are 0 and the weighted sum of the pixels."""
    image = keras.Input((2, 2, 1))
    dense = keras.layers.Dense(2)
    model = keras.Model(image, dense(keras.layers.Flatten()(image)))
    dense.set_weights([np.stack([np.zeros(4), weights], axis=1), np.zeros(2)])
    return model


def batch(progress=0.9, rows=(0,)):
    count = len(rows)
    return Batch(
        tf.fill((count, 2, 2, 1), 0.5),
        tf.tile(tf.constant([[0.0, 1.0]]), (count, 1)),
        tf.constant(rows),
        tf.constant(progress),
        tf.constant([1, 2]),
    )


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
    quiet = of("n_fgsm")(linear(WEIGHTS), batch(progress=0.0))
    np.testing.assert_allclose(quiet[1], [[0, -1.0]], atol=1e-6)


@pytest.mark.parametrize("method", ["pgd", "fgsm_ep"])
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


def test_each_image_starts_where_its_own_last_perturbation_ended():
    method = of("fgsm_ep")
    method(linear(WEIGHTS), batch(rows=(2,)))
    np.testing.assert_array_equal(method.memory[:2], 0)
    assert (method.memory[2].numpy() != 0).any()


@pytest.mark.parametrize("method", ADVERSARIAL)
def test_each_method_makes_a_model_that_stands_better(lesson, problem, method):
    images, labels = lesson
    settings = TINY(method=method, epochs=30, adversary=Adversary(epsilon=EPSILON, steps=5, warm_up=0.3, beta=3.0))
    validation = problem.images, one_hot(problem.labels, 4)
    model, history = train_classifier(images, one_hot(labels, 4), settings, validation=validation)
    assert history["loss"][-1] < history["loss"][0]
    assert {"val_robust", "val_single_step"} <= history.keys()

    def robust(classifier):
        found = PGD(steps=20)(classifier, problem.images, problem.labels, epsilon=EPSILON)
        return (classifier.predict(found, verbose=0).argmax(axis=1) == problem.labels).mean()

    assert robust(model) > robust(problem.model)


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


def watched(problem, accuracies):
    """What a watch does over epochs with these accuracies, under one step and under several."""
    watch = Watch(problem.images, one_hot(problem.labels, 4), 0.1, 1.0)
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
        model, _ = train((images[few], labels[few]), problem, epochs=4, class_balance=balance)
        answers = model.predict(problem.images, verbose=0).argmax(axis=1)
        recalls.append((answers[problem.labels == 3] == 3).mean())
    assert recalls[1] > recalls[0]


def test_the_watch_brings_the_last_good_epoch_back_when_robustness_collapses(problem):
    with pytest.warns(UnreliableWarning, match=r"epoch 3: accuracy is 0\.95 under one step and 0\.02 under 10"):
        trainer, logs = watched(problem, [(0.5, 0.4), (0.6, 0.45), (0.95, 0.02), (0.9, 0.0)])
    assert trainer.weights == [1]
    assert len(logs) == 3
    assert logs[-1]["val_robust"] == 0.45


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
        ({"method": "magic"}, "must be one of standard, n_fgsm"),
        ({"label_smoothing": 1.0}, "less than 1"),
        ({"average": 1.0}, "less than 1"),
        ({"optimizer": "rmsprop"}, "'adam' or 'sgd'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        TINY(**{"epochs": 1} | changes)
