from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.classifiers import ARCHITECTURES
from robust_distillation.classifiers.settings import Training
from robust_distillation.classifiers.training import (
    batches_of_epoch,
    build,
    class_weights,
    computed_in,
    evaluate,
    has_bfloat16,
    one_hot,
    orders_of_epochs,
    predict_logits,
    shuffled_batches,
    train_classifier,
    whole_batches,
)
from robust_distillation.defences.autoencoder import flipped_batches
from robust_distillation.errors import InputError

CPU = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_architectures_return_logits_and_hold_no_custom_layer(name, shape):
    model = ARCHITECTURES[name](shape, 7)
    assert model.output_shape == (None, 7)
    assert model.layers[-1].activation is keras.activations.linear
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}
    assert any(isinstance(layer, keras.layers.Dropout) for layer in model.layers)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("keras.layers.Dense(n_classes, 'softmax')(x)", "must return logits, not probabilities: leave the softmax out"),
        ("keras.layers.Dense(9)(x)", "must return logits (N, 4), one for each class. Received: (None, 9)"),
        (None, "must return a Keras model. Received: NoneType"),
    ],
)
def test_an_architecture_of_a_users_own_that_gives_no_logits_is_refused(tmp_path, monkeypatch, made, message):
    module = f"mine_{len(message)}"
    model = f"keras.Model(image, {made})" if made else "None"
    (tmp_path / f"{module}.py").write_text(
        f"import keras\n\ndef net(shape, n_classes):\n    image = keras.Input(shape)\n"
        f"    x = keras.layers.Flatten()(image)\n    return {model}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError) as refused:
        build(f"{module}:net", (12, 12, 3), 4)
    assert str(refused.value) == f"architecture {module}:net {message}"


@pytest.mark.filterwarnings("error:Your input ran out of data")
def test_training_learns_at_a_high_temperature_and_repeats(problem):
    settings = Training(architecture="lenet", epochs=20, batch_size=16, learning_rate=0.003, seed=1)
    targets = one_hot(problem.labels, 4)
    data = (problem.images, targets)
    first, history = train_classifier(*data, settings, temperature=20.0, validation=data)
    again, _ = train_classifier(*data, settings, temperature=20.0, validation=data)
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history["val_accuracy"][-1] > 0.9
    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_epoch_has_each_row_once_with_its_target_in_an_order_of_its_own():
    images = np.arange(50, dtype=np.float32)
    first, again = (shuffled_batches((images, 2 * images), 16, seed=3) for _ in range(2))
    orders = []
    for batches in (first, first, again):
        sizes, rows = zip(*((len(image), image) for image, target in batches.as_numpy_iterator()), strict=True)
        assert sizes == (12, 13, 12, 13)
        orders.append(np.concatenate(rows))
        assert sorted(orders[-1]) == images.tolist()
    assert all((target == 2 * image).all() for image, target in first.as_numpy_iterator())
    assert not np.array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[0], orders[2])


def test_no_batches_wait_for_a_tuner_between_epochs():
    images, orders = np.zeros((6, 4, 4, 1), np.float32), np.arange(6, dtype=np.int32)[None]
    epoch = tf.Variable(0, dtype=tf.int64)
    for batches in (
        batches_of_epoch((images, images), orders, 2, epoch),
        shuffled_batches((images, images), 2, seed=1),
        whole_batches((images, images)),
        flipped_batches((images, images), 2, seed=1),
    ):
        assert batches.options().autotune.enabled is False


def test_evaluate_divides_logits_by_the_temperature(problem):
    logits = predict_logits(problem.model, problem.images).astype(np.float64)
    scaled = logits / 5
    log_probability = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    expected = -log_probability[np.arange(60), problem.labels].mean()
    found = evaluate(problem.model, problem.images, problem.labels, temperature=5.0)
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    assert found["accuracy"] == np.mean(logits.argmax(axis=1) == problem.labels)


def test_the_order_of_an_epoch_depends_on_the_seed_and_the_epoch_alone():
    images = np.arange(50, dtype=np.float32)
    settings = Training(architecture="cnn", epochs=3, batch_size=16, learning_rate=0.1, seed=3)
    epoch = tf.Variable(0, dtype=tf.int64)
    batches = batches_of_epoch((images, 2 * images), orders_of_epochs(50, 50, settings), 16, epoch)
    orders = []
    for number in (0, 1, 2, 1):
        epoch.assign(number)
        seen, twice, rows = (np.concatenate(parts) for parts in zip(*batches.as_numpy_iterator(), strict=True))
        np.testing.assert_array_equal(seen, rows)
        np.testing.assert_array_equal(twice, 2 * seen)
        assert [len(rows) for *_, rows in batches.as_numpy_iterator()] == [12, 13, 12, 13]
        assert sorted(rows.tolist()) == list(range(50))
        orders.append(rows)
    np.testing.assert_array_equal(orders[1], orders[3])
    assert (orders[0] != orders[1]).any()
    assert (orders[1] != orders[2]).any()


def test_classes_count_the_same_however_many_images_they_have():
    weights = class_weights(one_hot(np.array([0, 0, 0, 1, 3, 3]), 4))
    np.testing.assert_allclose(weights * [3, 1, 0, 2], [2, 2, 0, 2])
    np.testing.assert_array_equal(class_weights(one_hot(np.arange(4), 4)), 1)


@pytest.mark.parametrize(("share", "count", "further"), [(0.5, 90, 50), (0.2, 90, 12), (0.5, 60, 50), (0.0, 90, 0)])
def test_an_epoch_takes_its_own_rows_once_and_the_share_of_further_ones(share, count, further):
    settings = Training(architecture="cnn", epochs=3, batch_size=16, learning_rate=0.1, seed=3, further_share=share)
    orders = orders_of_epochs(50, count, settings)
    assert orders.shape == (3, 50 + further)
    for order in orders:
        assert sorted(order[order < 50]) == list(range(50))
        beyond = np.bincount(order[order >= 50] - 50, minlength=count - 50)
        assert beyond.max() - beyond.min() <= 1
    assert (orders[0] != orders[1]).any()
    np.testing.assert_array_equal(orders, orders_of_epochs(50, count, settings))


def test_a_share_of_further_images_needs_some():
    settings = Training(architecture="cnn", epochs=1, batch_size=16, learning_rate=0.1, seed=3, further_share=0.5)
    with pytest.raises(InputError, match="no further images"):
        orders_of_epochs(50, 50, settings)


def test_further_images_are_learned_too(problem):
    """The images of one class are further ones alone: the model learns them where a share of them is asked."""
    rows = np.argsort(problem.labels == 3, kind="stable")
    own = int((problem.labels != 3).sum())
    images, targets = problem.images[rows], one_hot(problem.labels[rows], 4)

    def accuracy_of_the_class(share):
        settings = Training(
            architecture="cnn", epochs=15, batch_size=16, learning_rate=0.003, seed=1, further_share=share
        )
        model, _ = train_classifier(images, targets, settings, validation=(images, targets), own=own)
        return (predict_logits(model, images[own:]).argmax(axis=1) == 3).mean()

    assert accuracy_of_the_class(0.0) == 0
    assert accuracy_of_the_class(0.4) > 0.9


def test_self_distillation_softens_the_targets_towards_the_end(problem):
    data = problem.images, one_hot(problem.labels, 4)

    def confidence(share):
        settings = Training(
            architecture="cnn",
            epochs=30,
            batch_size=16,
            learning_rate=0.003,
            average=0.9,
            self_distillation=share,
            seed=1,
        )
        _, history = train_classifier(*data, settings, validation=data)
        assert history["val_accuracy"][-1] > 0.9
        return history["loss"][0], history["loss"][-1]

    (first, last), (same, softer) = confidence(0.0), confidence(0.9)
    assert same == pytest.approx(first, rel=0.05)
    assert softer > last


def test_bfloat16_is_for_the_training_alone_and_learns_as_well(problem):
    settings = Training(architecture="lenet", epochs=20, batch_size=16, learning_rate=0.003, seed=1)
    data = (problem.images, one_hot(problem.labels, 4))
    (exact, _), (rounded, history) = (
        train_classifier(*data, replace(settings, precision=precision), validation=data)
        for precision in ("float32", "bfloat16")
    )
    assert not tf.config.optimizer.get_experimental_options()["auto_mixed_precision_onednn_bfloat16"]
    assert history["val_accuracy"][-1] > 0.9
    assert {weights.dtype.name for weights in rounded.get_weights()} == {"float32"}
    differ = any((one != other).any() for one, other in zip(exact.get_weights(), rounded.get_weights(), strict=True))
    assert differ == ("avx512_bf16" in CPU or "amx_bf16" in CPU)


@pytest.mark.parametrize(
    ("flags", "has"),
    [("flags : sse avx2 avx512_bf16 erms", True), ("Features : asimd bf16", True), ("flags : avx2 avx512f", False)],
)
def test_bfloat16_is_left_to_processors_that_have_it(flags, has, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(flags)
    monkeypatch.setattr("robust_distillation.classifiers.training.CPU", tmp_path / "cpuinfo")
    with computed_in("bfloat16"):
        options = tf.config.optimizer.get_experimental_options()
        assert options["auto_mixed_precision_onednn_bfloat16"] == has


def test_a_processor_that_tells_nothing_has_no_bfloat16(tmp_path, monkeypatch):
    monkeypatch.setattr("robust_distillation.classifiers.training.CPU", tmp_path / "none")
    assert not has_bfloat16()
