import json
import os
import pickle
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from robust_distillation.dataset.cli import dataset
from robust_distillation.dataset.generator import SETS, DatasetGenerator
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.sources.udacity import find_pickles
from robust_distillation.errors import InputError
from robust_distillation.params import load_params
from robust_distillation.paths import DOWNLOADS
from robust_distillation.stages import dataset as dataset_stage
from robust_distillation.stages import fetch
from robust_distillation.stages import validate as validate_stage

ROOT = Path(__file__).parents[2]
SMALL = {
    "n_classes": 3,
    "n_train_samples": 45,
    "n_validate_samples": 9,
    "n_test_samples": 7,
    "n_trusted_samples": 12,
    "n_workers": 1,
    "image_size": 8,
}


def draw(rng, per_class, classes=3):
    """Rows of random pixels, sorted by class, with the types that the published pickles have."""
    labels = np.repeat(np.arange(classes), per_class)
    count = len(labels)
    return {
        "features": rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
        "labels": labels.astype(np.uint8),
        "sizes": np.tile(np.array([64, 48], np.uint8), (count, 1)),
        "coords": np.tile(np.array([6, 5, 57, 43], np.uint8), (count, 1)),
    }


def python_2_pickle(arrays):
    """What Python 2 writes for a dict of arrays: protocol 2, all text and data as byte strings (opcodes U and T)."""

    def text(word):
        return b"U" + bytes([len(word)]) + word.encode()

    def number(value):
        return b"J" + struct.pack("<i", value)

    out = b"\x80\x02}"
    for name, array in arrays.items():
        shape = b"(" + b"".join(map(number, array.shape)) + b"t"
        state = b"(K\x03" + text(array.dtype.byteorder) + b"NNN" + number(-1) + number(-1) + b"K\x00tb"
        dtype = b"cnumpy\ndtype\n" + text(array.dtype.str[1:]) + b"K\x00K\x01\x87R" + state
        empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        data = array.tobytes()
        out += text(name) + empty + b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(data)) + data + b"tbs"
    return out + b"."


class Pickles:
    """Small pickles whose rows a test may change before they are written."""

    def __init__(self, folder: Path):
        rng = np.random.default_rng(3)
        self.folder = folder
        self.values = {"train.p": draw(rng, 30), "valid.p": draw(rng, 5), "test.p": draw(rng, 8)}

    def write(self, pack=lambda value: pickle.dumps(value, 2)) -> Path:
        self.folder.mkdir(exist_ok=True)
        for name, value in self.values.items():
            (self.folder / name).write_bytes(pack(value))
        return self.folder


@pytest.fixture
def pickles(tmp_path):
    return Pickles(tmp_path / "udacity")


def udacity_params(archives):
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["data"] |= {"source": "udacity", "path": str(archives)}
    values["dataset"] |= {
        "classes": 3,
        "train_samples": 45,
        "validate_samples": 9,
        "test_samples": 7,
        "trusted_samples": 12,
    }
    Path("params.yaml").write_text(yaml.safe_dump(values))
    return load_params()


def generate(folder, **settings):
    return DatasetGenerator(**{**SMALL, **settings}).generate(folder)


def one_line(caught):
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pack", [python_2_pickle, lambda value: pickle.dumps(value, 2), pickle.dumps])
def test_pickles_go_through_fetch_dataset_and_validate(pickles, repository, capsys, pack):
    pickles.values["validate.p"] = pickles.values.pop("valid.p")
    folder = pickles.write(pack)
    params = udacity_params(folder)
    fetch.main(params)
    raw = repository / "data/raw"
    assert sorted(file.name for file in raw.iterdir()) == ["test.p", "train.p", "valid.p"]
    assert (raw / "valid.p").read_bytes() == (folder / "validate.p").read_bytes()
    dataset_stage.main(params)
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    info = (repository / "data/dataset/info.txt").read_text()
    assert info.startswith("source: udacity in ")
    assert warnings[0] in info
    validate_stage.main(params)
    verdict = json.loads((repository / "reports/validation.json").read_text())
    assert verdict["success"]
    assert verdict["images"] == {"train": 45, "validate": 9, "test": 7, "trusted": 12}


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_keep_their_ids_labels_and_origin(pickles, seed):
    splits = generate(pickles.write(), seed=seed, crop_to_roi=False, image_size=32)
    origin = {"train": "train", "validate": "valid", "test": "test", "trusted": "train"}
    for name in SETS:
        images = getattr(splits, name)
        assert set(images.tracks) == {-1}
        for row, identity in enumerate(images.ids):
            file, number = identity.split("/")
            assert file == origin[name]
            value = pickles.values[f"{file}.p"]
            np.testing.assert_array_equal(images.features[row], value["features"][int(number)])
            assert images.labels[row] == value["labels"][int(number)]
            assert images.coords[row].tolist() == [6, 5, 57, 43]
            assert images.sizes[row].tolist() == [64, 48]
    ids = np.concatenate([getattr(splits, name).ids for name in SETS])
    assert len(set(ids)) == len(ids)


def test_counts_are_exact_and_even(pickles):
    splits = generate(pickles.write())
    assert Counter(splits.train.labels.tolist()) == {0: 15, 1: 15, 2: 15}
    assert Counter(splits.validate.labels.tolist()) == {0: 3, 1: 3, 2: 3}
    assert Counter(splits.test.labels.tolist()) == {0: 3, 1: 2, 2: 2}
    assert Counter(splits.trusted.labels.tolist()) == {0: 4, 1: 4, 2: 4}
    assert "images per class" in splits.info
    assert "track" not in splits.info.split("left out")[1]
    assert "39 further training images, not drawn" in splits.info


def test_all_is_what_trusted_leaves(pickles):
    splits = generate(pickles.write(), n_train_samples="all", n_test_samples="all")
    assert Counter(splits.train.labels.tolist()) == dict.fromkeys(range(3), 26)
    assert len(splits.test) == 24


def test_trusted_is_as_even_as_train_leaves(pickles):
    pickles.values["train.p"]["labels"][10:30] = 1
    splits = generate(pickles.write(), n_train_samples=24, n_trusted_samples=30)
    assert Counter(splits.trusted.labels.tolist()) == {0: 2, 1: 14, 2: 14}
    assert "trusted is uneven or short of the 30 asked: too few images" in splits.info


def test_list_of_classes_beyond_gtsrb(pickles):
    pickles.values = {
        name: {**value, "labels": np.array([0, 7, 50], np.uint8)[value["labels"]]}
        for name, value in pickles.values.items()
    }
    splits = generate(pickles.write(), n_classes=[50, 7], n_train_samples=20)
    assert splits.classes == [7, 50]
    assert "Speed limit (100km/h)" in splits.info
    assert "Class 50" in splits.info
    with pytest.raises(InputError, match=r"no class 1; they hold \[0, 7, 50\]"):
        generate(pickles.folder, n_classes=[1])


def test_the_box_is_scaled_from_the_original(pickles):
    folder = pickles.write()
    for settings, box, mode in (
        ({}, (3, 3, 29, 29), "RGB"),
        ({"crop_to_roi": False}, (0, 0, 32, 32), "RGB"),
        ({"colour": "grey"}, (3, 3, 29, 29), "L"),
    ):
        splits = generate(folder, **settings)
        number = int(splits.train.ids[0].split("/")[1])
        image = Image.fromarray(pickles.values["train.p"]["features"][number]).convert(mode).crop(box)
        expected = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR)).reshape(8, 8, -1)
        np.testing.assert_array_equal(splits.train.features[0], expected)


def test_equal_pixels_leave_the_training_side(pickles):
    train, valid, test = (pickles.values[name]["features"] for name in ("train.p", "valid.p", "test.p"))
    train[4], train[40], valid[7], train[60] = test[2], valid[1], test[9], train[5]
    test[3] = test[2]
    splits = generate(pickles.write(), n_train_samples="all", n_validate_samples=12, n_test_samples="all")
    left = set(np.concatenate([splits.train.ids, splits.validate.ids, splits.trusted.ids]))
    gone = {
        "train/00004": "test/00002",
        "train/00040": "valid/00001",
        "valid/00007": "test/00009",
        "train/00060": "train/00005",
    }
    assert not left & set(gone)
    assert "train/00005" in left
    assert all(f"{dropped} equals {twin}" in splits.info for dropped, twin in gone.items())
    assert "4 training images whose file equals" in splits.info
    assert {"test/00002", "test/00003"} <= set(splits.test.ids)


def test_seed_decides_and_workers_do_not(pickles, tmp_path, monkeypatch):
    monkeypatch.setattr("robust_distillation.dataset.generator.MIN_SHARD", 20)
    folder = pickles.write()
    for name, settings in (("a", {}), ("b", {"n_workers": 2}), ("c", {"seed": 1})):
        generate(folder, **settings).save(tmp_path / name)
    files = {name: [(tmp_path / name / f"{part}.p").read_bytes() for part in SETS] for name in "abc"}
    assert files["a"] == files["b"]
    assert all(one != other for one, other in zip(files["a"], files["c"], strict=True))


def test_bare_pickles_need_no_sizes(pickles):
    pickles.values = {
        name: {key: value[key] for key in ("features", "labels")} for name, value in pickles.values.items()
    }
    splits = generate(pickles.write())
    assert splits.train.sizes.tolist() == [[32, 32]] * 45
    assert splits.train.coords.tolist() == [[0, 0, 32, 32]] * 45


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_train_samples": 300}, "class 0: asked for 100 train samples, available 30; lower train_samples"),
        ({"n_validate_samples": 16}, "class 0: asked for 6 validate samples, available 5; lower validate_samples"),
        ({"n_test_samples": 30}, "class 0: asked for 10 test samples, available 8; lower test_samples"),
        ({"n_trusted_samples": 46}, "asked for 46 trusted samples, available 45 beside 45 train samples"),
        ({"n_train_samples": "all", "n_trusted_samples": 88}, "asked for 88 trusted samples, available 87 beside 3"),
        ({"n_classes": 4}, "asked for 4, the data hold 1 to 3 classes"),
    ],
)
def test_more_than_there_is_gives_the_numbers(pickles, settings, message):
    with pytest.raises(InputError, match=message) as caught:
        generate(pickles.write(), **settings)
    one_line(caught)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("coords", [6, 5, 6, 43], "row 8: coords 6,5,6,43 are empty or outside the image of sizes 64,48"),
        ("coords", [6, 5, 57, 49], "row 8: coords 6,5,57,49 are empty or outside"),
        ("sizes", [50, 48], "row 8: coords 6,5,57,43 are empty or outside the image of sizes 50,48"),
        ("labels", -2, "row 8: labels must be at least 0. Received: -2"),
    ],
)
def test_a_wrong_row_is_named(pickles, key, value, message):
    array = pickles.values["train.p"][key].astype(np.int64)
    array[8] = value
    pickles.values["train.p"][key] = array
    with pytest.raises(InputError, match=rf"train\.p: {message}") as caught:
        generate(pickles.write())
    one_line(caught)


def test_grey_beside_colour_is_refused(pickles):
    pickles.values["test.p"]["features"] = pickles.values["test.p"]["features"][..., :1]
    with pytest.raises(InputError, match=r"test\.p: \d+ is grey, but .*train\.p: \d+ is in colour") as caught:
        generate(pickles.write())
    one_line(caught)
    assert generate(pickles.folder, colour="grey").test.features.shape == (7, 8, 8, 1)


def test_features_of_two_channels_are_refused(pickles):
    pickles.values["test.p"]["features"] = pickles.values["test.p"]["features"][..., :2]
    with pytest.raises(InputError, match=r"test\.p: features must have 1 or 3 channels. Received: \(24, 32, 32, 2\)"):
        generate(pickles.write())


def test_a_label_that_no_training_image_has_is_named_with_its_row(pickles):
    pickles.values["test.p"]["labels"][5] = 99
    with pytest.raises(InputError, match=r"test\.p: 5: label 99 is that of no training image; correct it") as caught:
        generate(pickles.write())
    one_line(caught)


def test_a_class_without_an_image_for_a_set_is_named(pickles):
    pickles.values["train.p"]["labels"][5] = 99
    with pytest.raises(InputError, match="class 99: no image for validate; correct the labels, or leave 99 out"):
        generate(pickles.write(), n_classes="all", n_train_samples=4, n_trusted_samples=0)


class Runs:
    def __reduce__(self):
        return os.system, ("touch hacked",)


def test_a_hostile_pickle_is_refused_by_name_and_runs_nothing(pickles, repository):
    folder = pickles.write()
    (folder / "test.p").write_bytes(pickle.dumps({**pickles.values["test.p"], "labels": Runs()}, 2))
    with pytest.raises(InputError, match=r"udacity/test\.p: refused, for it asks for posix\.system") as caught:
        fetch.main(udacity_params(folder))
    one_line(caught)
    assert not (repository / "hacked").exists()
    assert not (repository / "data/raw").exists()


def test_a_missing_pickle_and_the_checksum_are_named(pickles, repository):
    folder = pickles.write()
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  valid.p\n")
    with pytest.raises(InputError, match=r"udacity/valid\.p: SHA-256 is .* SHA256SUMS says 0000"):
        fetch.main(udacity_params(folder))
    (folder / "valid.p").unlink()
    with pytest.raises(InputError, match=r"udacity: holds no valid\.p or validate\.p"):
        find_pickles(folder)
    with pytest.raises(InputError, match=r"data\.path: nowhere is no folder; name the one that holds train\.p"):
        fetch.main(udacity_params("nowhere"))


def test_the_folder_is_asked_for(repository):
    with pytest.raises(InputError, match=r"params\.yaml: data: with source udacity, path must name") as caught:
        udacity_params(DOWNLOADS)
    one_line(caught)


def test_command_finds_the_pickles(pickles, tmp_path):
    options = "--classes 3 --train-samples 45 --validate-samples 9 --test-samples all --trusted-samples 12"
    result = CliRunner().invoke(
        dataset, [str(pickles.write()), str(tmp_path / "out"), *options.split(), "--image-size", "8"]
    )
    assert result.exit_code == 0, result.output
    assert "source: pickles in" in result.output
    expected = generate(pickles.folder, n_test_samples="all")
    np.testing.assert_array_equal(ImageSet.load(tmp_path / "out/train.p").features, expected.train.features)
