import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from robust_distillation.classifiers.storage import save_model
from robust_distillation.defences.abstention import Abstention
from robust_distillation.defences.defence import COMPOSITION, Answers, Defence
from robust_distillation.defences.detectors.mse import ReconstructionError
from robust_distillation.defences.distillation import distil, without_outlier
from robust_distillation.defences.settings import Student
from robust_distillation.errors import InputError
from robust_distillation.records import Classes
from robust_distillation.threats.evasion.sign import PGD

CLASSES = Classes(ids=[1, 2, 14, 33], names=["a", "b", "stop", "right"])


def test_answers_are_useful_harmful_or_neither():
    logits = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    scores = {"detector": np.array([0, -1, 0, 0.1]), "abstention": np.array([-1, 0.2, 0, -1])}
    found, labels = Answers(logits, scores, {"detector": 0, "abstention": 0}), np.zeros(4, int)
    np.testing.assert_array_equal(found.useful(labels), [True, False, False, False])
    np.testing.assert_array_equal(found.harmful(labels), [False, False, True, False])


EPSILON = 0.2
ATTACK = PGD(steps=40, early_stop=True)


@pytest.fixture(scope="module")
def defence(problem):
    """The problem's model behind a blur; each part stops half of what is made to fool the student alone."""
    image = keras.Input(problem.images.shape[1:])
    blur = keras.Model(image, layers.AveragePooling2D(2, strides=1, padding="same")(image))
    alone = keras.Model(image, problem.model(blur(image)))
    adversarial = ATTACK(alone, problem.images, problem.labels, epsilon=EPSILON)
    settings = {"measure": "passes", "passes": 8, "seed": 3, "class_distributions": np.eye(4).tolist()}
    uncertainty = Abstention(problem.model, **settings).uncertainty(blur.predict(adversarial, verbose=0))
    return Defence(
        student=problem.model,
        classes=CLASSES,
        autoencoder=blur,
        detector=ReconstructionError(blur, float(np.median(ReconstructionError(blur, 0).score(adversarial)))),
        abstention=Abstention(problem.model, **settings, threshold=float(np.median(uncertainty))),
    )


def test_it_passes_what_no_part_refuses(problem, defence):
    adversarial = ATTACK(defence.classifier, problem.images, problem.labels, epsilon=EPSILON)
    flagged = defence.detector.score(adversarial) > defence.detector.threshold
    blurred = defence.autoencoder.predict(adversarial, verbose=0)
    unsure = defence.abstention.uncertainty(blurred) > defence.abstention.threshold
    passed = defence.answer(adversarial).passed
    np.testing.assert_array_equal(passed, ~flagged & ~unsure)
    assert {flagged.mean(), unsure.mean()} == {0.5}
    assert defence.answer(problem.images).useful(problem.labels).all()


def test_who_attacks_all_of_it_passes_what_stops_an_attack_on_the_student(problem, defence):
    def harmful(victim):
        adversarial = ATTACK(victim, problem.images, problem.labels, epsilon=EPSILON)
        return defence.answer(adversarial).harmful(problem.labels).mean()

    assert harmful(defence.victim("deceive")) > harmful(defence.classifier) + 0.1


def test_the_attacker_judges_as_what_is_deployed_does(problem, defence):
    adversarial = ATTACK(defence.victim("deceive"), problem.images, problem.labels, epsilon=EPSILON)
    harmed = defence.answer(adversarial).harmful(problem.labels)
    np.testing.assert_array_equal(defence.victim("deceive").fooled(adversarial, problem.labels), harmed)


def products(function, shape):
    """How many convolutions and matrix products a function of images takes."""
    graph = tf.function(function).get_concrete_function(tf.TensorSpec((None, *shape), tf.float32)).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return sum(node.op in ("Conv2D", "MatMul") for node in nodes)


@pytest.mark.parametrize("measure", ["passes", "nearest_class", "margin"])
def test_what_lies_before_the_dropout_serves_answers_and_refusals(problem, defence, measure):
    shape, unsure = problem.images.shape[1:], replace(defence.abstention, measure=measure)
    whole = replace(defence, abstention=unsure).victim("deny")
    last = sum(isinstance(layer, layers.Dense) for layer in problem.model.layers)
    assert 0 < products(whole.outputs, shape) <= products(defence.classifier, shape) + last


def test_denial_leaves_no_more_useful_answers_than_an_attack_on_the_student(problem, defence):
    def useful(victim):
        adversarial = ATTACK(victim, problem.images, problem.labels, epsilon=EPSILON)
        return defence.answer(adversarial).useful(problem.labels).mean()

    assert useful(defence.victim("deny")) <= useful(defence.classifier)


def same(first, second):
    np.testing.assert_array_equal(first.logits, second.logits)
    assert first.scores.keys() == second.scores.keys()
    for part, scores in first.scores.items():
        np.testing.assert_array_equal(scores, second.scores[part])
    assert first.thresholds == second.thresholds


PARTS = [(), ("autoencoder",), ("detector",), ("abstention",), ("autoencoder", "detector", "abstention")]


@pytest.mark.parametrize("parts", PARTS, ids=["student alone", "reform", "detector", "abstention", "all"])
def test_what_is_loaded_answers_and_is_attacked_as_what_was_saved(problem, defence, parts, tmp_path):
    given = {part: getattr(defence, part) for part in parts}
    made = Defence(student=defence.student, classes=CLASSES, temperature=3.0, **given)
    made.save(str(tmp_path / "defence"))
    loaded = Defence.load(str(tmp_path / "defence"))
    same(loaded.answer(problem.images), made.answer(problem.images))
    assert loaded.classes == CLASSES
    goal = "deny" if {"detector", "abstention"} & set(parts) else None
    logits = (one.victim(goal).predict_logits(problem.images, problem.labels) for one in (loaded, made))
    np.testing.assert_array_equal(*logits)
    assert all((getattr(loaded, part) is None) == (part not in parts) for part in PARTS[-1])


def test_the_same_defence_is_saved_as_the_same_bytes(defence, tmp_path):
    for name in ("first", "second"):
        defence.save(tmp_path / name)
    files = sorted(file.name for file in (tmp_path / "first").iterdir())
    assert files == ["autoencoder.keras", "defence.json", "student.keras"]
    assert all((tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes() for name in files)


@pytest.fixture(scope="module")
def with_outlier(problem, lesson):
    """A student that learned an outlier class from the problem's model, and abstains on half of what fools it."""
    settings = Student(labels="outlier", architecture="lenet", epochs=12, batch_size=16, learning_rate=0.003, seed=2)
    passes = {"passes": 10, "seed": 3}
    network, _ = distil(problem.model, *lesson, settings, temperature=1.0, **passes, validation=lesson)
    student = without_outlier(network)
    unsure = Abstention(network, "outlier", **passes, class_distributions=np.eye(4).tolist())
    adversarial = ATTACK(student, problem.images, problem.labels, epsilon=EPSILON)
    threshold = float(np.median(unsure.uncertainty(adversarial)))
    return Defence(student=student, classes=CLASSES, abstention=replace(unsure, threshold=threshold))


def test_the_student_of_a_network_with_an_outlier_class_is_a_plain_one(problem, with_outlier):
    answers = with_outlier.answer(problem.images)
    assert answers.logits.shape == (60, 4)
    assert (answers.best == problem.labels).mean() > 0.9
    # Products of four columns and of five may be rounded in another way.
    of_network = with_outlier.abstention.student.predict(problem.images)[:, :4]
    np.testing.assert_allclose(answers.logits, of_network, rtol=1e-6, atol=1e-6)


def test_an_outlier_class_is_saved_beside_the_student_and_answers_and_is_attacked_as_before(
    problem, with_outlier, tmp_path
):
    with_outlier.save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["defence.json", "outlier.keras", "student.keras"]
    loaded = Defence.load(tmp_path)
    same(loaded.answer(problem.images), with_outlier.answer(problem.images))
    for goal in ("deny", "deceive"):
        logits = (one.victim(goal).predict_logits(problem.images, problem.labels) for one in (loaded, with_outlier))
        np.testing.assert_array_equal(*logits)
    save_model(loaded.student, tmp_path / "outlier.keras")
    with pytest.raises(InputError, match=r"Abstention: outlier needs 4 logits and one more\. Received: 4"):
        Defence.load(tmp_path)
    path = tmp_path / COMPOSITION
    path.write_text(json.dumps(json.loads(path.read_text()) | {"networks": ["student"]}))
    with pytest.raises(InputError, match="networks: lists no outlier"):
        Defence.load(tmp_path)


@pytest.mark.parametrize("goal", ["deny", "deceive"])
def test_who_attacks_an_outlier_class_judges_as_it_does_and_reaches_more_than_who_does_not(problem, with_outlier, goal):
    def reached(victim):
        adversarial = ATTACK(victim, problem.images, problem.labels, epsilon=EPSILON)
        answers = with_outlier.answer(adversarial)
        won = answers.harmful(problem.labels) if goal == "deceive" else ~answers.useful(problem.labels)
        if victim is adaptive:
            np.testing.assert_array_equal(adaptive.fooled(adversarial, problem.labels), won)
        return won.mean()

    adaptive = with_outlier.victim(goal)
    assert reached(adaptive) >= reached(with_outlier.classifier) + (0.1 if goal == "deceive" else 0)


def test_a_defence_that_refuses_nothing_has_no_attacker_who_wants_a_refusal(problem):
    alone = Defence(student=problem.model, classes=CLASSES)
    assert alone.answer(problem.images).passed.all()
    with pytest.raises(InputError, match="a goal is for a defence that may refuse"):
        alone.victim("deny")


def test_parts_of_other_networks_are_refused(problem, defence):
    other = keras.models.clone_model(problem.model)
    with pytest.raises(InputError, match="Abstention: its student is another network than the defence's"):
        Defence(student=other, classes=CLASSES, abstention=defence.abstention)
    with pytest.raises(InputError, match="ReconstructionError: its autoencoder is another network"):
        Defence(student=problem.model, classes=CLASSES, autoencoder=other, detector=defence.detector)
    with pytest.raises(InputError, match=r"classes must be those of the student, 4\. Received: 1"):
        Defence(student=problem.model, classes=Classes(ids=[1], names=["a"]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"temperature": 0}, "temperature: .*Received: 0"),
        ({"networks": ["student"]}, "networks: lists no autoencoder"),
        ({"detector": {"name": "mse", "threshold": 0.1, "settings": {"width": 3}}}, "detector mse has no settings"),
        ({"detector": {"name": "sniff", "threshold": 0.1, "settings": {}}}, "detector must be one of mse.*'sniff'"),
        ({"classes": {"ids": [1], "names": ["a"]}}, "classes must be those of the student"),
    ],
)
def test_a_damaged_composition_is_named(defence, tmp_path, change, said):
    defence.save(tmp_path)
    path = tmp_path / COMPOSITION
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=rf"defence\.json: {said}"):
        Defence.load(tmp_path)


def test_missing_and_swapped_networks_are_named(defence, tmp_path):
    defence.save(tmp_path)
    save_model(defence.student, tmp_path / "autoencoder.keras")
    with pytest.raises(InputError, match=r"autoencoder\.keras: no autoencoder of"):
        Defence.load(tmp_path)
    (tmp_path / "student.keras").unlink()
    with pytest.raises(InputError, match=r"student\.keras: not found"):
        Defence.load(tmp_path)
