"""A model's faster equal for attack time: batch normalisation folded away, inner layers in bfloat16."""

from collections import Counter
from typing import Any

import keras
import numpy as np
from keras import layers

from robust_distillation.arrays import Array
from robust_distillation.classifiers.training import has_bfloat16
from robust_distillation.errors import InputError
from robust_distillation.settings import Precision
from robust_distillation.threats.evasion.victim import Victim

FOLDABLE = (layers.Conv2D, layers.Dense)  # with the output channel last in their kernels


def accelerated(model: keras.Model, *, precision: Precision = "float32", **settings: Any) -> Victim:
    """Return the model as a victim on whose faster equal attacks search, while it judges itself what they find.

    Args:
        model: a functional or sequential Keras model that returns logits.
        precision: of the inner layers. With `bfloat16` the first and the last layer stay in float32, so that a small
            change of a pixel is seen and logits are not rounded to three digits. A processor that would have to imitate
            bfloat16 computes all of it in float32.
        settings: of `Victim`.

    Raises:
        InputError: the model is of another kind, or the precision is unknown.

    Example:
        >>> victim = rd.accelerated(model, precision="bfloat16")
        >>> adversarial = rd.PGD(early_stop=True)(victim, images, labels, epsilon=0.1)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([4, 5])
    """
    quickest: Precision = "float32" if precision == "bfloat16" and not has_bfloat16() else precision
    return Victim(model, **settings, stand_in=Victim(folded(model, quickest), **settings))


def folded(model: keras.Model, precision: Precision = "float32") -> keras.Model:
    """Clone a model with each batch normalisation folded into the convolution or dense layer before it.

    The clone is for inference: w' = w s and b' = (b - mean) s + beta with s = gamma / sqrt(variance + epsilon). A batch
    normalisation that follows anything else stays.

    Args:
        model: a functional or sequential Keras model.
        precision: as for `accelerated`.

    Raises:
        InputError: the model is of another kind, or the precision is unknown.
    """
    if precision not in ("float32", "bfloat16"):
        raise InputError(f"precision must be 'float32' or 'bfloat16'. Received: {precision!r}")
    if not getattr(model, "inputs", None):
        raise InputError(f"only functional and sequential Keras models can be folded. Received: {type(model).__name__}")
    source = keras.Model(model.inputs, model.outputs)
    norms = _foldable(source)
    dropped = {norm.name for norm in norms.values()}
    exact = _ends(source)

    def clone(layer: layers.Layer) -> layers.Layer:
        if isinstance(layer, keras.Model):
            return folded(layer, precision)
        config = layer.get_config()
        if layer.name in norms:
            config["use_bias"] = True
        if precision == "bfloat16" and layer.name not in exact and not isinstance(layer, layers.InputLayer):
            config["dtype"] = "mixed_bfloat16"
        return layer.__class__.from_config(config)

    def call(layer: layers.Layer, *args: Any, **kwargs: Any) -> Any:
        return args[0] if layer.name in dropped else layer(*args, **kwargs)

    faster = keras.models.clone_model(source, clone_function=clone, call_function=call)
    for layer in source.layers:
        if layer.name in norms:
            faster.get_layer(layer.name).set_weights(_merged(layer, norms[layer.name]))
        elif layer.weights and layer.name not in dropped and not isinstance(layer, keras.Model):
            faster.get_layer(layer.name).set_weights(layer.get_weights())
    return faster


def _foldable(model: keras.Model) -> dict[str, layers.BatchNormalization]:
    """Return the batch normalisations to fold, by the name of the linear layer whose only consumer they are."""
    nodes = _nodes(model)
    calls = Counter(node.operation.name for node in nodes)
    edges = [(parent.operation, node.operation) for node in nodes for parent in node.parent_nodes]
    consumers = Counter(source.name for source, _ in edges)
    return {
        source.name: norm
        for source, norm in edges
        if type(norm) is layers.BatchNormalization
        and type(source) in FOLDABLE
        and source.activation is keras.activations.linear
        and norm.axis in (-1, len(source.output.shape) - 1)
        and calls[source.name] == calls[norm.name] == consumers[source.name] == 1
    }


def _ends(model: keras.Model) -> set[str]:
    """Return the names of the layers that read the model's input or give its output."""
    first = {
        node.operation.name
        for node in _nodes(model)
        if any(isinstance(parent.operation, layers.InputLayer) for parent in node.parent_nodes)
    }
    return first | {output._keras_history.operation.name for output in model.outputs}


def _nodes(model: keras.Model) -> list[Any]:
    """Return the calls of layers that make this model up; layers may have been called elsewhere as well."""
    return [node for level in model._nodes_by_depth.values() for node in level]


def _merged(layer: layers.Layer, norm: layers.BatchNormalization) -> list[Array]:
    weights = [weight.astype(np.float64) for weight in layer.get_weights()]
    kernel, bias = weights if layer.use_bias else (weights[0], 0.0)
    mean, variance = (np.asarray(value, np.float64) for value in (norm.moving_mean, norm.moving_variance))
    scale = (np.asarray(norm.gamma, np.float64) if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
    shift = np.asarray(norm.beta, np.float64) if norm.center else 0.0
    return [kernel * scale, (bias - mean) * scale + shift]
