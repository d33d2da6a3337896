"""Any image file as a model takes it, and what had to be done for that."""

from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError

ORIENTATION = ExifTags.Base.Orientation


@dataclass(frozen=True)
class Fitted:
    """An image as a model takes it.

    Attributes:
        features: uint8 (H, W, C).
        notes: what was done to it, in words; nothing if it came as it is.
    """

    features: Array
    notes: list[str]


def fit_image(file: Path | IO[bytes], shape: tuple[int, int, int]) -> Fitted:
    """Read an image, turn it as its camera says, cut its middle out, and scale that.

    Args:
        file: in a format that Pillow reads.
        shape: (H, W, C) of the model, C 1 or 3.

    Raises:
        InputError: the file is missing or no image, or C is neither 1 nor 3.
    """
    name = file if isinstance(file, Path) else file.name
    try:
        with Image.open(file) as opened:
            opened.load()
            return _fit(opened, shape)
    except FileNotFoundError:
        raise InputError(f"{name}: not found; name an image file") from None
    except IsADirectoryError:
        raise InputError(f"{name}: a folder; name an image file") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: not a readable image ({reason}); name another") from None


def _fit(opened: Image.Image, shape: tuple[int, int, int]) -> Fitted:
    height, width, channels = shape
    if channels not in (1, 3):
        raise InputError(f"the model takes images of {channels} channels; grey (1) and colour (3) are what files have")
    notes = []
    image = opened.copy()
    ImageOps.exif_transpose(image, in_place=True)
    if opened.getexif().get(ORIENTATION, 1) != 1:
        notes.append("turned as its camera noted")
    mode = "L" if channels == 1 else "RGB"
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        notes.append("put on white, for it is transparent")
    if image.mode != mode:
        notes.append("turned grey" if channels == 1 else f"turned from {image.mode} to colour")
        image = image.convert(mode)
    if image.size != (width, height):
        notes.append(f"fitted from {image.width}x{image.height} to {width}x{height} pixels")
        if image.width * height != image.height * width:
            notes.append("its middle cut out")
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    return Fitted(np.asarray(image, np.uint8).reshape(shape), notes)
