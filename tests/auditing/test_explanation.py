"""FGSM explained: what the picture says is what the linear model allows."""

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from robust_distillation.auditing.explanation import explain
from robust_distillation.errors import InputError

SHAPE = (8, 8, 3)
EPSILONS = (0.02, 0.01)


@pytest.fixture(scope="module")
def linear():
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)])


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).uniform(0.3, 0.7, SHAPE).astype(np.float32)


@pytest.fixture(scope="module")
def found(linear, image):
    return explain(linear, image, label=1, epsilons=EPSILONS, names=["a", "b", "c"])


def test_the_gradient_is_that_of_the_formula(found, linear, image):
    weights, bias = linear.get_weights()
    probabilities = np.exp(log_softmax(image.ravel() @ weights + bias))
    expected = weights @ (probabilities - np.eye(3)[1])
    np.testing.assert_allclose(found.gradient.ravel(), expected, rtol=1e-3, atol=1e-6)


def test_each_pixel_moves_by_epsilon_along_the_sign(found, image):
    assert found.epsilons == (0.01, 0.02)
    for epsilon, adversarial in zip(found.epsilons, found.adversarial, strict=True):
        np.testing.assert_allclose(adversarial - image, epsilon * np.sign(found.gradient), atol=1e-6)


def test_the_loss_rises_along_the_way_and_hardly_by_noise(found):
    walk = found.walk
    assert (np.diff(walk.losses) > 0).all()
    assert abs(walk.noise[-1] - walk.noise[0]) < 0.2 * (walk.losses[-1] - walk.losses[0])
    assert found.first_order(walk.steps[:2])[1] == pytest.approx(walk.losses[1], rel=1e-3)
    at = np.interp(0.01, walk.steps, walk.losses)
    assert at == pytest.approx(-log_softmax(found.logits[1])[1], rel=1e-3)


def test_without_a_label_the_answer_is_taken(linear, image):
    assert explain(linear, image).label == linear.predict(image[None], verbose=0).argmax()


def test_the_table_has_a_row_for_each_epsilon(found):
    assert found.table().row_count == 3
    assert list(found.table().columns[0].cells) == ["0", "0.01", "0.02"]


def test_the_figure_names_answers_and_shows_all(found):
    found.figure().canvas.draw()
    above, below = found.figure().subfigs
    assert len(above.axes) == 6
    assert len(below.axes) == 2
    assert above.axes[0].get_xlabel().startswith(found.names[found.answers[0]])


@pytest.mark.parametrize(
    ("shape", "label", "said"), [((8, 8, 1), 0, "shape"), (SHAPE, 3, "0 to 2"), (SHAPE, -1, "0 to 2")]
)
def test_what_does_not_fit_is_refused(linear, shape, label, said):
    with pytest.raises(InputError, match=said):
        explain(linear, np.zeros(shape, np.float32), label=label)
