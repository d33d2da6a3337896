"""The denoising autoencoder: a convolutional network that maps distorted images to clean ones."""

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from pydantic import Field
from pydantic.dataclasses import dataclass

from robust_distillation.arrays import Array
from robust_distillation.classifiers.training import (
    STEPS_AT_ONCE,
    History,
    seed_everything,
    shuffled_batches,
    whole_batches,
)
from robust_distillation.dataset.pixels import quantise
from robust_distillation.defences.settings import Autoencoder
from robust_distillation.files import STRICT
from robust_distillation.settings import Count, format_epsilon
from robust_distillation.threats.evasion.ensemble import craft
from robust_distillation.threats.evasion.victim import Model

Pairs = tuple[Array, Array]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Hyperparameters:
    """What keras-tuner searches.

    Attributes:
        width: channels of the first level; each further level has twice as many.
        depth: number of levels, each of which halves height and width.
        latent: channels of the bottleneck.
        optimizer: `adam` or `sgd` (with Nesterov momentum 0.9).
        learning_rate: of the optimizer.

    Example:
        >>> rd.Hyperparameters(width=4, depth=1, latent=2, optimizer="adam", learning_rate=0.01).width
        4
    """

    width: Count
    depth: Count
    latent: Count
    optimizer: Literal["adam", "sgd"]
    learning_rate: Annotated[float, Field(gt=0)]


def build_autoencoder(shape: tuple[int, ...], chosen: Hyperparameters) -> keras.Model:
    """Build and compile an autoencoder with mean squared error as its loss.

    Args:
        shape: (H, W, C); H and W are padded inside to a multiple of 2**depth.
        chosen: the hyperparameters.

    Returns:
        A model from float32 images in [0, 1] to reconstructions of the same shape and range.

    Example:
        >>> chosen = rd.Hyperparameters(width=4, depth=1, latent=2, optimizer="adam", learning_rate=0.01)
        >>> rd.build_autoencoder((8, 8, 1), chosen).output_shape
        (None, 8, 8, 1)
    """
    height, width, channels = shape
    bottom, right = -height % 2**chosen.depth, -width % 2**chosen.depth
    image = keras.Input(shape)
    x = layers.ZeroPadding2D(((0, bottom), (0, right)))(image)
    for level in range(chosen.depth):
        x = layers.Conv2D(chosen.width * 2**level, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(chosen.width * 2**level, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(chosen.latent, 3, padding="same", activation="relu", name="bottleneck")(x)
    for level in reversed(range(chosen.depth)):
        x = layers.Conv2DTranspose(chosen.width * 2**level, 4, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(channels, 3, padding="same", activation="sigmoid")(x)
    model = keras.Model(image, layers.Cropping2D(((0, bottom), (0, right)))(x), name="autoencoder")
    optimizers = {
        "adam": lambda: keras.optimizers.Adam(chosen.learning_rate),
        "sgd": lambda: keras.optimizers.SGD(chosen.learning_rate, momentum=0.9, nesterov=True),
    }
    model.compile(optimizer=optimizers[chosen.optimizer](), loss="mse", steps_per_execution=STEPS_AT_ONCE)
    return model


def adversarial_pairs(images: Array, labels: Array, model: Model, settings: Autoencoder) -> dict[str, Pairs]:
    """Make (distorted, clean) pairs from clean images: unchanged, and attacked through the defender's own model.

    The attacked images are rounded to grey levels, as stored poison is.

    Args:
        images: uint8 (N, H, W, C).
        labels: integers (N,).
        model: the defender's own classifier.
        settings: kinds, epsilons, step size, iterations and seed of the attacks.

    Returns:
        Pairs of float32 arrays (N, H, W, C) in [0, 1], by name: `clean`, then `KIND EPSILON`.
    """
    clean = images.astype(np.float32) / 255
    pairs = {"clean": (clean, clean)}
    for cell, (kind, epsilon) in enumerate(product(settings.kinds, settings.epsilons)):
        adversarial = craft(
            kind,
            model,
            clean,
            labels,
            epsilon=epsilon,
            alpha=settings.alpha,
            iterations=settings.iterations,
            seed=settings.seed + cell,
        )
        distorted = quantise(images, adversarial).astype(np.float32) / 255
        pairs[f"{kind} {format_epsilon(epsilon)}"] = (distorted, clean)
    return pairs


def gaussian_pairs(images: Array, settings: Autoencoder) -> dict[str, Pairs]:
    """Make (noisy, clean) pairs with Gaussian noise of standard deviation `settings.noise`, clipped to [0, 1].

    Args:
        images: uint8 (N, H, W, C).
        settings: noise and seed.
    """
    clean = images.astype(np.float32) / 255
    noise = np.random.default_rng(settings.seed).normal(0, settings.noise, clean.shape).astype(np.float32)
    return {f"gaussian {settings.noise:g}": (np.clip(clean + noise, 0, 1), clean)}


def join(pairs: dict[str, Pairs]) -> Pairs:
    """Concatenate all kinds of pairs into one."""
    return np.concatenate([x for x, _ in pairs.values()]), np.concatenate([y for _, y in pairs.values()])


def flipped_batches(pairs: Pairs, batch_size: int, seed: int) -> tf.data.Dataset:
    """Return shuffled batches of pairs, each pair flipped and turned at random, otherwise in every epoch.

    A reconstruction does not depend on what a sign means, so all eight symmetries of the square are legal here, and the
    four of the rectangle where an image is none. The draws depend on the seed alone.
    """
    height, width = pairs[0].shape[1:3]

    def flip(batch: Pairs, draw: tf.Tensor) -> Pairs:
        stacked = tf.concat(batch, axis=-1)
        coins = tf.random.stateless_uniform((3, tf.shape(stacked)[0], 1, 1, 1), (seed, draw)) < 0.5
        stacked = tf.where(coins[0], tf.reverse(stacked, [1]), stacked)
        stacked = tf.where(coins[1], tf.reverse(stacked, [2]), stacked)
        if height == width:
            stacked = tf.where(coins[2], tf.transpose(stacked, (0, 2, 1, 3)), stacked)
        distorted, clean = tf.split(stacked, 2, axis=-1)
        return distorted, clean

    draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip(shuffled_batches(pairs, batch_size, seed), draws).map(flip).prefetch(STEPS_AT_ONCE)


def fit_autoencoder(
    model: keras.Model,
    pairs: Pairs,
    validation: Pairs,
    *,
    epochs: int,
    batch_size: int,
    patience: int | None,
    seed: int,
    callbacks: list[Any],
) -> History:
    """Train until the validation loss has not fallen for `patience` epochs, and keep the best epoch's weights.

    Args:
        model: compiled, from `build_autoencoder`.
        pairs: distorted and clean images.
        validation: the same, of images not trained on.
        epochs: at most.
        batch_size: of the gradient steps.
        patience: epochs; None trains them all and keeps the last.
        seed: of shuffling and flips.
        callbacks: further Keras callbacks.

    Returns:
        Per epoch `loss` and `val_loss`.
    """
    if patience is not None:
        callbacks = [*callbacks, keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)]
    history: History = model.fit(
        flipped_batches(pairs, batch_size, seed),
        validation_data=whole_batches(validation),
        epochs=epochs,
        shuffle=False,  # the batches come shuffled
        verbose=0,
        callbacks=callbacks,
    ).history
    return history


def train_autoencoder(
    chosen: Hyperparameters, pairs: Pairs, validation: Pairs, settings: Autoencoder, callbacks: list[Any]
) -> tuple[keras.Model, History]:
    """Build an autoencoder with the chosen hyperparameters and train it with early stopping."""
    seed_everything(settings.seed)
    model = build_autoencoder(pairs[0].shape[1:], chosen)
    history = fit_autoencoder(
        model,
        pairs,
        validation,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        patience=settings.patience,
        seed=settings.seed,
        callbacks=callbacks,
    )
    return model, history


def mean_squared_error(model: keras.Model, pairs: Pairs) -> float:
    """Return the mean over all pixels of (model(distorted) - clean)**2, in squared [0, 1] units."""
    distorted, clean = pairs
    return float(np.mean(np.square(reconstruct(model, distorted) - clean), dtype=np.float64))


def reconstruct(model: keras.Model, images: Array) -> Array:
    """Return the reconstructions of float32 images (N, H, W, C) in [0, 1], of the same shape and range."""
    if not len(images):
        return images
    reconstructions: Array = model.predict(whole_batches((images,)), verbose=0)
    return reconstructions


def reconstruction(model: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """Return the reconstruction of a tensor (N, H, W, C), differentiably.

    While a graph is traced, it is not computed again for the model and the tensor that it was last computed for there.
    """
    if tf.executing_eagerly():
        return model(images)
    return _in_graph(model, images.ref(), tf.compat.v1.get_default_graph())


@lru_cache(maxsize=1)
def _in_graph(model: Callable[[tf.Tensor], tf.Tensor], images: Any, _: tf.Graph) -> tf.Tensor:
    return model(images.deref())
