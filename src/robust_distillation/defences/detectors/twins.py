"""A defender's own twins of training images: attacked through its own model, and altered as attackers hide them."""

import warnings
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter

from robust_distillation.arrays import Array
from robust_distillation.errors import UnreliableWarning
from robust_distillation.progress import Bar
from robust_distillation.threats.evasion.attack import Attack
from robust_distillation.threats.evasion.sign import FGSM, IFGSM, PGD
from robust_distillation.threats.evasion.square import Square
from robust_distillation.threats.evasion.victim import Model

LEVELS = (1, 1.5, 2, 3, 4, 6, 8, 9.6)  # epsilons of gradient signs, in grey levels
COARSE = (2, 4, 8)  # of those in four large steps
LENGTHS = (0.25, 0.5, 1.0)  # epsilons in L2
SIGNS, L2, SQUARES = 0.8, 0.12, 0.08  # shares of the images
QUERIES = 100
LASTING, LASTING_LENGTH = 4 / 255, 0.5  # epsilons from which a change is not lost where it is altered
ALTERED = 0.5  # share of the images that are altered, a half of them by JPEG
QUALITIES = (75, 96)
BLURS = (0.3, 0.8)  # radii, in pixels
SHRUNK = 0.75  # smallest size to which an image is resized and back


@dataclass(frozen=True)
class _Cell:
    """A group of twins: its share of them, and how they are made."""

    share: float
    attack: Attack
    epsilon: float
    lasting: bool


def _cells() -> list[_Cell]:
    fine = IFGSM(steps=8, step_size=1 / 255, early_stop=False)
    signs: list[tuple[Attack, float]] = [(attack, level / 255) for attack in (FGSM(), fine) for level in LEVELS]
    signs += [(IFGSM(steps=4, step_size=1.5 * level / 255 / 4, early_stop=False), level / 255) for level in COARSE]
    lengths = [(PGD(norm="l2", steps=8, early_stop=False), epsilon) for epsilon in LENGTHS]
    squares = [(Square(queries=QUERIES), level / 255) for level in (4, 8)]
    return [
        _Cell(share / len(group), attack, epsilon, epsilon >= lasting)
        for share, group, lasting in (
            (SIGNS, signs, LASTING),
            (L2, lengths, LASTING_LENGTH),
            (SQUARES, squares, LASTING),
        )
        for attack, epsilon in group
    ]


def twins(images: Array, labels: Array, probe: Model, *, seed: int) -> tuple[Array, Array]:
    """Attack every image through the defender's own model, in one of many ways, and round to grey levels.

    Signs of gradients in one step and in several, at epsilons of 1 to 9.6 grey levels; small L2 steps; squares.

    Args:
        images: uint8 (N, H, W, C).
        labels: integers (N,), as they came.
        probe: the defender's model, float32 images in [0, 1] to logits.
        seed: of who gets which attack, and of the attacks' draws.

    Returns:
        The twins, uint8 (N, H, W, C), and which of them (N,) an attacker would hide by altering them: those whose
        change is large enough to last.
    """
    cells = _cells()
    rng = np.random.default_rng(seed)
    dealt = rng.choice(len(cells), len(images), p=np.array([cell.share for cell in cells]))
    made = images.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreliableWarning)  # the budgets are small on purpose
        for number, cell in enumerate(Bar(cells, desc="own twins", unit="attack")):
            rows = np.flatnonzero(dealt == number)
            if len(rows):
                start = images[rows].astype(np.float32) / 255
                attacked = cell.attack(probe, start, labels[rows], epsilon=cell.epsilon)
                made[rows] = np.rint(255 * attacked).astype(np.uint8)
    return made, np.array([cell.lasting for cell in cells])[dealt]


def altered(images: Array, among: Array, *, seed: int) -> Array:
    """Compress, blur or resize uint8 images (N, H, W, C) at random, and leave the others.

    A share of all, and no others than those `among` which it is to be (N,): of these all, if they are fewer.
    """
    rng = np.random.default_rng(seed)
    made = images.copy()
    share = ALTERED / max(float(among.mean()), ALTERED)
    for row in np.flatnonzero(among & (rng.random(len(images)) < share)):
        picture = Image.fromarray(images[row].squeeze())
        made[row] = np.asarray(_alter(picture, rng)).reshape(images.shape[1:])
    return made


def _alter(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    how = rng.random()
    if how < 0.5:
        return compressed(picture, int(rng.integers(*QUALITIES)))
    if how < 0.75:
        return picture.filter(ImageFilter.GaussianBlur(rng.uniform(*BLURS)))
    width, height = picture.size
    share = rng.uniform(SHRUNK, 1.0)
    small = picture.resize((max(1, round(share * width)), max(1, round(share * height))), Image.Resampling.BILINEAR)
    return small.resize((width, height), Image.Resampling.BILINEAR)


def compressed(picture: Image.Image, quality: int) -> Image.Image:
    """Return a picture after JPEG of a quality in [1, 95]."""
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert(picture.mode)
