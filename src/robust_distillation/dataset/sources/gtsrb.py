"""The official GTSRB archives, downloaded or from a user's folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from robust_distillation.dataset import archives
from robust_distillation.dataset.archives import ARCHIVES
from robust_distillation.dataset.download import OFFICIAL_MD5, OFFICIAL_URL, download
from robust_distillation.dataset.signs import sign_name
from robust_distillation.dataset.sources.source import Source, find_folder, take
from robust_distillation.dataset.splitting import split_training
from robust_distillation.dataset.synthetic.mirroring import mirrored_signs
from robust_distillation.paths import DOWNLOADS
from robust_distillation.workspace import main_root

if TYPE_CHECKING:
    from robust_distillation.dataset.settings import Classes, Data


def check(data: "Data") -> None:
    """Refuse a folder that is none."""
    find_folder(data, ARCHIVES)


def fetch(folder: Path, data: "Data", _: "Classes") -> None:
    """Take the archives out of the folder that data.archives names, or download them."""
    source = download_official() if data.archives == DOWNLOADS else find_folder(data, ARCHIVES)
    take({name: source / name for name in ARCHIVES}, source, archives, folder)


def download_official() -> Path:
    """Download the official archives into the main repository, where the next run and a killed one find them.

    Returns:
        The folder that holds them.
    """
    folder = main_root() / DOWNLOADS
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        for name in ARCHIVES:
            download(f"{OFFICIAL_URL}/{name}", folder / name, md5=OFFICIAL_MD5[name])
    return folder


SOURCE = Source(
    check=check,
    fetch=fetch,
    reader=archives,
    name=sign_name,
    split=split_training,
    mirrored=mirrored_signs,
    signs=True,
)
