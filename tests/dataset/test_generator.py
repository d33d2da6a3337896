import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from robust_distillation.dataset.cli import dataset
from robust_distillation.dataset.generator import SETS, DatasetGenerator
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.readers.archives import list_test, list_training, read_files
from robust_distillation.dataset.splitting import drop_duplicates, share_out, split_training
from robust_distillation.errors import InputError

SMALL = {
    "n_classes": 3,
    "n_train_samples": 45,
    "n_validate_samples": 9,
    "n_test_samples": 7,
    "n_trusted_samples": 12,
    "n_workers": 1,
    "image_size": 8,
}


def generate(folder, **settings):
    return DatasetGenerator(**{**SMALL, **settings}).generate(folder)


def assert_apart(splits):
    """No track, and no id, is in two sets."""
    tracks = [set(getattr(splits, name).tracks) for name in ("train", "validate", "trusted")]
    assert sum(map(len, tracks)) == len(set.union(*tracks))
    ids = np.concatenate([getattr(splits, name).ids for name in SETS])
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("total", "capacities", "shares"),
    [
        (10, [9, 9, 9], [4, 3, 3]),
        (10, [1, 9, 9], [1, 5, 4]),
        (10, [0, 2, 9], [0, 2, 8]),
        (10, [1, 1, 1], [1, 1, 1]),
        (2, [9, 9, 9], [1, 1, 0]),
        (0, [9], [0]),
        (5, [], []),
    ],
)
def test_share_out(total, capacities, shares):
    assert share_out(total, capacities) == shares


def test_counts_are_exact_and_even(make_raw):
    splits = generate(make_raw().write())
    assert [len(getattr(splits, name)) for name in SETS] == [45, 9, 7, 12]
    assert Counter(splits.train.labels.tolist()) == {0: 15, 1: 15, 2: 15}
    assert Counter(splits.test.labels.tolist()) == {0: 3, 1: 2, 2: 2}
    assert splits.train.features.shape == (45, 8, 8, 3)
    assert_apart(splits)


def test_a_count_is_spread_over_many_tracks(make_raw):
    splits = generate(make_raw().write())
    for label in range(3):
        frames = Counter(splits.train.tracks[splits.train.labels == label])
        assert len(frames) >= 3
        assert max(frames.values()) - min(frames.values()) <= 1


def test_all_leaves_only_what_validate_and_trusted_need(make_raw):
    splits = generate(make_raw().write(), n_train_samples="all", n_test_samples="all")
    assert len(splits.test) == 24
    assert len(splits.train) == (18 - 3 - 3) * 10
    assert_apart(splits)


def test_trusted_takes_what_the_tracks_leave(make_raw):
    folder = make_raw(tracks=(3, 9, 9)).write()
    splits = generate(folder, n_train_samples=60, n_validate_samples=3, n_trusted_samples=30)
    assert Counter(splits.trusted.labels.tolist()) == {1: 15, 2: 15}
    assert Counter(splits.train.labels.tolist()) == {0: 20, 1: 20, 2: 20}
    assert "trusted is uneven" in splits.info
    assert_apart(splits)


def test_too_few_images_gives_the_numbers(make_raw):
    folder = make_raw(tracks=(7, 2, 5)).write()
    with pytest.raises(
        InputError, match=r"class 1: asked for 15 train and 3 validate .* available 20 images on 2 tracks"
    ):
        generate(folder)
    with pytest.raises(InputError, match="class 0: asked for 10 test samples, available 8"):
        generate(folder, n_train_samples=9, n_test_samples=30)
    with pytest.raises(InputError, match="asked for 5 trusted"):
        generate(folder, n_classes=[1], n_train_samples=9, n_trusted_samples=5)


def test_files_equal_to_test_images_leave_training(make_raw):
    raw = make_raw()
    stolen, twin = (
        "GTSRB/Final_Training/Images/00001/00002_00003.ppm",
        "GTSRB/Final_Training/Images/00002/00001_00000.ppm",
    )
    raw.training[stolen] = raw.test["GTSRB/Final_Test/Images/00004.ppm"]
    raw.training[twin] = raw.training["GTSRB/Final_Training/Images/00000/00000_00000.ppm"]
    raw.training["GTSRB/Final_Training/Images/00000/00005_00001.ppm"] = raw.training[
        "GTSRB/Final_Training/Images/00000/00005_00000.ppm"
    ]
    splits = generate(raw.write(), n_train_samples="all", n_test_samples="all")
    ids = np.concatenate([splits.train.ids, splits.validate.ids, splits.trusted.ids])
    assert "test/00004" in splits.test.ids
    assert not {"train/00001/00002_00003", "train/00002/00001_00000"} & set(ids)
    assert "train/00001/00002_00003 equals test/00004" in splits.info
    assert "train/00002/00001_00000 equals train/00000/00000_00000" in splits.info
    assert "2 training images whose file equals" in splits.info


def test_same_crc_and_size_alone_is_no_duplicate(make_raw):
    folder = make_raw().write()
    training, test = ([replace(record, crc=0) for record in listed(folder)] for listed in (list_training, list_test))
    assert {record.n_bytes for record in training + test} == {1213}
    assert drop_duplicates(training, test, read_files) == (training, [])


def test_pixels_are_the_box_resized(make_raw):
    raw = make_raw()
    folder = raw.write()
    for settings, box, mode in (
        ({}, (4, 3, 16, 18), "RGB"),
        ({"crop_to_roi": False}, (0, 0, 20, 20), "RGB"),
        ({"colour": "grey"}, (4, 3, 16, 18), "L"),
    ):
        splits = generate(folder, **settings)
        _, label, frame = str(splits.train.ids[0]).split("/")
        file = raw.training[f"GTSRB/Final_Training/Images/{label}/{frame}.ppm"]
        pixels = np.frombuffer(file, np.uint8)[-1200:].reshape(20, 20, 3)
        image = Image.fromarray(pixels).convert(mode).crop(box).resize((8, 8), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(splits.train.features[0], np.asarray(image).reshape(8, 8, -1))


def test_list_of_classes_keeps_indices_as_labels(make_raw, tmp_path):
    splits = generate(make_raw().write(), n_classes=[2, 0], n_train_samples=20, n_validate_samples=4)
    assert splits.classes == [0, 2]
    official = {"train/00000": 0, "train/00002": 1}
    assert [official[row.rsplit("/", 1)[0]] for row in splits.train.ids] == splits.train.labels.tolist()
    assert set(splits.test.labels) == {0, 1}
    splits.save(tmp_path / "out")
    assert json.loads((tmp_path / "out/classes.json").read_text()) == {
        "ids": [0, 2],
        "names": ["Speed limit (20km/h)", "Speed limit (50km/h)"],
        "mirror": [-1, -1],
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_classes": 4}, "asked for 4"),
        ({"n_classes": [0, 9]}, "no class 9"),
        ({"n_classes": [0, 0]}, "each id once"),
        ({"n_classes": []}, "each id once"),
        ({"colour": "blue"}, "colour must be"),
        ({"n_workers": 0}, "n_workers must be at least 1, or -1"),
        ({"n_validate_samples": 0}, "n_validate_samples must be"),
        ({"n_trusted_samples": "all"}, "n_trusted_samples must be"),
    ],
)
def test_wrong_settings_are_named(make_raw, settings, message):
    with pytest.raises(InputError, match=message):
        generate(make_raw().write(), **settings)


def test_corrupt_image_in_a_worker_is_one_line(make_raw):
    raw = make_raw()
    raw.test["GTSRB/Final_Test/Images/00004.ppm"] = b"P6 broken"
    with pytest.raises(InputError, match=r"00004\.ppm"):
        generate(raw.write(), n_test_samples="all")


def test_seed_decides_and_workers_do_not(make_raw, tmp_path, monkeypatch):
    monkeypatch.setattr("robust_distillation.dataset.generator.MIN_SHARD", 20)
    folder = make_raw().write()
    for name, settings in (("a", {}), ("b", {"n_workers": 2}), ("c", {"seed": 1})):
        generate(folder, **settings).save(tmp_path / name)
    files = {name: [(tmp_path / name / f"{part}.p").read_bytes() for part in SETS] for name in "abc"}
    assert files["a"] == files["b"]
    assert all(one != other for one, other in zip(files["a"], files["c"], strict=True))


def test_folders_and_files_may_be_named_by_text(make_raw, tmp_path):
    splits = generate(str(make_raw().write()))
    splits.save(str(tmp_path))
    assert ImageSet.load(str(tmp_path / "train.p")).ids.tolist() == splits.train.ids.tolist()


def test_saved_sets_load_and_info_counts(make_raw, tmp_path):
    splits = generate(make_raw().write())
    splits.save(tmp_path)
    assert ImageSet.load(tmp_path / "train.p").ids.tolist() == splits.train.ids.tolist()
    info = (tmp_path / "info.txt").read_text()
    used = len(splits.train) + len(splits.validate) + len(splits.trusted)
    left = [int(line.split()[0]) for line in info.splitlines() if "further" in line]
    assert used + sum(left) == 180
    assert info.startswith("source: archives in ")
    assert "samples: train 45, validate 9, test 7, trusted 12" in info


def test_command_makes_the_same_sets(make_raw, tmp_path):
    folder = make_raw().write()
    options = "--classes 0,1,2 --train-samples 45 --validate-samples 9 --test-samples all --trusted-samples 12"
    result = CliRunner().invoke(dataset, [str(folder), str(tmp_path / "out"), *options.split(), "--image-size", "8"])
    assert result.exit_code == 0, result.output
    expected = generate(folder, n_test_samples="all")
    np.testing.assert_array_equal(ImageSet.load(tmp_path / "out/train.p").features, expected.train.features)
    assert len(ImageSet.load(tmp_path / "out/test.p")) == 24


@pytest.mark.parametrize(
    "option", ["--classes=x", "--classes=1,x", "--train-samples=0", "--test-samples=some", "--workers=0"]
)
def test_command_refuses_by_option(make_raw, tmp_path, option):
    result = CliRunner().invoke(dataset, [str(make_raw().write()), str(tmp_path / "out"), option])
    assert result.exit_code == 2
    assert option.split("=")[0] in result.output


def test_real_default_split(gtsrb):
    splits = DatasetGenerator(n_workers=1).generate(gtsrb)
    assert [len(getattr(splits, name)) for name in SETS] == [800, 100, 100, 200]
    assert Counter(splits.train.labels.tolist()) == dict.fromkeys(range(5), 160)
    assert Counter(splits.trusted.labels.tolist()) == dict.fromkeys(range(1, 5), 50)
    assert_apart(splits)


def test_real_archives_split_for_all_classes(gtsrb):
    classes = list(range(43))
    chosen = split_training(
        list_training(gtsrb), classes, train="all", validate=1290, test=0, trusted=3870, rng=np.random.default_rng(0)
    )
    assert Counter(record.label for record in chosen["validate"]) == dict.fromkeys(classes, 30)
    assert Counter(record.label for record in chosen["trusted"]) == dict.fromkeys(classes, 90)
    assert {record.label for record in chosen["train"]} == set(classes)
    tracks = [{record.track for record in records} for records in chosen.values()]
    assert sum(map(len, tracks)) == len(set.union(*tracks)) == 1307
