"""Images per second that the generator reads, beside a plain loop over the same images.

Usage:
    python benchmarks/dataset.py FOLDER_WITH_THE_THREE_ARCHIVES
"""

import csv
import io
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
from joblib import cpu_count
from PIL import Image
from pipeline import git

from robust_distillation.dataset.generator import SETS, DatasetGenerator
from robust_distillation.dataset.readers.archives import ARCHIVES, TEST_IMAGES, TEST_LABELS, TRAINING_IMAGES
from robust_distillation.files import write_json

RESULT = Path("results/dataset-speed/metrics.json")
SIZE = 32


def plain_loop(folder: Path) -> int:
    """Read every image of both archives one at a time, without checks or splits; return how many there are."""
    rows = []
    with zipfile.ZipFile(folder / TRAINING_IMAGES) as archive:
        for table in [name for name in archive.namelist() if name.endswith(".csv")]:
            rows += [(TRAINING_IMAGES, table.rsplit("/", 1)[0], row) for row in read_csv(archive, table)]
    with zipfile.ZipFile(folder / TEST_LABELS) as archive:
        (table,) = archive.namelist()
        rows += [(TEST_IMAGES, "GTSRB/Final_Test/Images", row) for row in read_csv(archive, table)]
    images = []
    archives = {name: zipfile.ZipFile(folder / name) for name in (TRAINING_IMAGES, TEST_IMAGES)}
    for name, base, row in rows:
        image = Image.open(io.BytesIO(archives[name].read(f"{base}/{row['Filename']}")))
        x1, y1, x2, y2 = (int(row[f"Roi.{corner}"]) for corner in ("X1", "Y1", "X2", "Y2"))
        images.append(np.asarray(image.crop((x1, y1, x2, y2)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
    return len(np.stack(images))


def read_csv(archive: zipfile.ZipFile, table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(archive.read(table).decode()), delimiter=";"))


def generate(folder: Path) -> int:
    """Make the full data set: listing, duplicates, splits, images; return how many images there are."""
    splits = DatasetGenerator(
        n_classes="all",
        n_train_samples="all",
        n_validate_samples=1290,
        n_test_samples="all",
        n_trusted_samples=3870,
        image_size=SIZE,
    ).generate(folder)
    return sum(len(getattr(splits, name)) for name in SETS)


def main(folder: Path) -> None:
    seconds, images = {}, {}
    for name, run in (("generator", generate), ("plain_loop", plain_loop)):
        start = time.perf_counter()
        images[name] = run(folder)
        seconds[name] = time.perf_counter() - start
    write_json(
        RESULT,
        {
            "images_per_second": round(images["generator"] / seconds["generator"]),
            "plain_loop_images_per_second": round(images["plain_loop"] / seconds["plain_loop"]),
            "images": images["generator"],
            "raw_bytes": sum((folder / name).stat().st_size for name in ARCHIVES),
            "image_size": SIZE,
            "cores": cpu_count(),
            "command": "python benchmarks/dataset.py FOLDER_WITH_THE_THREE_ARCHIVES",
            "commit": git("rev-parse", "HEAD"),
        },
    )
    print(RESULT.read_text(), end="")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
