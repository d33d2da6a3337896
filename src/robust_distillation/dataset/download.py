"""The official archives over HTTP: a broken download goes on where it stopped."""

import hashlib
from pathlib import Path

import requests
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from robust_distillation.dataset.archives import TEST_IMAGES, TEST_LABELS, TRAINING_IMAGES
from robust_distillation.errors import InputError
from robust_distillation.progress import Bar

OFFICIAL_URL = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370"
OFFICIAL_MD5 = {
    TRAINING_IMAGES: "f33fd80ac59bff73c82d25ab499e03a3",
    TEST_IMAGES: "c7e4e6327067d32654124b0fe9e82185",
    TEST_LABELS: "fe31e9c9270bbcd7b84b7f21a9d9d9e5",
}
REMEDY = "download the archives by hand and set data.archives to their folder"
TIMEOUT_S = 30
BLOCK = 2**16
RETRIED = (429, 500, 502, 503, 504)

_again = Retrying(
    retry=retry_if_exception_type(requests.RequestException),
    stop=stop_after_attempt(6),
    wait=wait_exponential(multiplier=0.5, max=20),
    reraise=True,
)


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
