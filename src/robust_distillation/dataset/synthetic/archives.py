"""Synthetic photographs in the official archives' names and layout."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import numpy as np
from joblib import Parallel, delayed

from robust_distillation.arrays import Array
from robust_distillation.dataset.synthetic.faces import FACES
from robust_distillation.dataset.synthetic.render import Photograph, Track
from robust_distillation.progress import Bar

TRAINING, TEST, FURTHER = range(3)
COLUMNS = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2"


def draw_archives(
    folder: Path,
    *,
    classes: Sequence[int] = range(len(FACES)),
    tracks_per_class: int,
    frames_per_track: int,
    test_per_class: int,
    seed: int,
    jobs: int = -1,
) -> None:
    """Draw synthetic signs and write them as the three official GTSRB archives.

    Each training track is one physical sign that is approached over its frames; each test image is a sign of its own,
    and the test set is shuffled. The same arguments give the same bytes, whatever `jobs` is.

    Args:
        folder: receives the three zip files; created if missing.
        classes: ids of the signs to draw, ascending; all 43 by default.
        tracks_per_class: training signs of each class, at least 1.
        frames_per_track: images of each training sign, at least 1.
        test_per_class: test images of each class, at least 1.
        seed: not negative.
        jobs: worker processes; -1 is one for each core.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_training(
        folder / "GTSRB_Final_Training_Images.zip",
        photograph_in_parallel(
            [(seed, TRAINING, class_id, track) for class_id in classes for track in range(tracks_per_class)],
            np.linspace(0, 1, frames_per_track).tolist(),
            jobs,
            "drawing training signs",
        ),
        classes,
        tracks_per_class,
    )
    labels = np.random.default_rng([seed, TEST]).permutation(np.repeat(classes, test_per_class)).tolist()
    photographs = photograph_in_parallel(
        [(seed, TEST, class_id, number) for number, class_id in enumerate(labels)], None, jobs, "drawing test signs"
    )
    _write_test(folder, photographs, labels)


def photograph_in_parallel(
    tracks: Sequence[tuple[int, int, int, int]], approaches: list[float] | None, jobs: int, title: str
) -> Iterator[list[Photograph]]:
    """The photographs of each track, in order."""
    work = (delayed(photograph_track)(track, approaches) for track in tracks)
    done = Parallel(n_jobs=jobs, return_as="generator")(work)
    return iter(Bar(done, total=len(tracks), desc=title, unit="sign"))


def photograph_track(track: tuple[int, int, int, int], approaches: list[float] | None) -> list[Photograph]:
    """Photograph one sign; a pure function of its arguments.

    Args:
        track: seed, set, class id and number of the sign, which together seed every draw.
        approaches: one photograph each, from 0 (farthest) to 1 (nearest); None takes one from a random distance.
    """
    rng = np.random.default_rng(track)
    sign = Track(track[2], rng)
    return [sign.photograph(approach) for approach in ([rng.random()] if approaches is None else approaches)]


def _write_training(
    path: Path, tracks: Iterable[list[Photograph]], classes: Sequence[int], tracks_per_class: int
) -> None:
    with ZipFile(path, "w") as archive:
        rows: list[str] = []
        for (class_id, track), photographs in zip(product(classes, range(tracks_per_class)), tracks, strict=True):
            images = f"GTSRB/Final_Training/Images/{class_id:05d}"
            for frame, photograph in enumerate(photographs):
                name = f"{track:05d}_{frame:05d}.ppm"
                _add(archive, f"{images}/{name}", _ppm(photograph.pixels))
                rows.append(f"{_row(name, photograph)};{class_id}")
            if track == tracks_per_class - 1:
                _add(archive, f"{images}/GT-{class_id:05d}.csv", _table(f"{COLUMNS};ClassId", rows))
                rows = []


def _write_test(folder: Path, tracks: Iterable[list[Photograph]], labels: list[int]) -> None:
    rows = []
    with ZipFile(folder / "GTSRB_Final_Test_Images.zip", "w") as archive:
        for number, (photograph,) in enumerate(tracks):
            name = f"{number:05d}.ppm"
            _add(archive, f"GTSRB/Final_Test/Images/{name}", _ppm(photograph.pixels))
            rows.append(_row(name, photograph))
        _add(archive, "GTSRB/Final_Test/Images/GT-final_test.test.csv", _table(COLUMNS, rows))
    with ZipFile(folder / "GTSRB_Final_Test_GT.zip", "w") as archive:
        labelled = [f"{row};{label}" for row, label in zip(rows, labels, strict=True)]
        _add(archive, "GT-final_test.csv", _table(f"{COLUMNS};ClassId", labelled))


def _add(archive: ZipFile, name: str, content: bytes) -> None:
    """Add a member that carries no clock time; stored, as noise hardly compresses and zlib's versions differ."""
    archive.writestr(ZipInfo(name), content)


def _ppm(pixels: Array) -> bytes:
    height, width, _ = pixels.shape
    return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()


def _row(name: str, photograph: Photograph) -> str:
    height, width, _ = photograph.pixels.shape
    return ";".join(str(field) for field in (name, width, height, *photograph.roi))


def _table(header: str, rows: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in [header, *rows]).encode()
