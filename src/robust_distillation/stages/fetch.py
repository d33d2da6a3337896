"""Put the three raw archives, or pickles, into data/raw: drawn here, copied, or downloaded."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

from robust_distillation.dataset.archives import ARCHIVES
from robust_distillation.dataset.download import OFFICIAL_MD5, OFFICIAL_URL, download, file_digest
from robust_distillation.dataset.signs import SIGNS, resolve_classes
from robust_distillation.dataset.udacity import PICKLES, find_pickles, load_pickled
from robust_distillation.errors import InputError
from robust_distillation.files import replacing
from robust_distillation.params import Params
from robust_distillation.paths import RAW
from robust_distillation.progress import Bar
from robust_distillation.workspace import main_root

DOWNLOADS = Path("data/downloads")
SUMS = "SHA256SUMS"


def main(params: Params) -> None:
    """Fill data/raw with exactly the three files that params.data asks for.

    Raises:
        InputError: a file cannot be had, is not the one that its checksum stands for, or is no Udacity-style pickle.
    """
    data = params.data
    with replacing(RAW) as folder:
        folder.mkdir()
        if data.source == "synthetic":
            from robust_distillation.dataset.synthetic import draw_archives

            drawn = data.synthetic
            every = range(len(SIGNS))
            draw_archives(
                folder,
                classes=every if drawn.classes == "all" else resolve_classes(params.dataset.classes, every),
                tracks_per_class=drawn.tracks_per_class,
                frames_per_track=drawn.frames_per_track,
                test_per_class=drawn.test_per_class,
                seed=drawn.seed,
            )
        elif data.archives is None:
            copy_archives(download_official(), folder)
        elif data.source == "udacity":
            copy_pickles(find_folder(data.archives, PICKLES), folder)
        else:
            copy_archives(find_folder(data.archives, ARCHIVES), folder)


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


def find_folder(archives: Path, names: Iterable[str]) -> Path:
    """The folder that data.archives names, relative to the current folder or to the main repository.

    Args:
        archives: the folder.
        names: of the files that it should hold, for the error.

    Raises:
        InputError: there is no such folder.
    """
    for folder in (archives, main_root() / archives):
        if folder.is_dir():
            return folder
    raise InputError(f"params.yaml: data.archives: {archives} is no folder; name the one that holds {', '.join(names)}")


def copy_archives(source: Path, folder: Path) -> None:
    """Copy the three archives, checked against the SHA256SUMS beside them if there is one.

    Raises:
        InputError: an archive is missing, or is not the one that SHA256SUMS lists.
    """
    sums = _read_sums(source / SUMS)
    for name in Bar(ARCHIVES, desc="archives", unit="file"):
        if not (source / name).is_file():
            raise InputError(
                f"{source / name}: not found; put it there, or set data.archives to the folder that has it"
            )
        _copy(source / name, folder / name, sums)


def copy_pickles(source: Path, folder: Path) -> None:
    """Copy the three pickles as train.p, valid.p and test.p, checked as the archives are, and that each can be read.

    Raises:
        InputError: a pickle is missing, is not the one that SHA256SUMS lists, or is refused.
    """
    sums = _read_sums(source / SUMS)
    for name, path in Bar(find_pickles(source).items(), desc="pickles", unit="file"):
        _copy(path, folder / name, sums)
        load_pickled(path)


def _copy(path: Path, target: Path, sums: dict[str, str]) -> None:
    shutil.copyfile(path, target)
    expected = sums.get(path.name)
    if expected and (received := file_digest(target, "sha256")) != expected:
        raise InputError(f"{path}: SHA-256 is {received}, but {SUMS} says {expected}; copy it again")


def _read_sums(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = [line.split(maxsplit=1) for line in path.read_text().splitlines() if line.strip()]
    if any(len(line) != 2 for line in lines):
        raise InputError(f"{path}: a line is not a checksum and a file name; make it again with sha256sum")
    return {name.lstrip("*"): checksum.lower() for checksum, name in lines}
