"""The official GTSRB archives, read where they lie: nothing is unpacked."""

import csv
import io
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from PIL import Image

from robust_distillation.dataset.readers.reader import NO_TRACK, Record
from robust_distillation.errors import InputError

TRAINING_IMAGES = "GTSRB_Final_Training_Images.zip"
TEST_IMAGES = "GTSRB_Final_Test_Images.zip"
TEST_LABELS = "GTSRB_Final_Test_GT.zip"
ARCHIVES = (TRAINING_IMAGES, TEST_IMAGES, TEST_LABELS)

TEST_FOLDER = "GTSRB/Final_Test/Images"
TEST_CSV = "GT-final_test.csv"
COLUMNS = ("Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId")

MAX_MEMBER_BYTES = 4 * 2**20
TRACKS_PER_CLASS = 100_000
WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")
AGAIN = "fetch the archive again"


def list_training(folder: Path) -> list[Record]:
    """What the training archive in `folder` holds, by class, track and frame.

    Raises:
        InputError: the archive is missing, truncated or unsafe, or a CSV and the images do not match.
    """
    path = folder / TRAINING_IMAGES
    with open_archive(path) as archive:
        tables = sorted(name for name in archive.namelist() if name.endswith(".csv"))
        records = [record for table in tables for record in _list_class(archive, path, table)]
        _refuse_unlisted(archive, path, records)
    return records


def list_validation(_: Path) -> list[Record]:
    """Nothing: there is no archive of validation images."""
    return []


def list_test(folder: Path) -> list[Record]:
    """What the test archives in `folder` hold, by image number.

    Raises:
        InputError: an archive is missing, truncated or unsafe, or the CSV and the images do not match.
    """
    labels, path = folder / TEST_LABELS, folder / TEST_IMAGES
    with open_archive(labels) as archive:
        rows = list(_read_rows(archive, labels, TEST_CSV))
    with open_archive(path) as archive:
        records = [
            _record(archive, path, f"{TEST_FOLDER}/{row['Filename']}", row, where, prefix="test", track=NO_TRACK)
            for where, row in rows
        ]
        _refuse_unlisted(archive, path, records)
    return records


def _list_class(archive: zipfile.ZipFile, path: Path, table: str) -> Iterator[Record]:
    folder = PurePosixPath(table).parent
    for where, row in _read_rows(archive, path, table):
        if f"{int(row['ClassId']):05}" != folder.name:
            raise InputError(f"{where}: ClassId {row['ClassId']} in the folder of class {folder.name}; {AGAIN}")
        track, _, frame = row["Filename"].removesuffix(".ppm").partition("_")
        if not (track.isdecimal() and frame.isdecimal() and int(track) < TRACKS_PER_CLASS):
            raise InputError(f"{where}: Filename {row['Filename']!r:.40} is not TTTTT_FFFFF.ppm; {AGAIN}")
        number = int(row["ClassId"]) * TRACKS_PER_CLASS + int(track)
        yield _record(
            archive, path, f"{folder}/{row['Filename']}", row, where, prefix=f"train/{folder.name}", track=number
        )


def _read_rows(archive: zipfile.ZipFile, path: Path, table: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row of a CSV with the words that say where it stands."""
    text = read_member(archive, path, table).decode("utf-8-sig", errors="replace")
    for number, row in enumerate(csv.DictReader(io.StringIO(text), delimiter=";"), start=2):
        where = f"{path}: {table} row {number}"
        for column in COLUMNS:
            value = row.get(column)
            if not value or (column != "Filename" and not WHOLE_NUMBER.fullmatch(value)):
                kind = "a name" if column == "Filename" else "a whole number"
                raise InputError(f"{where}: {column} must be {kind}. Received: {value!r:.40}; {AGAIN}")
        yield where, row


def _record(
    archive: zipfile.ZipFile, path: Path, member: str, row: dict[str, str], where: str, *, prefix: str, track: int
) -> Record:
    try:
        info = archive.getinfo(member)
    except KeyError:
        raise InputError(f"{where}: no image {member} in {path.name}; {AGAIN}") from None
    width, height, x1, y1, x2, y2, label = (int(row[column]) for column in COLUMNS[1:])
    if not (x1 < x2 <= width and y1 < y2 <= height):
        raise InputError(f"{where}: box {x1},{y1},{x2},{y2} is empty or outside the {width}x{height} image; {AGAIN}")
    return Record(
        id=f"{prefix}/{row['Filename'].removesuffix('.ppm')}",
        archive=path,
        member=member,
        crc=info.CRC,
        n_bytes=info.file_size,
        label=label,
        track=track,
        size=(width, height),
        coords=(x1, y1, x2, y2),
    )


def _refuse_unlisted(archive: zipfile.ZipFile, path: Path, records: Sequence[Record]) -> None:
    if not records:
        raise InputError(f"{path}: no image in the official layout (GTSRB/Final_.../Images/*.ppm with a CSV); {AGAIN}")
    listed = {record.member for record in records}
    if len(listed) < len(records):
        raise InputError(f"{path}: a CSV lists an image twice; {AGAIN}")
    for name in archive.namelist():
        if name.endswith(".ppm") and name not in listed:
            raise InputError(f"{path}: {name} is in no CSV; {AGAIN}")


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip whose members are all safe to read.

    Raises:
        InputError: the file is missing or no whole zip, or a member is a link, is encrypted, is larger than 4 MiB,
            occurs twice, is packed in an unusual way, or has a path that leaves the folder.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run `dvc repro` to fetch it") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder where a zip is expected; do not unpack the archive") from None
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: truncated or not a zip ({error}); {AGAIN}") from None
    with archive:
        members = archive.infolist()
        if len(archive.NameToInfo) < len(members):
            raise InputError(f"{path}: a member occurs twice; {AGAIN}")
        for info in members:
            if problem := _problem(info):
                raise InputError(f"{path}: member {info.filename!r:.80} {problem}; {AGAIN}")
        yield archive


def _problem(info: zipfile.ZipInfo) -> str | None:
    name = info.filename
    if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
        return "has a path that leaves the archive's folder"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed neither stored nor deflated"
    if info.file_size > MAX_MEMBER_BYTES:
        return f"is {info.file_size} bytes, more than the {MAX_MEMBER_BYTES} that any image needs"
    return None


def read_member(archive: zipfile.ZipFile, path: Path, name: str) -> bytes:
    """The bytes of one member of an opened archive, never more than its stated size.

    Raises:
        InputError: it is missing, or its data are corrupt or longer or shorter than stated.
    """
    try:
        return archive.read(name)
    except KeyError:
        raise InputError(f"{path}: no member {name}; {AGAIN}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path}: {name} is corrupt ({' '.join(str(error).split())}); {AGAIN}") from None


def read_files(records: Iterable[Record]) -> Iterator[bytes]:
    """The image files of records, as they lie in the archives, in the records' order.

    Raises:
        InputError: a member is corrupt.
    """
    with ExitStack() as stack:
        archives: dict[Path, zipfile.ZipFile] = {}
        for record in records:
            if record.archive not in archives:
                archives[record.archive] = stack.enter_context(open_archive(record.archive))
            yield read_member(archives[record.archive], record.archive, record.member)


def decode(file: bytes, record: Record) -> Image.Image:
    """The image of one file as RGB.

    Raises:
        InputError: the file is no whole PPM image, or its size is not that of the CSV row.
    """
    where = f"{record.archive}: {record.member}"
    try:
        image = Image.open(io.BytesIO(file), formats=["PPM"])
        if image.size != record.size:
            raise InputError(f"{where} is {image.size} pixels, but {record.size} in the CSV; {AGAIN}")
        return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{where} is a corrupt image ({' '.join(str(error).split())}); {AGAIN}") from None
