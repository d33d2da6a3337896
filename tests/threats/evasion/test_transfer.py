import random
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.classifiers.settings import Training
from robust_distillation.classifiers.training import predict_logits
from robust_distillation.errors import InputError
from robust_distillation.threats.evasion import transfer
from robust_distillation.threats.evasion.sign import PGD
from robust_distillation.threats.evasion.transfer import Transfer, extract
from robust_distillation.threats.evasion.victim import Victim

SETTINGS = Training(architecture="lenet", epochs=10, batch_size=32, learning_rate=0.003, seed=7)


def draw_unlabelled(count, seed):
    """Images like those of `problem`, and the classes that they were drawn for."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    images = rng.uniform(0.2, 0.5, (count, 12, 12, 3))
    for image, label in zip(images, labels, strict=True):
        row, column = 6 * (label // 2), 6 * (label % 2)
        image[row : row + 6, column : column + 6] += 0.25
    return images.astype(np.float32), labels


class Counted:
    """A model that counts what it answers."""

    def __init__(self, model):
        self.model = model
        self.seen = tf.Variable(0)

    def __call__(self, batch):
        self.seen.assign_add(tf.shape(batch)[0])
        return self.model(batch)


@pytest.fixture(scope="module")
def extraction(problem):
    """A substitute, the queries that it is said to have cost, and those that it cost."""
    images, labels = draw_unlabelled(60, seed=20)
    counted = Counted(problem.model)
    victim = Victim(counted)
    victim.check(images, labels)
    counted.seen.assign(0)
    substitute, queries = extract(victim, images, labels, SETTINGS, rounds=2)
    return substitute, queries, counted.seen.numpy()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_from_the_same_model_equals_the_white_box_attack(problem, norm):
    attack = PGD(steps=20, norm=norm, seed=2)
    by_transfer = Transfer(attack=attack, surrogate=problem.model)
    assert (by_transfer.norm, by_transfer.seed) == (norm, 2)
    epsilon = {"linf": 0.05, "l2": 0.8}[norm]
    arguments = problem.model, problem.images, problem.labels
    np.testing.assert_array_equal(by_transfer(*arguments, epsilon=epsilon), attack(*arguments, epsilon=epsilon))
    targets = (problem.labels + 1) % 4
    np.testing.assert_array_equal(
        by_transfer(*arguments, epsilon=epsilon, targets=targets), attack(*arguments, epsilon=epsilon, targets=targets)
    )


def test_uses_nothing_of_the_victim(problem):
    flat = np.zeros((432, 4), np.float32)
    blind = Victim(lambda batch: tf.reshape(batch, (-1, 432)) @ flat)
    attack = PGD(steps=20)
    found = Transfer(attack=attack, surrogate=problem.model)(blind, problem.images, problem.labels, epsilon=0.1)
    expected = attack(problem.model, problem.images, problem.labels, epsilon=0.1)
    np.testing.assert_array_equal(found, expected)


def test_configurations_compare_by_attack_and_surrogate(problem):
    one = Transfer(attack=PGD(steps=20), surrogate=problem.model)
    assert one == Transfer(attack=PGD(steps=20), surrogate=problem.model)
    assert hash(one) == hash(Transfer(attack=PGD(steps=20), surrogate=problem.model))
    assert one != Transfer(attack=PGD(steps=21), surrogate=problem.model)
    assert one != Transfer(attack=PGD(steps=20), surrogate=len)


def test_extraction_agrees_with_the_victim_on_fresh_images(problem, extraction):
    images, _ = draw_unlabelled(200, seed=21)
    answers = [predict_logits(model, images).argmax(axis=1) for model in (extraction[0], problem.model)]
    assert np.mean(answers[0] == answers[1]) >= 0.8


def test_extraction_leaves_the_random_state_as_it_was(problem):
    images, labels = draw_unlabelled(4, seed=22)
    short = replace(SETTINGS, epochs=1)

    def draws():
        return random.random(), np.random.rand(), tf.random.uniform(()).numpy()  # noqa: NPY002

    def after(meanwhile):
        keras.utils.set_random_seed(3)
        draws()
        meanwhile()
        return draws()

    assert after(lambda: extract(problem.model, images, labels, short, rounds=1)) == after(lambda: None)


def test_extraction_doubles_what_it_asks_each_round(extraction):
    _, queries, seen = extraction
    assert queries == seen == 60 * 2


def test_attack_by_way_of_the_substitute_fools_the_victim(problem, extraction):
    victim = Victim(problem.model)
    attack = Transfer(attack=PGD(steps=20), surrogate=extraction[0])
    shares = []
    for epsilon in (0.05, 0.1, 0.25):
        found = attack(victim, problem.images, problem.labels, epsilon=epsilon)
        assert np.abs(found - problem.images).max() <= epsilon + 1e-6
        shares.append(victim.fooled(found, problem.labels).mean())
    assert shares[0] <= shares[1] <= shares[2]
    assert shares[2] > 0.5


def test_extraction_names_what_is_wrong(problem):
    images, labels = draw_unlabelled(4, seed=23)
    with pytest.raises(InputError, match="rounds"):
        extract(problem.model, images, labels, SETTINGS, rounds=0)
    with pytest.raises(InputError, match="labels"):
        extract(problem.model, images, labels[:2], SETTINGS)


@pytest.mark.parametrize("answers", ["labels", "probabilities"])
def test_a_substitute_learns_from_what_is_told_and_only_that(problem, monkeypatch, answers):
    images, labels = draw_unlabelled(40, seed=24)
    refusing = Victim(problem.model, refusal=lambda batch: 50 * (tf.reduce_mean(batch, (1, 2, 3)) - 0.41), goal="deny")
    told = []

    def train(images, targets, settings, *, validation):
        told.append(targets)
        return keras.Sequential([keras.Input(images.shape[1:]), keras.layers.Flatten(), keras.layers.Dense(5)]), {}

    monkeypatch.setattr(transfer, "train_classifier", train)
    extract(refusing, images, labels, SETTINGS, rounds=2, answers=answers)
    logits = refusing.predict_logits(images, labels.astype(np.int32))
    assert 0 < np.mean(logits.argmax(axis=1) == 4) < 1
    expected = tf.nn.softmax(logits) if answers == "probabilities" else np.eye(5)[logits.argmax(axis=1)]
    np.testing.assert_allclose(told[0], expected, atol=1e-6)
    np.testing.assert_allclose(told[1][:40], expected, atol=1e-6)
    assert told[1].shape == (80, 5)
