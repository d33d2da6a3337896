"""FGSM on one image, in numbers and in pictures (Goodfellow, Shlens and Szegedy 2015)."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table
from scipy.special import log_softmax

from robust_distillation.arrays import Array
from robust_distillation.classifiers.training import predict_logits
from robust_distillation.defences.distillation import soften
from robust_distillation.errors import InputError
from robust_distillation.settings import format_epsilon
from robust_distillation.threats.evasion.sign import FGSM

POINTS = 33  # along a direction
DRAWS = 20  # directions at random, to compare with
BEYOND = 1.5  # how far, in the largest epsilon


@dataclass(frozen=True, kw_only=True)
class Walk:
    """What a model says along the way from an image in a direction.

    Attributes:
        steps: how far each pixel has moved (M,).
        logits: float32 (M, K).
        losses: (M,) cross-entropies of the label.
        noise: (M,) means of these losses along `DRAWS` directions whose signs are drawn.
    """

    steps: Array
    logits: Array
    losses: Array
    noise: Array


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """FGSM on one image.

    Attributes:
        image: float32 (H, W, C) in [0, 1].
        label: y, the class whose loss is ascended.
        names: of the classes.
        gradient: of the loss with respect to the image, (H, W, C).
        epsilons: ascending (E,).
        adversarial: an image for each, (E, H, W, C).
        logits: of the image and of these, float32 (E + 1, K).
        walk: along the sign of the gradient.
    """

    image: Array
    label: int
    names: Sequence[str]
    gradient: Array
    epsilons: tuple[float, ...]
    adversarial: Array
    logits: Array
    walk: Walk

    @property
    def probabilities(self) -> Array:
        """Of the classes for the image and each adversarial one, float32 (E + 1, K)."""
        return soften(self.logits, 1.0)

    @property
    def answers(self) -> Array:
        """The model's answers to these, integers (E + 1,)."""
        return np.asarray(self.logits.argmax(axis=1))

    def first_order(self, steps: Array) -> Array:
        """Return the losses (M,) that the gradient foretells: each pixel adds its own |gradient| times the step."""
        foretold: Array = self.walk.losses[0] + np.abs(self.gradient).sum() * steps
        return foretold

    def table(self) -> Table:
        """Return answers, confidences and losses by epsilon."""
        table = Table("epsilon", "answer", "confidence", f"of {self.names[self.label]}", "loss", title="FGSM")
        table.add_column("as the gradient foretells")
        table.add_column("signs at random")
        steps = np.array([0.0, *self.epsilons])
        foretold, noise = self.first_order(steps), np.interp(steps, self.walk.steps, self.walk.noise)
        losses = _losses(self.logits, self.label)
        for step, answer, row, loss, expected, drawn in zip(
            steps, self.answers, self.probabilities, losses, foretold, noise, strict=True
        ):
            table.add_row(
                "0" if step == 0 else format_epsilon(step),
                self.names[answer],
                f"{row[answer]:.3f}",
                f"{row[self.label]:.3f}",
                f"{loss:.3f}",
                f"{expected:.3f}",
                f"{drawn:.3f}",
            )
        return table

    def figure(self) -> Figure:
        """Draw images and what was added to them, and loss and logits along the way."""
        count = len(self.epsilons) + 1
        figure = Figure(figsize=(2.3 * max(count, 3), 7.4), layout="constrained")
        grid = figure.add_gridspec(2, 1, height_ratios=(2, 1))
        above, below = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
        amplified = 0.5 / self.epsilons[-1]
        added = 0.5 + amplified * (self.adversarial - self.image)
        titles = [f"epsilon {format_epsilon(epsilon)}" for epsilon in self.epsilons]
        tops = [("the image", self.image), *zip(titles, self.adversarial, strict=True)]
        bottoms = [("sign of the gradient", 0.5 + np.sign(self.gradient) / 2)]
        bottoms += [(f"added, x {amplified:.0f}", one) for one in added]
        for row, (line, axes) in enumerate(zip((tops, bottoms), above.subplots(2, count, squeeze=False), strict=True)):
            for column, ((title, pixels), panel) in enumerate(zip(line, axes, strict=True)):
                panel.imshow(np.squeeze(np.clip(pixels, 0, 1)), cmap="gray", vmin=0, vmax=1)
                panel.set(title=title, xticks=[], yticks=[])
                if row == 0:
                    panel.set_xlabel(f"{self.names[self.answers[column]]}\n{self.probabilities[column].max():.1%}")
        losses, logits = below.subplots(1, 2)
        self._draw_losses(losses)
        self._draw_logits(logits)
        return figure

    def _draw_losses(self, axes: Axes) -> None:
        steps = self.walk.steps * 255
        axes.plot(steps, self.walk.losses, label="signs of the gradient")
        axes.plot(steps, self.walk.noise, label="signs at random")
        top = axes.get_ylim()[1]
        axes.plot(steps, self.first_order(self.walk.steps), ":", color="grey", label="as the gradient foretells")
        axes.set(xlabel="change of each pixel, of 255", ylabel="loss", ylim=(0, top))
        axes.legend(fontsize=8)

    def _draw_logits(self, axes: Axes) -> None:
        shown = dict.fromkeys([self.label, *self.answers])
        if len(shown) == 1:
            shown[int(np.argsort(self.logits[-1])[-2])] = None
        for label in shown:
            axes.plot(self.walk.steps * 255, self.walk.logits[:, label], label=self.names[label])
        axes.set(xlabel="change of each pixel, of 255", ylabel="logit")
        axes.legend(fontsize=8)


def explain(
    model: keras.Model,
    image: Array,
    *,
    label: int | None = None,
    names: Sequence[str] | None = None,
    epsilons: Sequence[float] = (2 / 255, 4 / 255, 8 / 255),
    seed: int = 0,
) -> Explanation:
    """Attack one image by FGSM, and follow loss and logits along the way.

    Args:
        model: images to logits.
        image: float32 (H, W, C) in [0, 1].
        label: y, the true class; the model's own answer by default.
        names: of the classes; their numbers by default.
        epsilons: in [0, 1] units.
        seed: of the directions at random.

    Raises:
        InputError: the image is not of the model's shape, or the label is no class of it.

    Example:
        >>> found = rd.explain(model, images[4], epsilons=[0.1])
        >>> found.answers.tolist()
        [0, 1]
    """
    if tuple(model.input_shape[1:]) != image.shape:
        raise InputError(f"the model takes images of shape {model.input_shape[1:]}. Received: {image.shape}")
    clean = predict_logits(model, image[None])
    classes = clean.shape[1]
    chosen = int(clean.argmax()) if label is None else label
    if not 0 <= chosen < classes:
        raise InputError(f"the label must lie in 0 to {classes - 1}, the classes of the model. Received: {label}")
    ordered, labels = tuple(sorted(epsilons)), np.array([chosen])
    attack = FGSM()
    adversarial = np.concatenate([attack(model, image[None], labels, epsilon=epsilon) for epsilon in ordered])
    with tf.GradientTape() as tape:
        batch = tf.constant(image[None])
        tape.watch(batch)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(batch, training=False))
    gradient = tape.gradient(loss, batch).numpy()[0]
    return Explanation(
        image=image,
        label=chosen,
        names=[str(number) for number in range(classes)] if names is None else names,
        gradient=gradient,
        epsilons=ordered,
        adversarial=adversarial,
        logits=np.concatenate([clean, predict_logits(model, adversarial)]),
        walk=_walk(model, image, chosen, np.sign(gradient), BEYOND * ordered[-1], seed),
    )


def _walk(model: keras.Model, image: Array, label: int, direction: Array, end: float, seed: int) -> Walk:
    steps = np.linspace(0, end, POINTS, dtype=np.float32)
    logits = _along(model, image, direction, steps)
    rng = np.random.default_rng(seed)
    drawn = [_losses(_along(model, image, rng.choice([-1.0, 1.0], image.shape), steps), label) for _ in range(DRAWS)]
    return Walk(steps=steps, logits=logits, losses=_losses(logits, label), noise=np.mean(drawn, axis=0))


def _along(model: keras.Model, image: Array, direction: Array, steps: Array) -> Array:
    moved = np.clip(image + steps[:, None, None, None] * direction, 0, 1)
    return predict_logits(model, moved.astype(np.float32))


def _losses(logits: Array, label: int) -> Array:
    losses: Array = -log_softmax(logits, axis=1)[:, label]
    return losses
