from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.acceleration import accelerated, folded
from robust_distillation.threats.evasion.apgd import APGD
from robust_distillation.threats.evasion.deepfool import DeepFool
from robust_distillation.threats.evasion.sign import FGSM, IFGSM, PGD
from robust_distillation.threats.evasion.victim import UnreliableWarning, Victim, bpda

EPSILON = 0.05


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x, y: (x * 255, y), "divide grey levels by 255"),
        (lambda x, y: (x - 1, y), r"must lie in \[0, 1\]"),
        (lambda x, y: (np.full_like(x, np.nan), y), r"must lie in \[0, 1\]"),
        (lambda x, y: (x.astype(np.float64), y), "float64"),
        (lambda x, y: (np.rint(255 * x).astype(np.uint8), y), "uint8"),
        (lambda x, y: (x.tolist(), y), "list"),
        (lambda x, y: (x[0], y), r"\(12, 12, 3\)"),
        (lambda x, y: (x.transpose(0, 3, 1, 2), y), r"of the model, \(None, 12, 12, 3\). Received: \(60, 3, 12, 12\)"),
        (lambda x, y: (x, y + 1), "labels must lie in 0 to 3"),
        (lambda x, y: (x, y - 1), "labels must lie in 0 to 3"),
        (lambda x, y: (x, y[:3]), "one per image"),
        (lambda x, y: (x, y.astype(float)), "integers"),
    ],
)
def test_bad_input_is_named(problem, change, says):
    images, labels = change(problem.images, problem.labels)
    with pytest.raises(InputError, match=says):
        FGSM()(problem.model, images, labels, epsilon=EPSILON)


@pytest.mark.parametrize(
    ("epsilon", "norm"), [(8, "linf"), (0, "linf"), (-0.1, "linf"), (21, "l2"), (float("nan"), "l2")]
)
def test_an_epsilon_beyond_the_pixel_range_is_refused(problem, epsilon, norm):
    with pytest.raises(InputError, match="epsilon must lie in"):
        FGSM(norm=norm)(problem.model, problem.images, problem.labels, epsilon=epsilon)


def test_targets_are_checked_like_labels(problem):
    with pytest.raises(InputError, match="targets must lie in 0 to 3"):
        FGSM()(problem.model, problem.images, problem.labels, epsilon=EPSILON, targets=problem.labels + 1)


def test_a_target_must_be_wrong(problem):
    targets = (problem.labels + 1) % 4
    targets[:2] = problem.labels[:2]
    with pytest.raises(InputError, match=f"targets must be wrong classes.*2 of {len(targets)}"):
        FGSM()(problem.model, problem.images, problem.labels, epsilon=EPSILON, targets=targets)


def test_a_model_that_returns_nonsense_is_refused(problem):
    with pytest.raises(InputError, match="not finite"):
        FGSM()(lambda x: problem.model(x) * np.inf, problem.images, problem.labels, epsilon=EPSILON)
    with pytest.raises(InputError, match=r"logits \(N, K\)"):
        FGSM()(lambda x: x, problem.images, problem.labels, epsilon=EPSILON)


def test_a_model_that_breaks_under_attack_is_no_success(problem):
    """Its logits turn to NaN, and argmax of NaN is class 0; a network may even turn images of NaN to finite logits."""

    def model(images):
        return problem.model(images) + tf.where(tf.reduce_max(images) > 0.95, np.float32(np.nan), 0.0)

    with pytest.raises(InputError, match="not finite"):
        PGD(early_stop=True, restarts=2)(model, 0.9 * problem.images, problem.labels, epsilon=0.5)
    with pytest.raises(InputError, match=r"not finite on .* images, clean or attacked"):
        Victim(model).fooled(problem.images + np.float32(0.3), problem.labels)


def test_an_unknown_goal_is_named(problem):
    with pytest.raises(InputError, match=r"goal must be 'deny' or 'deceive'. Received: 'denied'"):
        Victim(problem.model, goal="denied")


def test_probabilities_bring_a_warning(problem):
    with pytest.warns(UnreliableWarning, match="logits"):
        FGSM()(lambda x: tf.nn.softmax(problem.model(x)), problem.images, problem.labels, epsilon=EPSILON)


def test_bpda_gives_a_gradient_where_there_is_none(problem):
    def coarse(images):
        return tf.round(images * 15) / 15

    exact = Victim(lambda x: problem.model(coarse(x)))
    through = Victim(lambda x: problem.model(bpda(coarse)(x)))
    np.testing.assert_allclose(
        exact.predict_logits(problem.images, problem.labels),
        through.predict_logits(problem.images, problem.labels),
        atol=1e-4,
    )
    # Of a rounding TensorFlow's gradient is None, which no attack may take for a robust model.
    with pytest.raises(InputError, match=r"^the model has no gradient.* in `bpda`$"):
        FGSM()(exact, problem.images, problem.labels, epsilon=EPSILON)
    found = IFGSM()(through, problem.images, problem.labels, epsilon=0.15)
    assert exact.fooled(found, problem.labels).mean() > 0.5


def test_expectation_over_transformation_averages_gradients_and_answers(problem):
    factors = tf.random.Generator.from_seed(0)

    def spread(draws):
        victim = Victim(lambda images: problem.model(images) * factors.uniform((), 0, 2), draws=draws)

        def gradient(images, labels):
            return victim.gradient(images, labels, lambda logits, classes: tf.gather(logits, classes, batch_dims=1))[2]

        first, labels = problem.images[:1], problem.labels[:1].astype(np.int32)
        gradients = [np.abs(victim.run("gradient", gradient, first, labels).numpy()).mean() for _ in range(24)]
        logits = [victim.predict_logits(first, labels).max() for _ in range(24)]
        return np.array([np.std(values) / np.mean(values) for values in (gradients, logits)])

    # The standard error of a mean of 16 is a quarter.
    assert (spread(16) < 0.5 * spread(1)).all()


def refuse_dark(images):
    """Refuses images whose mean falls below 0.4."""
    return 50 * (0.4 - tf.reduce_mean(images, axis=(1, 2, 3)))


def test_denying_takes_the_easier_way_and_deceiving_must_pass(problem):
    epsilon = 0.1
    plain = Victim(problem.model)
    bright = refuse_dark(problem.images).numpy() < 0
    images, labels = problem.images[bright], problem.labels[bright]
    assert len(images)
    denied = Victim(problem.model, refusal=refuse_dark, goal="deny")
    deceived = Victim(problem.model, refusal=refuse_dark, goal="deceive")
    attack = IFGSM(steps=20, early_stop=True)
    for victim in (denied, deceived):
        found = attack(victim, images, labels, epsilon=epsilon)
        refused, wrong = refuse_dark(found).numpy() > 0, plain.fooled(found, labels)
        expected = refused | wrong if victim is denied else wrong & ~refused
        np.testing.assert_array_equal(victim.fooled(found, labels), expected)
    harm = attack(plain, images, labels, epsilon=epsilon)
    useful = ~plain.fooled(harm, labels) & (refuse_dark(harm).numpy() <= 0)
    assert denied.fooled(attack(denied, images, labels, epsilon=epsilon), labels).sum() >= (~useful).sum()


def convolutions():
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.Add()([x, layers.BatchNormalization(scale=False)(y)])
    x = layers.BatchNormalization()(x)  # after a sum: stays
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    x = layers.BatchNormalization()(layers.Dense(16)(x))
    model = keras.Model(image, layers.Dense(4)(layers.Dropout(0.5)(x)))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return model


def test_folding_changes_no_logit_and_takes_what_it_can():
    model, images = convolutions(), np.random.default_rng(1).random((7, 12, 12, 3), np.float32)
    whole = keras.Model(model.inputs, model(model.inputs))  # nested
    sequential = keras.Sequential([keras.Input((12, 12, 3)), model])
    for each in (model, whole, sequential):
        np.testing.assert_allclose(folded(each)(images), each(images), atol=1e-5)
    norms = [layer for layer in folded(model).layers if isinstance(layer, layers.BatchNormalization)]
    assert len(norms) == 1


def test_what_fools_only_the_bfloat16_stand_in_is_attacked_again(other_problem):
    victim = Victim(other_problem.model, stand_in=Victim(folded(other_problem.model, "bfloat16")))
    rough = victim.stand_in.predict_logits(other_problem.images, other_problem.labels)
    exact = victim.predict_logits(other_problem.images, other_problem.labels)
    assert 0 < np.abs(rough - exact).max() < 0.3
    attack = IFGSM(steps=20, early_stop=True)
    for epsilon in (0.09, 0.1):
        found = attack(victim, other_problem.images, other_problem.labels, epsilon=epsilon)
        slow = attack(other_problem.model, other_problem.images, other_problem.labels, epsilon=epsilon)
        assert (
            abs(
                int(victim.fooled(found, other_problem.labels).sum())
                - int(victim.fooled(slow, other_problem.labels).sum())
            )
            <= 1
        )


@pytest.mark.parametrize(
    ("flags", "precision"), [("flags : avx512_bf16", "mixed_bfloat16"), ("flags : avx2", "float32")]
)
def test_a_victim_is_accelerated_in_what_the_processor_multiplies(flags, precision, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(flags)
    monkeypatch.setattr("robust_distillation.classifiers.training.CPU", tmp_path / "cpuinfo")
    searched = accelerated(convolutions(), precision="bfloat16").stand_in.model
    assert {layer.dtype_policy.name for layer in searched.layers} == {"float32", precision}


def test_only_known_kinds_are_accelerated(problem):
    with pytest.raises(InputError, match="precision"):
        accelerated(problem.model, precision="int8")
    with pytest.raises(InputError, match="functional and sequential"):
        accelerated(lambda x: x)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("models/student.keras", r"load_model\('models/student.keras'\)"),
        (Path("models/student.keras"), r"load_model\('models/student.keras'\)"),
        (np.zeros(3), "must map images to logits. Received: ndarray"),
    ],
)
def test_what_is_no_model_is_named(problem, given, message):
    with pytest.raises(InputError, match=message):
        Victim(given)
    with pytest.raises(InputError, match=message):
        FGSM()(given, problem.images, problem.labels, epsilon=EPSILON)


def test_predict_of_a_model_has_no_gradient(problem):
    with pytest.raises(InputError, match=r"pass the model itself, not model\.predict"):
        FGSM()(problem.model.predict, problem.images, problem.labels, epsilon=EPSILON)


def test_a_radius_in_words_is_named(problem):
    with pytest.raises(InputError, match=r"epsilon must be a number: 8/255, not a text. Received: '8/255'"):
        FGSM()(problem.model, problem.images, problem.labels, epsilon="8/255")


def test_labels_out_of_range_are_named(problem):
    with pytest.raises(InputError, match=r"labels must lie in 0 to 3"):
        FGSM()(problem.model, problem.images, problem.labels + 1, epsilon=EPSILON)


@pytest.mark.parametrize("goal", ["deny", "deceive"])
def test_a_goal_needs_a_refusal(problem, goal):
    with pytest.raises(InputError, match="give its refusal, or leave the goal out"):
        Victim(problem.model, goal=goal)
    Victim(problem.model, goal=goal, refusal=lambda images: tf.reduce_mean(images, (1, 2, 3)))


def test_a_model_is_traced_once_for_all_attacks(problem):
    traced = []

    def model(images):
        traced.append(images.shape)
        return problem.model(images)

    victim = Victim(model)
    attacks = FGSM(), APGD(steps=2), APGD(steps=2, loss="dlr"), DeepFool(steps=2)
    for attack in attacks:
        attack(victim, problem.images, problem.labels, epsilon=0.1)
        victim.fooled(problem.images, problem.labels)
    eagerly = [shape for shape in traced if shape[0] is not None]
    assert (len(traced), len(eagerly)) == (2, 1)
