"""What a source is, and what those have in common that take a user's files."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robust_distillation.dataset.download import download_all, file_digest
from robust_distillation.dataset.readers.reader import Reader
from robust_distillation.errors import InputError
from robust_distillation.files import read_bytes
from robust_distillation.paths import DOWNLOADS
from robust_distillation.progress import Bar

if TYPE_CHECKING:
    from robust_distillation.dataset.settings import Data

SUMS = "SHA256SUMS"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where images come from.

    Attributes:
        check: refuses, with an `InputError`, settings with which `fetch` could not begin; in an instant.
        fetch: fills an empty folder with raw files, every one of which can be read to its end.
        reader: lists and reads what lies in that folder.
        names: what people call the classes of the images in that folder, by id; the others are called by their ids.
        mirrored: which class an image of a class shows in a mirror, by id; classes that become none are left out.
        signs: whether its class ids are those of German traffic signs, of which further ones can be drawn.
        warning: for people, where it has one to give about every data set that is made of it.
    """

    check: "Callable[[Data], object]"
    fetch: "Callable[[Path, Data], None]"
    reader: Reader
    names: Callable[[Path], Mapping[int, str]]
    mirrored: Callable[[], Mapping[int, int]] = dict
    signs: bool = False
    warning: str | None = None


def find_folder(data: "Data", holding: Iterable[str]) -> Path:
    """Return the folder that data.path names, on which the stage `fetch` depends in dvc.yaml.

    Raises:
        InputError: there is no such folder.
    """
    folder = data.path
    if not folder.is_dir():
        where = "" if folder.is_absolute() else "; a queued experiment, which runs in a copy, needs its absolute path"
        raise InputError(
            f"params.yaml: data.path: {folder} is no folder; name the one that holds {', '.join(holding)}{where}"
        )
    return folder


def download_or_find(data: "Data", url: str, md5: Mapping[str, str]) -> Path:
    """Return the folder of files: the one that data.path names, or the one that they are downloaded to.

    Args:
        data: where the images come from.
        url: the folder that the files lie in.
        md5: checksum of each file, in hexadecimal, by name.

    Raises:
        InputError: there is no such folder, or as `download_all`.
    """
    return download_all(url, md5) if data.path == DOWNLOADS else find_folder(data, md5)


def take(files: dict[str, Path], source: Path, reader: Reader, folder: Path) -> None:
    """Copy files under their names, once the SHA256SUMS beside them, if any, and every image in them have been checked.

    Raises:
        InputError: a file is missing, is not the one that SHA256SUMS lists, or is corrupt or refused.
    """
    sums = _read_sums(source / SUMS)
    for path in files.values():
        if not path.is_file():
            raise InputError(f"{path}: not found; put it there, or set data.path to the folder that has it")
        expected = sums.get(path.name)
        if expected and (received := file_digest(path, "sha256")) != expected:
            raise InputError(f"{path}: SHA-256 is {received}, but {SUMS} says {expected}; copy it again")
    records = reader.list_training(source) + reader.list_validation(source) + reader.list_test(source)
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
