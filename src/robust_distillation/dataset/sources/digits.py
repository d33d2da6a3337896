"""scikit-learn's digits: 1,797 grey images of 8x8 pixels that lie on any machine where the project runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robust_distillation.dataset.readers import pickled, tables
from robust_distillation.dataset.sources.arrays import Arrays, save_arrays
from robust_distillation.dataset.sources.source import Source

if TYPE_CHECKING:
    from robust_distillation.dataset.settings import Data

LEVELS = 16  # the darkest grey


def fetch(folder: Path, _: "Data") -> None:
    """Write the images, their 17 levels of grey spread over 0 to 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / LEVELS)).astype(np.uint8)
    save_arrays(folder, {"train": Arrays(pixels, digits.target)}, {}, "digits")


SOURCE = Source(check=lambda _: None, fetch=fetch, reader=pickled, names=tables.read_names)
