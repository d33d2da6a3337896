import json
import subprocess
import sys
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from robust_distillation import paths
from robust_distillation.dataset.checks import class_table, image_table, validate_sets
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.settings import Validate
from robust_distillation.errors import InputError
from robust_distillation.files import read_json, write_json
from robust_distillation.stages import validate

N_CLASSES = 3
BOUNDS = Validate(min_side=10, max_side=50, min_per_class=2, min_std=0.5, max_rejected_share=0.0, max_shared_share=0.0)


def images_of(split, first_track, seed, rows=9):
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % N_CLASSES
    return ImageSet(
        features=rng.integers(0, 256, (rows, 8, 8, 3), dtype=np.uint8),
        labels=labels,
        ids=np.array([f"{split}/{row:05}" for row in range(rows)]),
        tracks=first_track + labels,
        sizes=np.tile([30, 40], (rows, 1)),
        coords=np.tile([2, 3, 30, 40], (rows, 1)),
    )


@pytest.fixture
def sets():
    return {
        "train": images_of("train", 0, seed=1),
        "validate": images_of("validate", 3, seed=2),
        "test": replace(images_of("test", 0, seed=3), tracks=np.full(9, -1)),
        "trusted": images_of("trusted", 6, seed=4, rows=2),
    }


def changed(images, field, row, value):
    array = getattr(images, field).copy()
    array[row] = value
    return replace(images, **{field: array})


def failures(sets, bounds=BOUNDS):
    return {check.name: check for check in validate_sets(sets, bounds, N_CLASSES, None).checks if not check.success}


def test_good_sets_pass_every_check(sets):
    verdict = validate_sets(sets, BOUNDS, N_CLASSES, None)
    assert verdict.success
    assert verdict.images == {"train": 9, "validate": 9, "test": 9, "trusted": 2}
    assert [check.failed for check in verdict.checks] == [0] * 15
    assert all(check.success for check in verdict.checks)


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("ids", "train/00000", "id_unique"),
        ("labels", N_CLASSES, "label_in_range"),
        ("labels", -1, "label_in_range"),
        ("sizes", (9, 40), "width_in_bounds"),
        ("sizes", (30, 51), "height_in_bounds"),
        ("coords", (-1, 3, 30, 40), "box_left_inside"),
        ("coords", (2, -1, 30, 40), "box_top_inside"),
        ("coords", (2, 3, 31, 40), "box_right_inside"),
        ("coords", (2, 3, 30, 41), "box_bottom_inside"),
        ("coords", (2, 3, 2, 40), "box_has_width"),
        ("coords", (2, 3, 30, 3), "box_has_height"),
        ("features", 0, "image_not_black"),
        ("features", 200, "image_not_constant"),
    ],
)
def test_one_bad_row_is_named(sets, field, value, name):
    sets["validate"] = changed(sets["validate"], field, 4, value)
    assert f"validate:{sets['validate'].ids[4]}" in failures(sets)[name].rows


def test_same_pixels_in_two_splits_fail_and_both_rows_are_named(sets):
    sets["test"] = changed(sets["test"], "features", 7, sets["train"].features[2])
    assert failures(sets)["image_in_one_split"].rows == ["train:train/00002", "test:test/00007"]


def test_shared_images_within_the_tolerance_pass_and_are_still_listed(sets):
    sets["test"] = changed(sets["test"], "features", 7, sets["train"].features[2])
    bounds = replace(BOUNDS, max_shared_share=2 / 29)
    [check] = [c for c in validate_sets(sets, bounds, N_CLASSES, None).checks if c.name == "image_in_one_split"]
    assert check.success
    assert check.failed == 2
    assert not failures(sets, replace(BOUNDS, max_shared_share=2 / 29))
    assert "image_in_one_split" in failures(sets, replace(BOUNDS, max_shared_share=1 / 29))


def test_same_pixels_within_one_split_pass(sets):
    sets["train"] = changed(sets["train"], "features", 7, sets["train"].features[1])
    assert not failures(sets)


def test_a_track_in_two_splits_fails(sets):
    sets["validate"] = changed(sets["validate"], "tracks", 3, sets["train"].tracks[0])
    assert failures(sets)["track_in_one_split"].failed == 4


def test_a_track_number_may_recur_under_another_label(sets):
    sets["validate"] = replace(sets["validate"], tracks=(sets["validate"].labels + 1) % N_CLASSES)
    assert not failures(sets)


def test_a_class_without_images_is_named_with_its_split(sets):
    sets["test"] = sets["test"].take(sets["test"].labels != 1)
    assert failures(sets)["class_has_images"].rows == ["test:class 1"]


def test_trusted_may_be_empty_and_no_set_need_have_tracks(sets):
    sets = {split: replace(images, tracks=np.full(len(images), -1)) for split, images in sets.items()}
    sets["trusted"] = sets["trusted"].take([])
    assert validate_sets(sets, BOUNDS, N_CLASSES, None).success


def test_rows_are_cut_at_twenty_and_the_count_is_not(sets):
    sets["train"] = replace(images_of("train", 0, seed=1, rows=30), sizes=np.tile([9, 40], (30, 1)))
    check = failures(sets)["width_in_bounds"]
    assert check.failed == 30
    assert len(check.rows) == 20
    assert str(check).endswith(" and 10 more")


def test_equal_data_give_equal_verdicts_and_docs_are_browsable(sets, tmp_path):
    verdicts = [validate_sets(sets, BOUNDS, N_CLASSES, tmp_path / "docs") for _ in range(2)]
    assert json.dumps(asdict(verdicts[0])) == json.dumps(asdict(verdicts[1]))
    assert (tmp_path / "docs" / "index.html").is_file()
    assert len(list(tmp_path.glob("docs/validations/**/*.html"))) == 2
    assert list(tmp_path.iterdir()) == [tmp_path / "docs"]


@pytest.fixture
def workspace(sets, tmp_path, monkeypatch):
    """A folder as the dataset stage leaves it, and an mlflow that only remembers what it was given."""
    monkeypatch.chdir(tmp_path)
    logged = {}
    mlflow = SimpleNamespace(
        log_metrics=logged.update, log_metric=logged.__setitem__, log_artifact=lambda path: logged.update(artifact=path)
    )
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    for split, images in sets.items():
        images.save(paths.DATASET / f"{split}.p")
    write_json(paths.CLASSES, {"ids": [0, 1, 2], "names": ["a", "b", "c"]})
    return logged


def test_the_stage_writes_and_logs_its_verdict(workspace):
    validate.main(SimpleNamespace(validate=BOUNDS))
    assert read_json(paths.VERDICT)["success"] is True
    assert (paths.DATA_DOCS / "index.html").is_file()
    assert workspace["images.train"] == 9
    assert workspace["failed_expectations"] == 0
    assert workspace["artifact"] == str(paths.VERDICT)


def test_the_stage_stops_with_the_expectation_and_the_rows_after_writing_its_verdict(workspace):
    bounds = replace(BOUNDS, max_side=39)
    with pytest.raises(
        InputError, match=r"height_in_bounds .*10 to 39 pixels.*29 failed: train:train/00000, "
    ) as caught:
        validate.main(SimpleNamespace(validate=bounds))
    assert "\n" not in str(caught.value)
    assert read_json(paths.VERDICT)["success"] is False
    assert workspace["failed_expectations"] == 1


def test_tables_count_what_they_say(sets):
    images = image_table(sets)
    assert images["mean"].iloc[0] == pytest.approx(sets["train"].features[0].mean())
    assert images["track_splits"].isna().sum() == 9
    classes = class_table(images, ["train", "trusted"], N_CLASSES)
    assert classes["images"].tolist() == [3, 3, 3, 1, 1, 0]


def test_importing_the_checks_is_light():
    code = (
        "import sys, robust_distillation.dataset.checks; print({'pandas', 'great_expectations'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
