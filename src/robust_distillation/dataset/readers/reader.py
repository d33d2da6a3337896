"""What a reader gives, whatever the raw files are."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image

NO_TRACK = -1


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a source.

    Attributes:
        id: stable and unique in the source, such as `train/00014/00023_00005` or `test/00000`.
        archive: the file or folder that holds it.
        member: the image's name in there.
        crc: CRC-32 of the image file.
        n_bytes: its length.
        label: class id.
        track: what no split may part, the frames of one physical sign for instance; -1 where that is not known.
        size: width and height in pixels.
        coords: the box of what the image shows x1, y1, x2, y2 in pixels; x2 and y2 are exclusive.
    """

    id: str
    archive: Path
    member: str
    crc: int
    n_bytes: int
    label: int
    track: int
    size: tuple[int, int]
    coords: tuple[int, int, int, int]


class Reader(Protocol):
    """What the modules of this folder offer."""

    def list_training(self, folder: Path) -> list[Record]:
        """What may go into train and trusted, and into validate and test where the source has none of its own."""

    def list_validation(self, folder: Path) -> list[Record]:
        """What goes into validate; nothing where the source does not say."""

    def list_test(self, folder: Path) -> list[Record]:
        """What goes into test; nothing where the source does not say."""

    def read_files(self, records: Iterable[Record]) -> Iterator[bytes]:
        """The image files of records."""

    def decode(self, file: bytes, record: Record, /) -> "Image.Image":
        """The image of one file, RGB or L (grey), which may be smaller than the original that the record describes."""
