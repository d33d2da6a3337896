"""Files over HTTP: a broken download goes on where it stopped."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import requests
from filelock import FileLock
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from robust_distillation.errors import InputError
from robust_distillation.paths import DOWNLOADS
from robust_distillation.progress import Bar
from robust_distillation.workspace import main_root

REMEDY = "download the files by hand and set data.path to their folder"
TIMEOUT_S = 30
BLOCK = 2**16
RETRIED = (429, 500, 502, 503, 504)

_again = Retrying(
    retry=retry_if_exception_type(requests.RequestException),
    stop=stop_after_attempt(6),
    wait=wait_exponential(multiplier=0.5, max=20),
    reraise=True,
)


def download_all(url: str, md5: Mapping[str, str]) -> Path:
    """Download files into the main repository, where the next run and a killed one find them.

    Args:
        url: the folder that they lie in.
        md5: checksum of each file, in hexadecimal, by name.

    Returns:
        The folder that holds them.

    Raises:
        InputError: as `download`.
    """
    folder = main_root() / DOWNLOADS
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        for name, checksum in md5.items():
            download(f"{url}/{name}", folder / name, md5=checksum)
    return folder


def download(url: str, path: Path, *, md5: str) -> None:
    """Download `url` to `path` unless the file is there already.

    The bytes gather in `<path>.part`, which outlives a killed process: the next call asks the server for the rest only.
    The file takes its name once its checksum is right. Dropped connections and busy servers are tried again.

    Args:
        url: where from.
        path: where to.
        md5: checksum of the whole file, in hexadecimal.

    Raises:
        InputError: the server cannot be reached, refuses, or sends other bytes than `md5` stands for.
    """
    if path.exists() and file_digest(path, "md5") == md5:
        return
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    resumed = part.exists()
    _fetch(url, part)
    if resumed and file_digest(part, "md5") != md5:
        part.unlink()
        _fetch(url, part)
    received = file_digest(part, "md5")
    if received != md5:
        part.unlink()
        raise InputError(f"{url}: sent bytes with MD5 {received} where {md5} is expected; try later, or {REMEDY}")
    part.replace(path)


def file_digest(path: Path, algorithm: str) -> str:
    """The file's checksum in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, algorithm).hexdigest()


def _fetch(url: str, part: Path) -> None:
    try:
        _again(_fetch_rest, url, part)
    except requests.RequestException as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{url}: not downloaded ({reason:.200}); run again to go on from {part.name}, or {REMEDY}"
        ) from None


def _fetch_rest(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {"Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return
        if response.status_code in RETRIED:
            response.raise_for_status()
        if not response.ok:
            raise InputError(f"{url}: the server answers {response.status_code} {response.reason}; {REMEDY}")
        goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        start = have if goes_on else 0
        total = start + int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
        with (
            part.open("ab" if goes_on else "wb") as handle,
            Bar(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True) as bar,
        ):
            for block in response.iter_content(BLOCK):
                handle.write(block)
                bar.update(len(block))
