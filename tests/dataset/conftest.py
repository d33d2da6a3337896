import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HEADER = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\r\n"
SIDE = 20


def ppm(rng, side=SIDE):
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(buffer, "PPM")
    return buffer.getvalue()


def row(name, label, side=SIDE):
    return f"{name};{side};{side};4;3;16;18;{label}\r\n"


class Raw:
    """Small archives in the official layout whose members a test may change before they are written."""

    def __init__(self, folder: Path, classes, tracks, frames, test):
        rng = np.random.default_rng(7)
        self.folder = folder
        self.training, self.test, self.labels = {}, {}, {}
        for label in range(classes):
            base = f"GTSRB/Final_Training/Images/{label:05}"
            names = [f"{track:05}_{frame:05}.ppm" for track in range(tracks[label]) for frame in range(frames)]
            self.training |= {f"{base}/{name}": ppm(rng) for name in names}
            self.training[f"{base}/GT-{label:05}.csv"] = (HEADER + "".join(row(name, label) for name in names)).encode()
        names = [f"{number:05}.ppm" for number in range(classes * test)]
        self.test = {f"GTSRB/Final_Test/Images/{name}": ppm(rng) for name in names}
        rows = [row(name, number % classes) for number, name in enumerate(names)]
        self.labels = {"GT-final_test.csv": (HEADER + "".join(rows)).encode()}

    def write(self) -> Path:
        self.folder.mkdir(exist_ok=True)
        for name, members in (("Training_Images", self.training), ("Test_Images", self.test), ("Test_GT", self.labels)):
            with zipfile.ZipFile(self.folder / f"GTSRB_Final_{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for member, data in members.items():
                    archive.writestr(member, data)
        return self.folder


@pytest.fixture
def make_raw(tmp_path):
    def make(classes=3, tracks=(7, 6, 5), frames=10, test=8):
        return Raw(tmp_path / "raw", classes, tracks, frames, test)

    return make


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository that is the current folder; nothing is logged."""
    (tmp_path / "repo/.dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repo")
    for name in ("log_metrics", "log_metric", "log_artifact"):
        monkeypatch.setattr(f"mlflow.{name}", lambda *_: None)
    return tmp_path / "repo"
