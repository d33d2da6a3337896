"""The sides of a comparison: this project, ART, foolbox, the original AutoAttack, and the limit."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np

from robust_distillation.arrays import Array

from .cases import EPSILON, Case, Setting
from .torch_models import channels_first, converted

Run = Callable[[Array, Array], Array]  # images and labels to adversarial images
Build = Callable[[int], Run]  # for a batch size


def in_batches(attack: Run, batch_size: int) -> Run:
    """Return an attack that meets the images batch by batch."""

    def run(images: Array, labels: Array) -> Array:
        rows = [slice(first, first + batch_size) for first in range(0, len(images), batch_size)]
        return np.concatenate([attack(images[row], labels[row]) for row in rows])

    return run


def ours(case: Case, model: Any, setting: Setting, batch_size: int) -> Run:
    """Return our side."""
    module, name = case.ours[0].split(".")
    attack_class = getattr(import_module(f"robust_distillation.threats.evasion.{module}"), name)
    attack = attack_class(**case.ours[1] | setting.changes)
    victim = setting.victim(model, batch_size)
    return partial(attack.minimal, victim) if case.norm == "l2" else partial(attack, victim, epsilon=case.epsilon)


def compiled(model: Any) -> Callable[..., Any]:
    """Return the model in a `tf.function`, traced once, called as Keras models are."""
    import tensorflow as tf

    graph = tf.function(
        lambda images: model(images, training=False), input_signature=[tf.TensorSpec(model.input_shape, tf.float32)]
    )
    graph.get_concrete_function()
    return lambda images, training=False: graph(tf.cast(images, tf.float32))


def art_classifier(model: Any, forward: Callable[..., Any]) -> Any:
    """Return a model as ART takes it."""
    import tensorflow as tf
    from art.estimators.classification import TensorFlowV2Classifier

    # ART 1.20 asks Keras for the names of reductions that Keras 3 takes as text.
    names = ("none", "sum", "sum_over_batch_size")
    tf.keras.losses.Reduction = SimpleNamespace(**{name.upper(): name for name in names})
    classifier = TensorFlowV2Classifier(
        forward,
        nb_classes=model.output_shape[-1],
        input_shape=model.input_shape[1:],
        loss_object=tf.keras.losses.CategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )
    for count in (2, 3):  # Its graph is traced for the first shape and, for all others, at the second.
        classifier.predict(np.zeros((count, *classifier.input_shape), np.float32))
    return classifier


def art(case: Case, model: Any, forward: Callable[..., Any], batch_size: int) -> Run:
    """Return ART's side."""
    assert case.art is not None
    attack_class = getattr(import_module("art.attacks.evasion"), case.art[0])
    run: Run = attack_class(art_classifier(model, forward), **case.art[1], batch_size=batch_size).generate
    return run


def foolbox(case: Case, model: Any, forward: Callable[..., Any], batch_size: int) -> Run:
    """Return foolbox's side, without the checks of the result that its public call adds."""
    import foolbox
    import tensorflow as tf
    from foolbox.models.tensorflow import TensorFlowModel

    assert case.foolbox is not None
    attack = getattr(foolbox.attacks, case.foolbox[0])(**case.foolbox[1])
    bounded = TensorFlowModel(forward, bounds=(0, 1), device="/CPU:0")
    radius = {"epsilon": case.epsilon} if case.norm == "linf" else {}

    def run(images: Array, labels: Array) -> Array:
        wrong = foolbox.criteria.Misclassification(tf.constant(labels))
        adversarial: Array = attack.run(bounded, tf.constant(images), wrong, **radius).numpy()
        return adversarial

    return in_batches(run, batch_size)


def original(model: Any, batch_size: int, *, attack: str | None = None, queries: int = 5000) -> Run:
    """Return the original AutoAttack: one of its attacks with one restart, or the standard ensemble."""
    import torch
    from pyautoattack.autoattack import AutoAttack

    chosen: dict[str, Any] = {"version": "custom", "attacks": [attack]} if attack else {"version": "standard"}
    judge = AutoAttack(converted(model), norm="Linf", eps=EPSILON, seed=0, device="cpu", **chosen)
    judge.apgd.n_restarts = judge.fab.n_restarts = 1
    judge.square.n_queries = queries

    def run(images: Array, labels: Array) -> Array:
        found, _ = judge.run_standard_evaluation(
            channels_first(images), torch.from_numpy(labels), batch_size=batch_size
        )
        adversarial: Array = found.numpy().transpose(0, 2, 3, 1)
        return adversarial

    return run


def bare_gradients(model: Any, steps: int, batch_size: int) -> Run:
    """Return a gradient of the cross-entropy for each image, computed `steps` times: the limit."""
    import tensorflow as tf

    def gradient(images: Any, labels: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            logits = model(images, training=False)
            loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        return tape.gradient(loss, images)

    signature = [tf.TensorSpec(model.input_shape, tf.float32), tf.TensorSpec([None], tf.int64)]
    graph = tf.function(gradient, input_signature=signature)
    return in_batches(lambda images, labels: [graph(images, labels).numpy() for _ in range(steps)][-1], batch_size)


def peers_of(case: Case, model: Any) -> dict[str, Build]:
    """Return who else has this attack."""
    builds: dict[str, Build] = {}
    for name, library in (("art", art), ("foolbox", foolbox)):
        if getattr(case, name):
            builds[name] = partial(library, case, model, model)
            builds[f"{name}-compiled"] = partial(library, case, model, compiled(model))
    if case.autoattack:
        builds["autoattack"] = partial(original, model, attack=case.autoattack, queries=case.steps)
    return builds
