import stat
import struct
import zipfile

import numpy as np
import pytest

from robust_distillation.dataset.readers.archives import (
    MAX_MEMBER_BYTES,
    TEST_IMAGES,
    TRAINING_IMAGES,
    decode,
    list_test,
    list_training,
    open_archive,
    read_files,
)
from robust_distillation.errors import InputError

IMAGE = "GTSRB/Final_Training/Images/00001/00002_00003.ppm"
TABLE = "GTSRB/Final_Training/Images/00001/GT-00001.csv"


def assert_refused(call, *words):
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def read_all(folder):
    records = list_training(folder) + list_test(folder)
    return [decode(file, record) for file, record in zip(read_files(records), records, strict=True)]


def test_records_name_class_track_and_frame(make_raw):
    records = list_training(make_raw().write())
    assert len(records) == (7 + 6 + 5) * 10
    record = next(record for record in records if record.member == IMAGE)
    assert record.id == "train/00001/00002_00003"
    assert (record.label, record.track) == (1, 100_002)
    assert (record.size, record.coords) == ((20, 20), (4, 3, 16, 18))


def test_test_records_have_no_track(make_raw):
    records = list_test(make_raw().write())
    assert [record.id for record in records[:2]] == ["test/00000", "test/00001"]
    assert [record.label for record in records[:4]] == [0, 1, 2, 0]
    assert {record.track for record in records} == {-1}


def test_decoded_pixels_are_those_of_the_file(make_raw):
    raw = make_raw()
    record = next(record for record in list_training(raw.write()) if record.member == IMAGE)
    (file,) = read_files([record])
    pixels = np.frombuffer(raw.training[IMAGE], np.uint8)[-20 * 20 * 3 :].reshape(20, 20, 3)
    np.testing.assert_array_equal(np.asarray(decode(file, record)), pixels)


def test_missing_archive_is_named(make_raw):
    folder = make_raw().write()
    (folder / TEST_IMAGES).unlink()
    assert_refused(lambda: list_test(folder), TEST_IMAGES, "not found")


def test_a_folder_in_place_of_an_archive_is_named(make_raw):
    folder = make_raw().write()
    (folder / TEST_IMAGES).unlink()
    (folder / TEST_IMAGES).mkdir()
    assert_refused(lambda: list_test(folder), TEST_IMAGES, "a folder where a zip is expected")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_zip_is_refused(make_raw, share):
    path = make_raw().write() / TRAINING_IMAGES
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert_refused(lambda: list_training(path.parent), TRAINING_IMAGES, "truncated")


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.ppm", "GTSRB/../../up.ppm", "C:/x.ppm", "a\\..\\b.ppm"])
def test_paths_that_leave_the_folder_are_refused(make_raw, name):
    raw = make_raw()
    raw.training[name] = b"x"
    assert_refused(lambda: list_training(raw.write()), "leaves")


def append(folder, info, data):
    with zipfile.ZipFile(folder / TRAINING_IMAGES, "a") as archive:
        archive.writestr(info, data)


def test_link_is_refused(make_raw):
    folder = make_raw().write()
    link = zipfile.ZipInfo("GTSRB/link.ppm")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    append(folder, link, "/etc/passwd")
    assert_refused(lambda: list_training(folder), "GTSRB/link.ppm", "link")


def test_large_member_is_refused_before_it_is_read(make_raw):
    raw = make_raw()
    raw.training[IMAGE] = bytes(MAX_MEMBER_BYTES + 1)
    folder = raw.write()
    assert (folder / TRAINING_IMAGES).stat().st_size < MAX_MEMBER_BYTES
    assert_refused(lambda: list_training(folder), IMAGE, str(MAX_MEMBER_BYTES + 1))


def test_member_that_inflates_beyond_its_stated_size_is_refused(make_raw):
    raw = make_raw()
    raw.training[IMAGE] = bytes(1_000_000)
    path = raw.write() / TRAINING_IMAGES
    data = path.read_bytes()
    assert data.count(struct.pack("<I", 1_000_000)) == 2
    path.write_bytes(data.replace(struct.pack("<I", 1_000_000), struct.pack("<I", 1213)))
    assert_refused(lambda: read_all(path.parent), IMAGE, "corrupt")


def test_flipped_byte_in_an_image_is_refused(make_raw):
    folder = make_raw().write()
    with open_archive(folder / TRAINING_IMAGES) as archive:
        offset = archive.getinfo(IMAGE).header_offset
    data = bytearray((folder / TRAINING_IMAGES).read_bytes())
    data[offset + 30 + len(IMAGE) + 200] ^= 0xFF
    (folder / TRAINING_IMAGES).write_bytes(data)
    assert_refused(lambda: read_all(folder), IMAGE)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (b"", "corrupt"),
        (b"P6\n20 20\n255\n" + bytes(1199), "corrupt"),
        (b"P6\n20 2", "corrupt"),
        (b"P6\n20 x\n255\n" + bytes(1200), "corrupt"),
        (b"P6\n60000 60000\n255\n" + bytes(1200), "corrupt"),
        (b"P6\n21 20\n255\n" + bytes(1260), "(21, 20) pixels, but (20, 20)"),
        (b"GIF89a" + bytes(100), "corrupt"),
    ],
)
def test_corrupt_image_is_named(make_raw, file, words):
    raw = make_raw()
    raw.training[IMAGE] = file
    assert_refused(lambda: read_all(raw.write()), IMAGE, words)


def test_row_without_image_names_file_and_row(make_raw):
    raw = make_raw()
    del raw.training[IMAGE]
    assert_refused(lambda: list_training(raw.write()), TABLE, "row 25", IMAGE)


def test_image_without_row_is_refused(make_raw):
    raw = make_raw()
    raw.test["GTSRB/Final_Test/Images/99999.ppm"] = b"x"
    assert_refused(lambda: list_test(raw.write()), "99999.ppm", "no CSV")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"00002_00003.ppm;20", b"00002_00003.ppm;x", ("row 25", "Width", "'x'")),
        (b"00002_00003.ppm;20", b"00002_00003.ppm;21474836470", ("row 25", "Width")),
        (b"00002_00003.ppm;20;20;4;3;16", b"00002_00003.ppm;20;20;4;3;21", ("row 25", "box", "20x20")),
        (b"00002_00003.ppm;20;20;4;3;16;18;1", b"00002_00003.ppm;20;20;4;3;16;18;2", ("row 25", "ClassId 2")),
        (b"00002_00003.ppm", b"00002_00004.ppm", ("twice",)),
        (b"00002_00003.ppm", b"frame.ppm", ("row 25", "frame.ppm")),
        (b"Roi.X1", b"Roi.A1", ("row 2", "Roi.X1")),
    ],
)
def test_bad_csv_is_named(make_raw, old, new, words):
    raw = make_raw()
    raw.training[TABLE] = raw.training[TABLE].replace(old, new)
    assert_refused(lambda: list_training(raw.write()), *words)


def test_missing_test_csv_is_named(make_raw):
    raw = make_raw()
    raw.labels = {"other.csv": b"x"}
    assert_refused(lambda: list_test(raw.write()), "GT-final_test.csv")


def test_real_archives_hold_the_official_counts(gtsrb):
    training, test = list_training(gtsrb), list_test(gtsrb)
    assert (len(training), len(test)) == (39_209, 12_630)
    assert len({record.track for record in training}) == 1307
    assert len({record.label for record in test}) == 43
