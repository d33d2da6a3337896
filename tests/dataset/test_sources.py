"""Sources of any image data set: each from its raw files through `fetch`, `dataset` and `validate` to a training."""

import csv
import gzip
import json
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from robust_distillation.dataset.generator import SETS
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.sources import SOURCES
from robust_distillation.dataset.sources.fashion_mnist import NAMES, read_idx
from robust_distillation.errors import InputError
from robust_distillation.params import load_params
from robust_distillation.paths import DOWNLOADS
from robust_distillation.stages import dataset as dataset_stage
from robust_distillation.stages import fetch
from robust_distillation.stages import validate as validate_stage

ROOT = Path(__file__).parents[2]
COUNTS = {"train_samples": 24, "validate_samples": 6, "test_samples": 6, "trusted_samples": 6, "image_size": 8}
FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture
def raw(tmp_path):
    """An empty folder of the user's."""
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


def params_of(source, path, *, data=(), **dataset):
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["data"] |= {"source": source, "path": str(path), **dict(data)}
    values["dataset"] |= COUNTS | dataset
    Path("params.yaml").write_text(yaml.safe_dump(values))
    return load_params()


def run(params):
    """Run the stages up to validate, and return the sets."""
    SOURCES[params.data.source].check(params.data)
    fetch.main(params)
    dataset_stage.main(params)
    validate_stage.main(params)
    assert json.loads(Path("reports/validation.json").read_text())["success"]
    return {name: ImageSet.load(Path(f"data/dataset/{name}.p")) for name in SETS}


def refused(params, words):
    with pytest.raises(InputError, match=words) as caught:
        run(params)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def learns(sets):
    """Return whether a small network that is trained on the sets tells the classes apart."""
    from robust_distillation.classifiers.settings import Training
    from robust_distillation.classifiers.training import one_hot, train_classifier

    n_classes = int(sets["train"].labels.max()) + 1
    data = [(sets[name].images, one_hot(sets[name].labels, n_classes)) for name in ("train", "validate")]
    settings = Training(architecture="mine:linear", epochs=30, batch_size=8, learning_rate=0.05, seed=1)
    _, history = train_classifier(*data[0], settings, validation=data[1])
    return history["accuracy"][-1] > 0.9


@pytest.fixture
def linear(repository, monkeypatch):
    """A linear model of the user's own, `mine:linear`."""
    import sys

    (repository / "mine.py").write_text(
        "import keras\n\n\ndef linear(shape, n_classes):\n    image = keras.Input(shape)\n"
        "    return keras.Model(image, keras.layers.Dense(n_classes)(keras.layers.Flatten()(image)))\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(repository)])
    yield
    sys.modules.pop("mine", None)


def pixels(rng, label, side=12, colour=True):
    """An image with a bright stripe that tells its class."""
    image = rng.integers(0, 60, (side, side, 3) if colour else (side, side))
    image[:, side * label // 3 : side * (label + 1) // 3] += 150
    return image.astype(np.uint8)


def draw(path, rng, label, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(rng, label, **settings)).save(path)


def draw_classes(folder, names=("cat", "dog", "owl"), count=16, ending="png", seed=0, **settings):
    rng = np.random.default_rng(seed)
    for label, name in enumerate(names):
        for number in range(count):
            draw(folder / name / f"{number:03}.{ending}", rng, label, **settings)


def ids(sets, *names):
    return [identity for name in names for identity in sets[name].ids]


def test_digits_need_nothing(repository, linear):
    sets = run(params_of("digits", DOWNLOADS, colour="grey", train_samples=400, validate_samples=60, test_samples=60))
    assert [len(sets[name]) for name in SETS] == [400, 60, 60, 6]
    assert sets["train"].features.shape == (400, 8, 8, 1)
    assert sets["train"].features.max() == 255
    assert len(set(ids(sets, *SETS))) == 526
    assert learns(sets)
    refused(params_of("digits", DOWNLOADS, test_samples="all"), "has no test set of its own; set test_samples to a")


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif", "webp", "tif"])
def test_a_folder_of_class_folders_of_any_format(repository, raw, ending):
    draw_classes(raw, ending=ending)
    (raw / "README.txt").write_text("left alone")
    sets = run(params_of("folder", raw))
    assert [Counter(sets[name].labels.tolist()) for name in SETS] == [
        dict.fromkeys(range(3), count) for count in (8, 2, 2, 2)
    ]
    assert len(set(ids(sets, *SETS))) == 42
    assert json.loads(Path("data/dataset/classes.json").read_text())["names"] == ["cat", "dog", "owl"]


def test_a_folder_is_learned_from(repository, raw, linear):
    draw_classes(raw)
    assert learns(run(params_of("folder", raw)))


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("training", "val", "testing"), ("Train", None, None)])
def test_folders_of_the_sets_are_kept_to(repository, raw, names):
    for seed, (name, count) in enumerate(zip(names, (16, 2, 2), strict=True)):
        if name:
            draw_classes(raw / name, count=count, seed=seed)
    sets = run(params_of("folder", raw))
    for part, name in zip(("train", "validate", "test", "trusted"), (*names, names[0]), strict=True):
        assert all(identity.startswith(f"images/{name or names[0]}/") for identity in ids(sets, part))
    if names[2]:
        assert len(run(params_of("folder", raw, test_samples="all"))["test"]) == 6


def test_images_of_any_size_and_of_two_classes(repository, raw):
    rng = np.random.default_rng(0)
    for label in range(2):
        for number in range(25):
            draw(raw / f"{label}" / f"{number}.png", rng, label, side=8 + 5 * number)
    sets = run(params_of("folder", raw))
    assert sets["train"].features.shape == (24, 8, 8, 3)
    assert len(set(sets["train"].sizes[:, 0])) > 10


def test_class_folders_that_are_numbers_keep_them(repository, raw):
    draw_classes(raw, names=("00003", "00014", "00100"))
    run(params_of("folder", raw))
    assert json.loads(Path("data/dataset/classes.json").read_text())["ids"] == [3, 14, 100]


def test_images_are_read_as_people_see_them(repository, raw):
    draw_classes(raw)
    see_through = Image.new("RGBA", (12, 12), (255, 0, 0, 0))
    see_through.putpixel((0, 0), (255, 0, 0, 255))
    see_through.save(raw / "cat/000.png")
    turned = Image.new("RGB", (24, 12), "black")
    turned.paste((255, 255, 255), (0, 0, 12, 12))
    exif = turned.getexif()
    exif[0x0112] = 6  # shown after a quarter turn to the right
    turned.save(raw / "cat/001.png", exif=exif)
    params = params_of("folder", raw, train_samples="all", image_size=12)
    sets = run(params)
    found = {
        identity: image for name in SETS for identity, image in zip(sets[name].ids, sets[name].features, strict=True)
    }
    assert found["images/cat/000.png"][0, 0].tolist() == [255, 0, 0]
    assert (found["images/cat/000.png"][1:] == 255).all()
    assert found["images/cat/001.png"][:5].min() == 255
    assert found["images/cat/001.png"][-5:].max() == 0


def test_files_of_one_group_are_never_parted(repository, raw):
    rng = np.random.default_rng(0)
    for label, name in enumerate(("cat", "dog", "owl")):
        for animal in range(8):
            for shot in range(3):
                draw(raw / name / f"{animal}_{shot}.png", rng, label)
    sets = run(params_of("folder", raw, data={"group": r"([a-z]+/\d+)_\d+\.png$"}))
    groups = [{identity.rpartition("_")[0] for identity in sets[name].ids} for name in SETS]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert refused(params_of("folder", raw, data={"group": r"(\d+)-"}), r"does not fit data\.group").count("png") == 2


def test_groups_across_classes_are_never_parted(repository, raw):
    rng = np.random.default_rng(0)
    for photographer in range(24):
        for label, name in enumerate(("cat", "dog", "owl")):
            draw(raw / name / f"{photographer}_1.png", rng, label)
    sets = run(params_of("folder", raw, data={"group": r"/(\d+)_"}))
    assert [Counter(sets[name].labels.tolist()) for name in SETS] == [
        dict.fromkeys(range(3), count) for count in (8, 2, 2, 2)
    ]
    groups = [set(sets[name].tracks) for name in SETS]
    assert sum(map(len, groups)) == len(set.union(*groups)) >= 14


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda raw: (raw / "empty").mkdir(), "mine/empty: an empty class folder; put images there"),
        (lambda raw: (raw / "cat/000.png").write_bytes(b"no image"), r"cat/000\.png is no image or a corrupt one"),
        (
            lambda raw: (raw / "cat/000.png").write_bytes((raw / "cat/001.png").read_bytes()[:200]),
            r"cat/000\.png is no image or a corrupt one",
        ),
        (lambda raw: (raw / "dog/notes.txt").write_text("a"), r"dog/notes\.txt is no image"),
        (
            lambda raw: Image.fromarray(np.zeros((12, 12), np.int32)).save(raw / "owl/000.tif"),
            r"owl/000\.tif has pixels of mode I; convert it to 8 bits",
        ),
        (lambda raw: (raw / "owl/far.png").symlink_to(raw.parent / "far.png"), r"owl/far\.png leads out of the folder"),
        (lambda raw: draw_classes(raw, names=("grey",), colour=False), r"grey/\d+\.png is grey, but .* is in colour"),
        (lambda raw: draw_classes(raw / "train"), "mine/cat: beside a folder for training, only validate and test"),
    ],
)
def test_what_is_wrong_in_a_folder_is_named(repository, raw, spoil, words):
    draw(raw.parent / "far.png", np.random.default_rng(0), 0)
    draw_classes(raw)
    spoil(raw)
    refused(params_of("folder", raw), words)
    assert not list(Path().glob("data/**/.*"))


def test_one_class_alone_is_refused(repository, raw):
    draw_classes(raw, names=("cat",))
    refused(params_of("folder", raw), "mine: holds one class alone, cat; a classifier needs two")
    refused(params_of("folder", raw / "cat"), "mine/cat: holds no folder; put the images of each class")
    refused(params_of("folder", raw / "nowhere"), r"data\.path: .*nowhere is no folder")


def test_a_test_class_that_training_lacks_is_named(repository, raw):
    draw_classes(raw / "train")
    draw_classes(raw / "test", names=("cat", "yak"), count=2, seed=1)
    refused(params_of("folder", raw), "images/test/yak/000.png: label 3 is that of no training image")


class Table:
    """A table like Kaggle's copy of GTSRB: images of three classes, eight signs each, three frames of a sign."""

    def __init__(self, folder):
        rng = np.random.default_rng(0)
        self.folder, self.rows = folder, []
        for label in range(3):
            for sign in range(8):
                for frame in range(3):
                    file = f"Train/{label}/{label:05}_{sign:05}_{frame:05}.png"
                    draw(folder / file, rng, label)
                    box = dict(zip(("Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2"), (1, 2, 11, 10), strict=True))
                    self.rows.append({"Width": 12, "Height": 12, **box, "ClassId": label, "Path": file, "Sign": sign})

    def write(self, name="Train.csv", rows=None, delimiter=","):
        rows = self.rows if rows is None else rows
        with (self.folder / name).open("w", newline="") as handle:
            writer = csv.DictWriter(handle, rows[0], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)


@pytest.fixture
def table(raw):
    return Table(raw)


def test_kaggles_table_of_signs(repository, table, linear):
    table.write()
    rng = np.random.default_rng(1)
    tests = [{**row, "Path": f"Test/{number:05}.png"} for number, row in enumerate(table.rows[::4])]
    for row in tests:
        draw(table.folder / row["Path"], rng, row["ClassId"])
    table.write("Test.csv", tests)
    (table.folder / "Meta.csv").write_text("ClassId,ShapeId\n0,1\n")
    sets = run(params_of("csv", table.folder))
    assert all(identity.startswith("images/Test/") for identity in ids(sets, "test"))
    assert (sets["train"].coords == [1, 2, 11, 10]).all()
    assert learns(sets)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_are_named_and_groups_kept(repository, table, delimiter):
    rows = [
        {"file": row["Path"], "kind": ("cat", "dog", "owl")[row["ClassId"]], "whose": f"{row['ClassId']} {row['Sign']}"}
        for row in table.rows
    ]
    table.write("animals.csv", rows, delimiter)
    columns = {"path": "file", "label": "kind", "box": None, "group": "whose"}
    sets = run(params_of("csv", table.folder, data={"csv": columns}))
    groups = [set(sets[name].tracks) for name in SETS]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 24
    assert json.loads(Path("data/dataset/classes.json").read_text())["names"] == ["cat", "dog", "owl"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"Path": "Train/0/none.png"}, r"Train\.csv: row 4: no image Train/0/none\.png in"),
        ({"Path": "../far.png"}, r"Train\.csv: row 4: \.\./far\.png leads out of the folder"),
        (
            {"Path": "Train/0/00000_00000_00000.png"},
            r"row 4: .* stands in .*Train\.csv: row 2 too",
        ),
        ({"ClassId": ""}, "row 4: ClassId is empty; fill it in"),
        ({"ClassId": -1}, "row 4: label -1 is below 0; correct it"),
        ({"Roi.X2": 13}, r"00002\.png: box 1,2,13,10 is empty or outside the 12x12 image"),
        ({"Roi.X1": "left"}, "row 4: Roi.X1 must be a whole number. Received: 'left'"),
    ],
)
def test_what_is_wrong_in_a_row_is_named(repository, table, spoil, words):
    draw(table.folder.parent / "far.png", np.random.default_rng(0), 0)
    table.rows[2] |= spoil
    table.write()
    refused(params_of("csv", table.folder), words)
    assert not Path("data/raw").exists()


def test_a_table_that_is_none_is_named(repository, table):
    refused(params_of("csv", table.folder), r"mine: holds neither train\.csv nor one table alone \(none\)")
    table.write("a.csv")
    refused(params_of("csv", table.folder, data={"csv": {"path": "x", "label": "y", "box": None, "group": None}}), "x")
    table.write("b.csv")
    refused(params_of("csv", table.folder), r"one table alone \(a\.csv, b\.csv\); name the tables so")
    (table.folder / "train.csv").write_text("Path,ClassId,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2\n")
    refused(params_of("csv", table.folder), "mine: the table of training images lists none; add rows")


def test_a_group_in_two_sets_of_the_source_is_named(repository, table):
    table.write(rows=table.rows[1:])
    table.write("test.csv", table.rows[:1])
    words = r"00000_00000_00000\.png: is of one track \(or group\) with the training image images/Train/0/00000_00000_"
    refused(params_of("csv", table.folder, data={"group": r"(\d+_\d+)_\d+\.png$"}, test_samples=1), words)


def test_a_group_in_validation_and_test_is_named(repository, table):
    table.write(rows=table.rows[3:])
    table.write("valid.csv", table.rows[:1])
    table.write("test.csv", table.rows[1:3])
    words = (
        r"00000_00000_00001\.png: is of one track \(or group\) with the validation image images/Train/0/00000_00000_"
    )
    refused(params_of("csv", table.folder, data={"group": r"(\d+_\d+)_\d+\.png$"}, test_samples=1), words)


def arrays(count=16, seed=0, colour=True):
    rng = np.random.default_rng(seed)
    labels = np.arange(3 * count) % 3
    return np.stack([pixels(rng, label, colour=colour) for label in labels]), labels


NAMINGS = [("x_{}", "y_{}", "val"), ("{}_images", "{}_labels", "validate")]


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("colour", [True, False])
def test_arrays_by_the_names_of_keras_and_medmnist(repository, tmp_path, linear, naming, colour):
    images, labels, validate = naming
    contents = {}
    for seed, (word, count) in enumerate({"train": 16, validate: 2, "test": 4}.items()):
        contents[images.format(word)], flat = arrays(count, seed, colour)
        contents[labels.format(word)] = flat[:, None] if word == "train" else flat
    np.savez_compressed(tmp_path / "mine.npz", names=np.array(["cat", "dog", "owl"]), **contents)
    sets = run(params_of("npz", tmp_path / "mine.npz", test_samples="all", colour="rgb" if colour else "grey"))
    assert [len(sets[name]) for name in SETS] == [24, 6, 12, 6]
    assert json.loads(Path("data/dataset/classes.json").read_text())["names"] == ["cat", "dog", "owl"]
    assert learns(sets)


def test_arrays_without_sets_and_with_groups(repository, tmp_path):
    images, labels = arrays()
    groups = np.array([f"{label} {number // 6}" for number, label in enumerate(labels)])
    np.savez(tmp_path / "mine.npz", images=images / 255, labels=labels, groups=groups)
    sets = run(params_of("npz", tmp_path / "mine.npz"))
    tracks = [set(sets[name].tracks) for name in SETS]
    assert sum(map(len, tracks)) == len(set.union(*tracks)) >= 12


class Runs:
    def __reduce__(self):
        return Path.touch, (Path("hacked"),)


GOOD = arrays()


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"x_train": GOOD[0], "y_train": np.array([Runs()], dtype=object)}, "no .npz of plain arrays .*make it again"),
        (
            {"x_train": GOOD[0], "y_train": GOOD[1][:-1]},
            r"train: 48 images, but labels of shape \(47,\); give one each",
        ),
        ({"x_train": GOOD[0], "y_train": GOOD[1] - 1}, "train: row 0: label -1 is out of range, which is at least 0"),
        (
            {"x_train": GOOD[0], "y_train": GOOD[1], "names": np.array(["cat", "dog"])},
            "train: row 2: label 2 is out of range, which is 0 to 1",
        ),
        ({"x_train": GOOD[0], "y_train": GOOD[1] / 2}, "train: labels must be whole numbers. Received: float64"),
        ({"x_train": GOOD[0] * 1.0, "y_train": GOOD[1]}, r"train: images must be uint8, or floats in \[0, 1\]"),
        ({"x_train": GOOD[0][:, 0, 0], "y_train": GOOD[1]}, "images must be uint8"),
        ({"x_train": GOOD[0], "y_train": 0 * GOOD[1]}, "train holds one class alone, 0; a classifier needs two"),
        (
            {"x_train": GOOD[0], "y_train": GOOD[1], "x_test": GOOD[0][:, :8], "y_test": GOOD[1]},
            r"test has images of \(8, 12, 3\), train of \(12, 12, 3\); make them equal",
        ),
        ({"pictures": GOOD[0]}, "has pictures where x_train and y_train"),
    ],
)
def test_what_is_wrong_in_arrays_is_named(repository, tmp_path, contents, words):
    np.savez(tmp_path / "mine.npz", **contents)
    refused(params_of("npz", tmp_path / "mine.npz"), rf"mine\.npz.*{words}")
    assert not Path("hacked").exists()
    assert not Path("data/raw").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x93NUMPY"])
def test_what_is_no_npz_is_named(repository, tmp_path, content):
    (tmp_path / "mine.npz").write_bytes(content)
    refused(params_of("npz", tmp_path / "mine.npz"), r"mine\.npz: no \.npz of plain arrays")
    refused(params_of("npz", tmp_path / "none.npz"), r"data\.path: .*none\.npz is no file")


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


class Fashion:
    """Small files in the format of Fashion-MNIST."""

    def __init__(self, folder):
        self.folder = folder
        rng = np.random.default_rng(0)
        self.files = {}
        for prefix, count in (("train", 60), ("t10k", 20)):
            labels = (np.arange(count) % 10).astype(np.uint8)
            images = np.stack([25 * label + rng.integers(0, 25, (28, 28)) for label in labels]).astype(np.uint8)
            self.files[f"{prefix}-images-idx3-ubyte"] = idx(images)
            self.files[f"{prefix}-labels-idx1-ubyte"] = idx(labels)

    def write(self, packed=True):
        for name, content in self.files.items():
            path = self.folder / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(content, mtime=0) if packed else content)


@pytest.fixture
def fashion(raw):
    return Fashion(raw)


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_from_a_folder(repository, fashion, packed):
    fashion.write(packed)
    counts = {"train_samples": 30, "validate_samples": 10, "test_samples": "all", "trusted_samples": 10}
    sets = run(params_of("fashion_mnist", fashion.folder, colour="grey", image_size=28, **counts))
    assert [len(sets[name]) for name in SETS] == [30, 10, 20, 10]
    assert (sets["test"].features[:, 0, 0, 0] // 25 == sets["test"].labels).all()
    assert json.loads(Path("data/dataset/classes.json").read_text())["names"] == list(NAMES)


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("train-images-idx3-ubyte", lambda old: b"\0\0\x0d" + old[3:], "begins with 00000d03, not the 000008"),
        ("train-labels-idx1-ubyte", lambda old: old[:-1], r"has 67 bytes, but its shape \(60,\) needs 68"),
        (
            "t10k-images-idx3-ubyte",
            lambda old: old + b"\0",
            r"has 15697 bytes, but .* \(20, 28, 28\) needs 15696",
        ),
        ("t10k-labels-idx1-ubyte", lambda _: b"", "begins with , not the 000008"),
        (
            "t10k-labels-idx1-ubyte",
            lambda old: old[:-1] + b"\x0b",
            "test: row 19: label 11 is out of range",
        ),
    ],
)
def test_a_wrong_idx_file_is_named(repository, fashion, name, spoil, words):
    fashion.files[name] = spoil(fashion.files[name])
    fashion.write()
    refused(params_of("fashion_mnist", fashion.folder), words)
    assert not Path("data/raw").exists()


def test_a_truncated_and_a_missing_idx_file_are_named(repository, fashion):
    fashion.write()
    path = fashion.folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    refused(params_of("fashion_mnist", fashion.folder), r"t10k-labels-idx1-ubyte\.gz: truncated or no gzip")
    path.unlink()
    refused(params_of("fashion_mnist", fashion.folder), r"mine: holds neither t10k-labels-idx1-ubyte\.gz nor t10k-")


def test_the_real_fashion_mnist():
    if not FASHION.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    images, labels = (read_idx(FASHION / f"t10k-{name}-ubyte.gz") for name in ("images-idx3", "labels-idx1"))
    assert images.shape == (10_000, 28, 28)
    assert np.bincount(labels).tolist() == [1000] * 10
