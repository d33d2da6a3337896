"""The official GTSRB archives, downloaded or from a user's folder."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from robust_distillation.dataset.readers import archives
from robust_distillation.dataset.readers.archives import ARCHIVES, TEST_IMAGES, TEST_LABELS, TRAINING_IMAGES
from robust_distillation.dataset.signs import name_signs
from robust_distillation.dataset.sources.source import Source, download_or_find, find_folder, take
from robust_distillation.dataset.synthetic.mirroring import mirrored_signs

if TYPE_CHECKING:
    from robust_distillation.dataset.settings import Data

OFFICIAL_URL = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370"
OFFICIAL_MD5 = {
    TRAINING_IMAGES: "f33fd80ac59bff73c82d25ab499e03a3",
    TEST_IMAGES: "c7e4e6327067d32654124b0fe9e82185",
    TEST_LABELS: "fe31e9c9270bbcd7b84b7f21a9d9d9e5",
}


def fetch(folder: Path, data: "Data") -> None:
    """Take the archives out of the folder that data.path names, or download them."""
    source = download_or_find(data, OFFICIAL_URL, OFFICIAL_MD5)
    take({name: source / name for name in ARCHIVES}, source, archives, folder)


SOURCE = Source(
    check=partial(find_folder, holding=ARCHIVES),
    fetch=fetch,
    reader=archives,
    names=name_signs,
    mirrored=mirrored_signs,
    signs=True,
)
