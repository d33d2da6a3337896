"""The model as an attacker holds it: logits, gradients and answers, of a classifier alone or of a whole defence."""

import warnings
from collections.abc import Callable, Hashable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import keras
import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError, UnreliableWarning
from robust_distillation.threats.evasion.losses import Loss

Model = Callable[[Any], Any]
Goal = Literal["deny", "deceive"]
P = ParamSpec("P")
R = TypeVar("R")


class Victim:
    """A model under attack.

    Where a defence may refuse an image (abstain or flag it), the refusal becomes part of the logits, so that every
    attack adapts to it unchanged. With the goal `deny` the attacker wants anything but a right answer: refusal is one
    more class, K, with the logit max(logits) + refusal. With `deceive` the attacker wants a wrong answer that is not
    refused: the logit of the true class becomes max(its logit, max(logits) + refusal). Both put the joint constraint of
    Tramer et al. 2020 (*On Adaptive Attacks*, section 2) into one margin.

    Args:
        model: maps float32 images (N, H, W, C) in [0, 1] to logits (N, K), differentiably. Use `bpda` for parts without
            a gradient.
        temperature: divides the logits. A model distilled at temperature T has logits T times too large, and in
            float32 its gradients vanish unless they are divided by T again (Carlini and Wagner 2017).
        refusal: maps images to margins (N,), above 0 where the image is refused, differentiably; None refuses nothing.
        goal: of the attacker where there is a refusal; None for `deceive`.
        draws: passes that each gradient and each answer averages over, for a model that draws at random (expectation
            over transformation, Athalye et al. 2018, section 3).
        batch_size: images that go through the model at once.
        stand_in: a faster victim of the same answers, but for rounding, that attacks search on; what fools it and not
            this model is attacked again on this model. See `acceleration`.

    Raises:
        InputError: the model is no model, or a setting is out of range or makes no sense without another.

    Example:
        A defence that refuses what is within 0.1 of the boundary falls to larger changes:

        >>> brightness = keras.layers.GlobalAveragePooling2D()
        >>> def refusal(images):
        ...     return 0.1 - keras.ops.abs(brightness(images)[:, 0] - 0.5)
        >>> guarded = rd.Victim(model, refusal=refusal)
        >>> np.flatnonzero(guarded.fooled(rd.PGD()(guarded, images, labels, epsilon=0.1), labels))
        array([], dtype=int64)
        >>> np.flatnonzero(guarded.fooled(rd.PGD()(guarded, images, labels, epsilon=0.2), labels))
        array([4, 5])
    """

    def __init__(
        self,
        model: Model,
        *,
        temperature: float = 1.0,
        refusal: Model | None = None,
        goal: Goal | None = None,
        draws: int = 1,
        batch_size: int = 250,
        stand_in: "Victim | None" = None,
    ) -> None:
        check_model(model)
        if not temperature > 0:
            raise InputError(f"temperature must be above 0. Received: {temperature!r}")
        if goal not in (None, "deny", "deceive"):
            raise InputError(f"goal must be 'deny' or 'deceive'. Received: {goal!r}")
        if goal and refusal is None:
            raise InputError(
                f"a goal is for a defence that may refuse images: give its refusal, or leave the goal out. "
                f"Received: {goal!r}"
            )
        if draws < 1 or batch_size < 1:
            raise InputError(f"draws and batch_size must be at least 1. Received: {draws!r} and {batch_size!r}")
        self.model = model
        self.temperature = temperature
        self.refusal = refusal
        self.goal = goal or "deceive"
        self.draws = draws
        self.batch_size = batch_size
        self.stand_in = stand_in
        self.n_classes = 0
        self._graphs: dict[Any, Callable[..., Any]] = {}
        self._pass = tf.function(self._logits)

    def logits(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Return logits / temperature of one pass, refusal included, inside a graph.

        A function of its own, which all graphs call: it is traced, and differentiated, once.
        """
        logits: tf.Tensor = self._pass(images, tf.cast(labels, tf.int32))
        return logits

    def _logits(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        outputs, margins = self.outputs(images)
        logits = tf.cast(outputs, tf.float32) / self.temperature
        if margins is None:
            return logits
        refused = tf.reduce_max(logits, axis=1) + margins
        if self.goal == "deny":
            return tf.concat([logits, refused[:, None]], axis=1)
        mine = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False, dtype=tf.bool)
        return tf.where(mine, tf.maximum(logits, refused[:, None]), logits)

    def outputs(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return what the model gives (N, K), and margins (N,) above 0 where it refuses; None if it never does."""
        return self.model(images), None if self.refusal is None else self.refusal(images)

    def averaged_logits(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Return the mean of `logits` over the draws, inside a graph."""
        if self.draws == 1:
            return self.logits(images, labels)
        total = self.logits(images, labels)
        for _ in tf.range(self.draws - 1):
            total += self.logits(images, labels)
        return total / self.draws

    def gradient(
        self, images: tf.Tensor, labels: tf.Tensor, loss: Loss, aims: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return losses (N,), logits (N, K) and the gradient (N, H, W, C), means over the draws, inside a graph.

        Args:
            images: float32 (N, H, W, C).
            labels: the true classes.
            loss: of logits and `aims`.
            aims: the classes that the loss looks at; None for the true ones.
        """
        found = self._one_gradient(images, labels, loss, labels if aims is None else aims)
        if self.draws == 1:
            return found
        values, logits, gradient = found
        for _ in tf.range(self.draws - 1):
            more = self._one_gradient(images, labels, loss, labels if aims is None else aims)
            values, logits, gradient = values + more[0], logits + more[1], gradient + more[2]
        return values / self.draws, logits / self.draws, gradient / self.draws

    def _one_gradient(
        self, images: tf.Tensor, labels: tf.Tensor, loss: Loss, aims: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        def differentiate(
            images: tf.Tensor, labels: tf.Tensor, aims: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(images)
                logits = self.logits(images, labels)
                values = loss(logits, aims)
            gradient = tape.gradient(values, images)
            if gradient is None:
                raise InputError(
                    "the model has no gradient with respect to its images: wrap the part without one in `bpda`"
                )
            return values, logits, gradient

        # Nothing in it needs AutoGraph, which would parse its source again for each attack.
        graph = in_own_graph(tf.autograph.experimental.do_not_convert(differentiate))
        found: tuple[tf.Tensor, tf.Tensor, tf.Tensor] = graph(images, labels, aims)
        return found

    def run(self, key: Any, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function` as a graph, which is traced once for this victim and this hashable key.

        Args:
            key: names what `function` depends on besides its arguments.
            function: of tensors.
            arguments: arrays whose first dimension may vary from call to call, and scalars.
        """
        tensors = [tf.convert_to_tensor(argument) for argument in arguments]
        specs = tuple(tf.TensorSpec((None, *tensor.shape[1:])[: tensor.shape.rank], tensor.dtype) for tensor in tensors)
        if (key, specs) not in self._graphs:
            self._graphs[key, specs] = tf.function(function, input_signature=specs)
        try:
            return self._graphs[key, specs](*tensors)
        except InputError as error:  # which TensorFlow wraps in the lines of code that led there
            raise InputError(str(error).rsplit("InputError: ", 1)[-1].strip()) from None

    def predict_logits(self, images: Array, labels: Array) -> Array:
        """Return logits / temperature, float32 (N, K), as attacks see them, in batches.

        Raises:
            InputError: one is not finite.
        """
        rows = self.batches(len(images))
        batches = [self.run("logits", self.averaged_logits, images[row], labels[row]).numpy() for row in rows]
        logits = np.concatenate(batches) if batches else np.zeros((0, self.n_classes), np.float32)
        if not np.isfinite(logits).all():
            broken = (~np.isfinite(logits)).any(axis=1).sum()
            raise InputError(
                f"the model returns values that are not finite on {broken} of {len(images)} images, clean or attacked; "
                "mend it, for neither its answers nor its gradients mean anything there"
            )
        return logits

    def fooled(self, images: Array, labels: Array, targets: Array | None = None) -> Array:
        """Return booleans (N,): the answer differs from the label, or is the target where there are targets."""
        if not len(images):
            return np.zeros(0, bool)
        answers = self.predict_logits(images, labels).argmax(axis=1)
        fooled: Array = answers != labels if targets is None else answers == targets
        return fooled

    def batches(self, count: int) -> list[slice]:
        """Return the rows of each batch."""
        return [slice(first, first + self.batch_size) for first in range(0, count, self.batch_size)]

    def check(self, images: Array, labels: Array, name: str = "labels") -> None:
        """Look at the outputs on a few images, once, and at the labels, which go by `name`.

        Raises:
            InputError: the model takes images of another shape, its outputs are not finite or not (N, K), or a label is
                no class.

        Warns:
            UnreliableWarning: the outputs look like probabilities.
        """
        takes = getattr(self.model, "input_shape", images.shape)
        if len(takes) != 4 or any(size not in (None, given) for size, given in zip(takes, images.shape, strict=True)):
            raise InputError(f"images must have the shape (N, H, W, C) of the model, {takes}. Received: {images.shape}")
        if not self.n_classes and len(images):
            outputs = np.asarray(self.model(tf.constant(images[:16])))
            if outputs.ndim != 2 or len(outputs) != len(images[:16]):
                raise InputError(f"the model must return logits (N, K). Received: shape {outputs.shape}")
            if not np.isfinite(outputs).all():
                raise InputError("the model returns values that are not finite; mend it before it is attacked")
            if looks_like_softmax(outputs):
                warnings.warn(
                    "the model returns probabilities, whose gradients vanish where it is sure: attack its logits "
                    "(drop the last softmax)",
                    UnreliableWarning,
                    stacklevel=4,
                )
            self.n_classes = outputs.shape[1]
        if len(labels) and (labels.min() < 0 or labels.max() >= self.n_classes):
            raise InputError(
                f"{name} must lie in 0 to {self.n_classes - 1}, the classes of the model. "
                f"Received: {labels.min()} to {labels.max()}"
            )


def in_own_graph(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function of tensors that keeps a graph of its own where it is called in a loop of another graph.

    TensorFlow's oneDNN pass visits the nodes of a graph with a loop in no reliable order, and where it meets the
    gradient of a max pooling before the pooling itself, it leaves it to a kernel that is 15 times as slow.
    """
    graph: Callable[P, R] = tf.function(function, experimental_attributes={"_noinline": True})
    return graph


def looks_like_softmax(outputs: Array) -> bool:
    """Tell whether outputs (N, K) are probabilities: none negative, and each row sums to 1."""
    return bool(outputs.min() >= 0 and np.abs(outputs.sum(axis=1) - 1).max() < 1e-3)


def check_model(model: Any) -> None:
    """Check that something is a model that may have a gradient.

    Raises:
        InputError: it is a path, cannot be called, or is the `predict` of a Keras model.
    """
    if isinstance(model, str | Path):
        raise InputError(f"the model must be loaded first: keras.models.load_model({str(model)!r}). Received: a path")
    if not callable(model):
        raise InputError(f"the model must map images to logits. Received: {type(model).__name__}")
    if isinstance(getattr(model, "__self__", None), keras.Model) and model.__name__.startswith("predict"):
        raise InputError(f"pass the model itself, not model.{model.__name__}, which has no gradient")


def as_victim(model: "Model | Victim") -> Victim:
    """Return the victim itself, or a model as the victim of an attack with all defaults.

    Raises:
        InputError: as for `Victim`.
    """
    if isinstance(model, Victim):
        return model
    return _plain_victim(model) if isinstance(model, Hashable) else Victim(model)


@lru_cache(maxsize=8)
def _plain_victim(model: Model) -> Victim:
    return Victim(model)


def bpda(forward: Model, backward: Model = tf.identity) -> Model:
    """Return a map that computes `forward` and differentiates `backward` (backward pass differentiable approximation).

    For parts without a useful gradient, such as a median filter or quantisation (Athalye et al. 2018, section 4).

    Args:
        forward: what is deployed, tensor to tensor; wrap NumPy code in `tf.numpy_function`.
        backward: a differentiable stand-in with outputs of the same shape; the identity by default.

    Example:
        A defence of four grey levels has no gradient of its own:

        >>> levels = rd.bpda(lambda images: keras.ops.round(images * 3) / 3)
        >>> victim = rd.Victim(lambda images: model(levels(images)))
        >>> adversarial = rd.PGD()(victim, images, labels, epsilon=0.1)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([4, 5])
    """

    def through(images: tf.Tensor) -> tf.Tensor:
        smooth = backward(images)
        exact = tf.ensure_shape(tf.stop_gradient(forward(images)), smooth.shape)
        return smooth + tf.stop_gradient(exact - smooth)

    return through
