import io
import os
import pickle
import pickletools

import numpy as np
import pytest

from robust_distillation.dataset.pickles import ImageSet, load_pickle, save_pickle
from robust_distillation.errors import InputError


def image_set(count=5):
    rng = np.random.default_rng(0)
    return ImageSet(
        features=rng.integers(0, 256, (count, 6, 4, 3), dtype=np.uint8),
        labels=np.arange(count),
        ids=np.array([f"train/{row:05}" for row in range(count)], dtype=np.str_),
        tracks=np.arange(count) * 7,
        sizes=np.full((count, 2), 30),
        coords=np.tile([1, 2, 3, 4], (count, 1)),
    )


def assert_same(one, other):
    for name, array in vars(one).items():
        np.testing.assert_array_equal(getattr(other, name), array, strict=True)


@pytest.mark.parametrize("count", [0, 5])
def test_save_then_load_gives_the_same_set(tmp_path, count):
    image_set(count).save(tmp_path / "a.p")
    assert_same(image_set(count), ImageSet.load(tmp_path / "a.p"))


def test_same_values_give_same_bytes_also_after_loading(tmp_path):
    image_set().save(tmp_path / "a.p")
    ImageSet.load(tmp_path / "a.p").save(tmp_path / "b.p")
    strided = image_set(10).take(np.arange(5))
    strided.save(tmp_path / "c.p")
    ImageSet(**{name: array[::-1].copy()[::-1] for name, array in vars(strided).items()}).save(tmp_path / "d.p")
    assert (tmp_path / "a.p").read_bytes() == (tmp_path / "b.p").read_bytes()
    assert (tmp_path / "c.p").read_bytes() == (tmp_path / "d.p").read_bytes()


def test_saved_pickle_is_protocol_4_that_plain_pickle_reads(tmp_path):
    image_set().save(tmp_path / "a.p")
    data = (tmp_path / "a.p").read_bytes()
    assert next(pickletools.genops(data))[1] == 4
    np.testing.assert_array_equal(pickle.loads(data)["features"], image_set().features)


def test_take_by_rows_mask_and_nothing():
    images = image_set()
    assert images.take([3, 1]).ids.tolist() == ["train/00003", "train/00001"]
    assert images.take(images.labels > 2).labels.tolist() == [3, 4]
    assert len(images.take([])) == 0


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ValueError, match="tracks must be"):
        ImageSet(**{**vars(image_set()), "tracks": np.arange(3)})


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_and_plain_container_is_read(tmp_path, protocol):
    value = {
        "array": np.arange(6.0).reshape(2, 3),
        "column_major": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big_endian": np.arange(3, dtype=">i4"),
        "empty": np.zeros((0, 3)),
        "text": np.array(["añ", "b"]),
        "scalar": np.float32(1.5),
        "nested": [{"a": (1, None, True)}, "text", 2.5],
    }
    (tmp_path / "a.p").write_bytes(pickle.dumps(value, protocol))
    read = load_pickle(tmp_path / "a.p")
    assert read["nested"] == value["nested"]
    for name in ("array", "column_major", "big_endian", "empty", "text", "scalar"):
        np.testing.assert_array_equal(read[name], value[name])


def test_numpy_2_names_are_read(tmp_path):
    data = pickle.dumps({"a": np.arange(3)}, 0).replace(b"cnumpy.core.", b"cnumpy._core.")
    assert b"numpy._core" in data
    (tmp_path / "a.p").write_bytes(data)
    assert load_pickle(tmp_path / "a.p")["a"].tolist() == [0, 1, 2]


def test_python_2_strings_are_read(tmp_path):
    # What Python 2 writes for {"features": array([200, 1], dtype=uint8)}: the data are a byte string (opcode U).
    head = b"\x80\x02}U\x08featurescnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    (tmp_path / "a.p").write_bytes(head + b"(K\x01K\x02\x85" + dtype + b"\x89U\x02\xc8\x01tbs.")
    assert load_pickle(tmp_path / "a.p")["features"].tolist() == [200, 1]


class Runs:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Runs(os.system, "touch /nowhere/x"), "posix.system"),
        (Runs(eval, "1"), "eval"),
        (Runs(getattr, "x", "upper"), "getattr"),
        (Runs(np.fromfile, "x"), "numpy.*fromfile"),
        (np.array([{}, 1], dtype=object), "object"),
        (np.zeros(2, dtype=[("a", "O")]), "V8|object"),
        (np.array([b"x"]), "dtype"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "dtype"),
        (io.BytesIO(b"x"), "_io.BytesIO"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_anything_else_is_refused_by_name(tmp_path, value, named, protocol):
    (tmp_path / "a.p").write_bytes(pickle.dumps({"features": value}, protocol))
    with pytest.raises(InputError, match=named) as caught:
        load_pickle(tmp_path / "a.p")
    assert "\n" not in str(caught.value)
    assert "a.p" in str(caught.value)


@pytest.mark.parametrize("length", [0, 1, 40, 200, -1])
def test_truncated_file_is_one_line(tmp_path, length):
    image_set().save(tmp_path / "a.p")
    (tmp_path / "a.p").write_bytes((tmp_path / "a.p").read_bytes()[:length])
    with pytest.raises(InputError, match=r"a\.p: truncated, corrupt") as caught:
        load_pickle(tmp_path / "a.p")
    assert "\n" not in str(caught.value)


def test_corrupt_bytes_never_raise_anything_but_input_error(tmp_path):
    image_set().save(tmp_path / "a.p")
    good = (tmp_path / "a.p").read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(600):
        bad = bytearray(good)
        for place in rng.integers(0, len(bad), 3):
            bad[place] = rng.integers(0, 256)
        (tmp_path / "b.p").write_bytes(bad)
        try:
            ImageSet.load(tmp_path / "b.p")
        except InputError:
            refused += 1
    assert refused > 200


def test_missing_file_and_wrong_content_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.p: not found"):
        load_pickle(tmp_path / "none.p")
    with pytest.raises(InputError, match="a folder where a pickle is expected"):
        load_pickle(tmp_path)
    (tmp_path / "list.p").write_bytes(pickle.dumps([1]))
    with pytest.raises(InputError, match="holds a list"):
        load_pickle(tmp_path / "list.p")


def test_udacity_pickle_gets_ids_and_no_tracks(tmp_path):
    images = image_set()
    value = {
        "features": images.features,
        "labels": images.labels.astype(np.uint8),
        "sizes": images.sizes.astype(np.uint8),
        "coords": images.coords.astype(np.uint8),
    }
    (tmp_path / "valid.p").write_bytes(pickle.dumps(value, 2))
    read = ImageSet.load(tmp_path / "valid.p")
    assert read.ids.tolist() == [f"valid/{row:05}" for row in range(5)]
    assert set(read.tracks) == {-1}
    assert read.labels.dtype == np.int64
    np.testing.assert_array_equal(read.coords, images.coords)
    save_pickle(tmp_path / "bare.p", {"features": images.features, "labels": images.labels})
    bare = ImageSet.load(tmp_path / "bare.p")
    assert bare.sizes.tolist() == [[4, 6]] * 5
    assert bare.coords.tolist() == [[0, 0, 4, 6]] * 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "'labels'"),
        ({"features": np.zeros((5, 6, 4, 3))}, "features must be uint8"),
        ({"labels": np.arange(4)}, "features must be uint8 of shape"),
        ({"labels": np.zeros(5)}, "labels must be whole numbers"),
        ({"ids": np.arange(5)}, "ids must be text"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, change, message):
    save_pickle(tmp_path / "a.p", {**vars(image_set()), **change})
    with pytest.raises(InputError, match=message):
        ImageSet.load(tmp_path / "a.p")


def test_without_coords_the_box_spans_the_original_image(tmp_path):
    sizes = np.array([[40, 44], [50, 52]])
    save_pickle(
        tmp_path / "train.p",
        {"features": np.zeros((2, 8, 8, 3), np.uint8), "labels": np.zeros(2, np.int64), "sizes": sizes},
    )
    np.testing.assert_array_equal(ImageSet.load(tmp_path / "train.p").coords, [[0, 0, 40, 44], [0, 0, 50, 52]])
