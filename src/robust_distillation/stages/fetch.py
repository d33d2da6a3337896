"""Put the three raw archives, or pickles, into data/raw: drawn here, copied, or downloaded."""

import shutil
from pathlib import Path

from filelock import FileLock

from robust_distillation.dataset import archives, udacity
from robust_distillation.dataset.archives import ARCHIVES, Reader
from robust_distillation.dataset.download import OFFICIAL_MD5, OFFICIAL_URL, download, file_digest
from robust_distillation.dataset.signs import SIGNS, resolve_classes
from robust_distillation.errors import InputError
from robust_distillation.files import read_bytes, replacing
from robust_distillation.params import Params
from robust_distillation.paths import DOWNLOADS, RAW
from robust_distillation.progress import Bar
from robust_distillation.workspace import main_root

SUMS = "SHA256SUMS"


def main(params: Params) -> None:
    """Fill data/raw with exactly the three files that params.data asks for, each of which can be read to its end.

    Raises:
        InputError: a file cannot be had, is not the one that its checksum stands for, or is corrupt or refused.
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
        elif data.source == "udacity":
            source = find_archives(params)
            take(udacity.find_pickles(source), source, udacity, folder)
        else:
            source = download_official() if data.archives == DOWNLOADS else find_archives(params)
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


def find_archives(params: Params) -> Path:
    """The folder that data.archives names, on which this stage depends in dvc.yaml.

    Raises:
        InputError: there is no such folder.
    """
    folder = params.data.archives
    if not folder.is_dir():
        names = udacity.PICKLES if params.data.source == "udacity" else ARCHIVES
        where = "" if folder.is_absolute() else "; a queued experiment, which runs in a copy, needs its absolute path"
        raise InputError(
            f"params.yaml: data.archives: {folder} is no folder; name the one that holds {', '.join(names)}{where}"
        )
    return folder


def take(files: dict[str, Path], source: Path, reader: Reader, folder: Path) -> None:
    """Copy files under their names, once the SHA256SUMS beside them, if any, and every image in them have been checked.

    Raises:
        InputError: a file is missing, is not the one that SHA256SUMS lists, or is corrupt or refused.
    """
    sums = _read_sums(source / SUMS)
    for path in files.values():
        if not path.is_file():
            raise InputError(f"{path}: not found; put it there, or set data.archives to the folder that has it")
        expected = sums.get(path.name)
        if expected and (received := file_digest(path, "sha256")) != expected:
            raise InputError(f"{path}: SHA-256 is {received}, but {SUMS} says {expected}; copy it again")
    records = reader.list_training(source) + reader.list_test(source)
    for _ in Bar(reader.read_files(records), desc="checking", total=len(records), unit="image"):
        pass
    for name, path in Bar(files.items(), desc="copying", unit="file"):
        shutil.copyfile(path, folder / name)


def _read_sums(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = [line.split(maxsplit=1) for line in read_bytes(path).decode(errors="replace").splitlines() if line.strip()]
    if any(len(line) != 2 for line in lines):
        raise InputError(f"{path}: a line is not a checksum and a file name; make it again with sha256sum")
    return {name.lstrip("*"): checksum.lower() for checksum, name in lines}
