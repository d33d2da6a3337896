"""Input filters: images pass through one, or a stack of them, before a classifier sees them.

What is deployed is SciPy's, OpenCV's, Pillow's or scikit-image's work. An attacker who knows of it needs a gradient, so
each filter has a stand-in, `smooth`: the same map in TensorFlow where it has a slope, nearly the same or the identity
where it has none (BPDA, Athalye et al. 2018, section 4).
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.defences import INPUT_FILTERS, STACKED
from robust_distillation.defences.autoencoder import reconstruct, reconstruction
from robust_distillation.defences.settings import InputFilters
from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.victim import Model, bpda

# Of JPEG: from red, green and blue to brightness and two colours, and the cosines of the transform of its blocks.
TO_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
COSINES = np.cos(np.outer(np.arange(8), 2 * np.arange(8) + 1) * np.pi / 16).astype(np.float32) / 2
COSINES[0] /= np.sqrt(2)
ITERATIONS = 20  # of total variation's stand-in


class InputFilter(Protocol):
    """A map of float32 images (N, H, W, C) in [0, 1] to images of the same shape and range."""

    def __call__(self, images: Array, /) -> Array:
        """Return what the classifier sees."""

    def smooth(self, images: tf.Tensor, /) -> tf.Tensor:
        """Return about the same, differentiably."""


class Named(InputFilter, Protocol):
    """An input filter that goes by a name."""

    @classmethod
    def build(cls, settings: InputFilters, autoencoder: keras.Model | None) -> InputFilter:
        """Make the filter that is asked for."""


@dataclass(frozen=True)
class Median:
    """The median of the pixels around each, channel by channel."""

    size: int

    @classmethod
    def build(cls, settings: InputFilters, _: keras.Model | None) -> "Median":
        """Make the filter that is asked for."""
        return cls(settings.median)

    def __call__(self, images: Array) -> Array:
        """See `InputFilter`."""
        from scipy.ndimage import median_filter

        filtered: Array = median_filter(images, size=(1, self.size, self.size, 1), mode="reflect")
        return filtered

    def smooth(self, images: tf.Tensor) -> tf.Tensor:
        """See `InputFilter`; the slope is that of the pixel that is the median."""
        around = tf.sort(neighbourhoods(images, self.size // 2, "SYMMETRIC"), axis=3)
        return around[:, :, :, self.size**2 // 2]


@dataclass(frozen=True)
class DualMedian:
    """Two medians, one after the other."""

    first: Median
    second: Median

    @classmethod
    def build(cls, settings: InputFilters, _: keras.Model | None) -> "DualMedian":
        """Make the filter that is asked for."""
        first, second = settings.dual_median
        return cls(Median(first), Median(second))

    def __call__(self, images: Array) -> Array:
        """See `InputFilter`."""
        return self.second(self.first(images))

    def smooth(self, images: tf.Tensor) -> tf.Tensor:
        """See `InputFilter`."""
        return self.second.smooth(self.first.smooth(images))


@dataclass(frozen=True)
class Gaussian:
    """A blur whose kernel has this standard deviation, in pixels, and ends at four of them."""

    sigma: float

    @classmethod
    def build(cls, settings: InputFilters, _: keras.Model | None) -> "Gaussian":
        """Make the filter that is asked for."""
        return cls(settings.gaussian)

    def __call__(self, images: Array) -> Array:
        """See `InputFilter`."""
        from scipy.ndimage import gaussian_filter

        filtered: Array = gaussian_filter(images, sigma=(0, self.sigma, self.sigma, 0), mode="reflect")
        return filtered

    @cached_property
    def kernel(self) -> Array:
        """Weights (2 r + 1, 2 r + 1), which sum to 1."""
        radius = int(4 * self.sigma + 0.5)
        line = np.exp(-0.5 * (np.arange(-radius, radius + 1) / self.sigma) ** 2)
        square: Array = np.outer(line, line) / line.sum() ** 2
        return square

    def smooth(self, images: tf.Tensor) -> tf.Tensor:
        """See `InputFilter`."""
        around = neighbourhoods(images, len(self.kernel) // 2, "SYMMETRIC")
        return tf.einsum("nhwkc,k->nhwc", around, tf.constant(self.kernel.ravel(), tf.float32))


@dataclass(frozen=True)
class Bilateral:
    """The mean of the pixels around each that are near it in place and in colour (Tomasi and Manduchi 1998).

    Attributes:
        diameter: of the disc around each pixel, odd.
        colour: standard deviation of the weight by colour, in [0, 1] units, summed over the channels.
        space: standard deviation of the weight by place, in pixels.
    """

    diameter: int
    colour: float
    space: float

    @classmethod
    def build(cls, settings: InputFilters, _: keras.Model | None) -> "Bilateral":
        """Make the filter that is asked for."""
        asked = settings.bilateral
        return cls(asked.diameter, asked.colour, asked.space)

    def __call__(self, images: Array) -> Array:
        """See `InputFilter`."""
        import cv2

        filtered = [cv2.bilateralFilter(image, self.diameter, self.colour, self.space) for image in images]
        return np.clip(np.reshape(filtered, images.shape), 0, 1)

    def smooth(self, images: tf.Tensor) -> tf.Tensor:
        """See `InputFilter`."""
        radius = self.diameter // 2
        down, across = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        distances = (down**2 + across**2).ravel()
        place = np.where(distances <= radius**2, np.exp(-distances / (2 * self.space**2)), 0)
        around = neighbourhoods(images, radius, "REFLECT")
        apart = tf.reduce_sum(tf.abs(around - images[:, :, :, None]), axis=4, keepdims=True)
        weights = tf.constant(place.reshape(1, 1, 1, -1, 1), tf.float32) * tf.exp(-((apart / self.colour) ** 2) / 2)
        return tf.reduce_sum(weights * around, axis=3) / tf.reduce_sum(weights, axis=3)


@dataclass(frozen=True)
class BitDepth:
    """Rounding to fewer levels of grey (feature squeezing, Xu et al. 2018)."""

    bits: int

    @classmethod
    def build(cls, settings: InputFilters, _: keras.Model | None) -> "BitDepth":
        """Make the filter that is asked for."""
        return cls(settings.bit_depth)

    def __call__(self, images: Array) -> Array:
        """See `InputFilter`."""
        levels = np.float32(2**self.bits - 1)
        rounded: Array = np.rint(images * levels) / levels
        return rounded

    def smooth(self, images: tf.Tensor) -> tf.Tensor:
        """See `InputFilter`."""
        return images


@dataclass(frozen=True)
class JPEG:
    """Compression at a quality from 1 to 100 (Dziugaite et al. 2016).

    Its stand-in is the same but for a rounding with a slope (Shin and Song 2017): with the identity in the place of
    rounding, all of it would be the identity, and attackers would not learn which changes survive.
    """

    quality: int

    @classmethod
    def build(cls, settings: InputFilters, _: keras.Model | None) -> "JPEG":
        """Make the filter that is asked for."""
        return cls(settings.jpeg)

    def __call__(self, images: Array) -> Array:
        """See `InputFilter`."""
        grey_levels = np.rint(255 * images).astype(np.uint8)
        read = [
            np.asarray(self._compress(image.squeeze(axis=2) if image.shape[2] == 1 else image)) for image in grey_levels
        ]
        return np.reshape(read, images.shape).astype(np.float32) / 255

    def _compress(self, image: Array) -> Any:
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=self.quality)
        return Image.open(file)

    @cached_property
    def steps(self) -> list[Array]:
        """Between two levels of each coefficient (8, 8), of brightness and of colour."""
        tables = self._compress(np.zeros((8, 8, 3), np.uint8)).quantization
        return [np.reshape(tables[number], (8, 8)).astype(np.float32) for number in (0, 1)]

    def smooth(self, images: tf.Tensor) -> tf.Tensor:
        """See `InputFilter`."""
        height, width, channels = images.shape[1:]
        padded = tf.pad(255 * images, [[0, 0], [0, -height % 16], [0, -width % 16], [0, 0]], "SYMMETRIC")
        bright, colour = self.steps
        if channels == 1:
            seen = self._rounded(padded - 128, bright) + 128
        else:
            planes = padded @ tf.constant(TO_YCBCR.T, tf.float32)
            halved = tf.nn.avg_pool2d(planes[..., 1:], 2, 2, "SAME")
            small = tf.concat([self._rounded(halved[..., number : number + 1], colour) for number in (0, 1)], axis=3)
            whole = tf.repeat(tf.repeat(small, 2, axis=1), 2, axis=2)
            planes = tf.concat([self._rounded(planes[..., :1] - 128, bright) + 128, whole], axis=3)
            seen = planes @ tf.constant(np.linalg.inv(TO_YCBCR).T, tf.float32)
        return tf.clip_by_value(seen[:, :height, :width] / 255, 0.0, 1.0)

    def _rounded(self, plane: tf.Tensor, steps: Array) -> tf.Tensor:
        """Return a plane (N, H, W, 1), around 0, with the coefficients of its blocks rounded."""
        shape = tf.shape(plane)
        blocks = tf.reshape(plane, (-1, shape[1] // 8, 8, shape[2] // 8, 8))
        levels = tf.einsum("ku,nauby,ly->nakbl", COSINES, blocks, COSINES) / steps[:, None]
        nearest = tf.stop_gradient(tf.round(levels))
        kept = (nearest + (levels - nearest) ** 3) * steps[:, None]
        return tf.reshape(tf.einsum("ku,nakbl,ly->nauby", COSINES, kept, COSINES), shape)


@dataclass(frozen=True)
class TotalVariation:
    """The image nearest to the given one whose total variation costs this weight (Chambolle 2004)."""

    weight: float

    @classmethod
    def build(cls, settings: InputFilters, _: keras.Model | None) -> "TotalVariation":
        """Make the filter that is asked for."""
        return cls(settings.total_variation)

    def __call__(self, images: Array) -> Array:
        """See `InputFilter`."""
        from skimage.restoration import denoise_tv_chambolle

        filtered = [denoise_tv_chambolle(image, weight=self.weight, channel_axis=-1) for image in images]  # type: ignore[no-untyped-call]
        return np.clip(np.reshape(filtered, images.shape), 0, 1).astype(np.float32)

    def smooth(self, images: tf.Tensor) -> tf.Tensor:
        """See `InputFilter`; Chambolle's iteration, about as often as the filter takes it until little changes."""
        down = across = tf.zeros_like(images)
        for _ in range(ITERATIONS):
            flatter = images + _divergence(down, across)
            below = tf.pad(flatter[:, 1:] - flatter[:, :-1], [[0, 0], [0, 1], [0, 0], [0, 0]])
            beside = tf.pad(flatter[:, :, 1:] - flatter[:, :, :-1], [[0, 0], [0, 0], [0, 1], [0, 0]])
            steepness = tf.sqrt(below**2 + beside**2 + 1e-12)  # a root has no slope at 0
            shrunk = 1 + steepness / (4 * self.weight)
            down, across = (down - below / 4) / shrunk, (across - beside / 4) / shrunk
        return images + _divergence(down, across)


def _divergence(down: tf.Tensor, across: tf.Tensor) -> tf.Tensor:
    """Return the negative divergence of a field by its two components (N, H, W, C); nothing crosses the border."""
    above = tf.pad(down, [[0, 0], [1, 0], [0, 0], [0, 0]])[:, :-1]
    before = tf.pad(across, [[0, 0], [0, 0], [1, 0], [0, 0]])[:, :, :-1]
    return above - down + before - across


@dataclass(frozen=True)
class Reform:
    """What an autoencoder makes of images (Meng and Chen 2017)."""

    autoencoder: keras.Model

    @classmethod
    def build(cls, _: InputFilters, autoencoder: keras.Model | None) -> "Reform":
        """Make the filter of the autoencoder that is there.

        Raises:
            InputError: there is none.
        """
        if autoencoder is None:
            raise InputError("input filter reform needs an autoencoder; give one, or leave it out")
        return cls(autoencoder)

    def __call__(self, images: Array) -> Array:
        """See `InputFilter`."""
        return reconstruct(self.autoencoder, images)

    def smooth(self, images: tf.Tensor) -> tf.Tensor:
        """See `InputFilter`."""
        return reconstruction(self.autoencoder, images)


@dataclass(frozen=True)
class Stack:
    """Filters one after the other."""

    filters: Sequence[InputFilter]

    def __call__(self, images: Array) -> Array:
        """See `InputFilter`."""
        for one in self.filters:
            images = one(images)
        return images

    def smooth(self, images: tf.Tensor) -> tf.Tensor:
        """See `InputFilter`; each stand-in has its slope where the filters before it lead."""
        for one in self.filters:
            images = differentiable(one)(images)
        return images


def build_filter(name: str, settings: InputFilters, autoencoder: keras.Model | None = None) -> InputFilter:
    """Return the filter of a name, or the stack of several names with `+` between them, the first first.

    Raises:
        InputError: there is no such filter, or it needs an autoencoder and there is none.
    """
    filters = [INPUT_FILTERS[part].build(settings, autoencoder) for part in name.split(STACKED)]
    return filters[0] if len(filters) == 1 else Stack(filters)


def differentiable(chosen: InputFilter) -> Model:
    """Return a filter as an attacker holds it who knows of it: its own images, the slope of its stand-in."""
    return bpda(lambda images: tf.numpy_function(chosen, [images], tf.float32), chosen.smooth)


def filtered(model: Model, chosen: InputFilter) -> Model:
    """Return a model behind a filter, from raw images to logits, as an attacker holds it who knows of the filter.

    Args:
        model: float32 images (N, H, W, C) in [0, 1] to logits (N, K).
        chosen: stands before it.
    """
    through = differentiable(chosen)
    return lambda images: model(through(images))


def neighbourhoods(images: tf.Tensor, radius: int, border: str) -> tf.Tensor:
    """Return the pixels around each (N, H, W, (2 r + 1)**2, C), row by row, mirrored at the border."""
    side, shape = 2 * radius + 1, tf.shape(images)
    padded = tf.pad(images, [[0, 0], [radius, radius], [radius, radius], [0, 0]], border)
    shifted = [
        padded[:, down : down + shape[1], across : across + shape[2]] for down in range(side) for across in range(side)
    ]
    return tf.stack(shifted, axis=3)
