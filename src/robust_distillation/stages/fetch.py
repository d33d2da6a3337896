"""Put the raw files of a source into data/raw: drawn here, copied, or downloaded."""

from robust_distillation.dataset.sources import SOURCES
from robust_distillation.files import replacing
from robust_distillation.params import Params
from robust_distillation.paths import RAW


def main(params: Params) -> None:
    """Fill data/raw with exactly the files that the source of params.data gives, each of which can be read to its end.

    Raises:
        InputError: a file cannot be had, is not the one that its checksum stands for, or is corrupt or refused.
    """
    with replacing(RAW) as folder:
        folder.mkdir()
        SOURCES[params.data.source].fetch(folder, params.data)
