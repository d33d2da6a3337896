"""The synthetic signs: layout, determinism, and that every class looks its own."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.readers.archives import ARCHIVES, decode, list_test, list_training, read_files
from robust_distillation.dataset.synthetic.archives import FURTHER, TRAINING, draw_archives, photograph_track
from robust_distillation.dataset.synthetic.drawing import Material
from robust_distillation.dataset.synthetic.faces import FACES, Style, draw_face
from robust_distillation.dataset.synthetic.further import draw_further
from robust_distillation.dataset.synthetic.render import MAX_SIDE, Track

N_CLASSES = 43
TRACKS, FRAMES, TESTS = 2, 3, 2


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signs")
    draw(folder)
    return folder


def draw(folder: Path, seed: int = 5, jobs: int = 1) -> None:
    draw_archives(folder, tracks_per_class=TRACKS, frames_per_track=FRAMES, test_per_class=TESTS, seed=seed, jobs=jobs)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ARCHIVES}


def test_the_reader_of_the_official_archives_reads_them(archives: Path) -> None:
    training, test = list_training(archives), list_test(archives)
    assert np.bincount([record.label for record in training]).tolist() == [TRACKS * FRAMES] * N_CLASSES
    assert np.bincount([record.label for record in test]).tolist() == [TESTS] * N_CLASSES
    assert len({record.track for record in training}) == TRACKS * N_CLASSES
    for file, record in zip(read_files([*training, *test]), [*training, *test], strict=True):
        assert decode(file, record).size == record.size


def test_member_names_and_tables_are_the_official_ones(archives: Path) -> None:
    with zipfile.ZipFile(archives / "GTSRB_Final_Training_Images.zip") as archive:
        assert "GTSRB/Final_Training/Images/00042/00001_00002.ppm" in archive.namelist()
        table = archive.read("GTSRB/Final_Training/Images/00042/GT-00042.csv").decode()
    assert table.startswith("Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\r\n00000_00000.ppm;")
    assert table.endswith(";42\r\n")
    with zipfile.ZipFile(archives / "GTSRB_Final_Test_Images.zip") as archive:
        table = archive.read("GTSRB/Final_Test/Images/GT-final_test.test.csv").decode()
    assert table.startswith("Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2\r\n00000.ppm;")
    labels = [record.label for record in list_test(archives)]
    assert labels != sorted(labels)


def test_the_official_archives_hold_the_same_kinds_of_member(archives: Path) -> None:
    real = Path("../shared/data/gtsrb")
    if not real.exists():
        pytest.skip("no copy of GTSRB beside the repository")
    for name in ARCHIVES:
        with zipfile.ZipFile(archives / name) as ours, zipfile.ZipFile(real / name) as official:
            kinds = {
                (member.count("/"), Path(member).suffix) for member in official.namelist() if "Readme" not in member
            }
            assert {(member.count("/"), Path(member).suffix) for member in ours.namelist()} == kinds
            table = next(member for member in ours.namelist() if member.endswith(".csv"))
            assert ours.read(table).split(b"\n")[0] == official.read(table).split(b"\n")[0]


def test_bytes_depend_on_the_seed_and_on_nothing_else(archives: Path, tmp_path: Path) -> None:
    draw(tmp_path / "parallel", jobs=2)
    assert contents(tmp_path / "parallel") == contents(archives)
    draw(tmp_path / "other", seed=6)
    assert (
        contents(tmp_path / "other")["GTSRB_Final_Test_Images.zip"] != contents(archives)["GTSRB_Final_Test_Images.zip"]
    )


def test_a_track_does_not_depend_on_how_many_there_are(archives: Path, tmp_path: Path) -> None:
    draw_archives(tmp_path, tracks_per_class=1, frames_per_track=FRAMES, test_per_class=1, seed=5, jobs=1)
    name = "GTSRB/Final_Training/Images/00030/00000_00002.ppm"
    with (
        zipfile.ZipFile(tmp_path / "GTSRB_Final_Training_Images.zip") as few,
        zipfile.ZipFile(archives / "GTSRB_Final_Training_Images.zip") as many,
    ):
        assert few.read(name) == many.read(name)


def test_every_face_is_its_own_shape() -> None:
    faces = [
        cv2.resize(draw_face(c, Style(), size=96), (24, 24), interpolation=cv2.INTER_NEAREST) for c in range(N_CLASSES)
    ]
    assert len(FACES) == N_CLASSES
    for first in range(N_CLASSES):
        for second in range(first):
            assert np.mean(faces[first] != faces[second]) > 0.01, (first, second)


@pytest.mark.parametrize(("left", "right"), [(19, 20), (33, 34), (36, 37), (38, 39)])
def test_left_and_right_are_mirror_images(left: int, right: int) -> None:
    a, b = (draw_face(c, Style(), size=800) for c in (left, right))
    assert np.mean(a[:, ::-1] != b) < 0.5 * np.mean(a != b)


@pytest.mark.parametrize(
    ("class_id", "present", "absent"),
    [
        (2, {Material.RED, Material.WHITE, Material.BLACK}, {Material.BLUE, Material.YELLOW}),
        (6, {Material.WHITE, Material.GREY}, {Material.RED}),
        (12, {Material.YELLOW, Material.WHITE}, {Material.RED}),
        (15, {Material.RED, Material.WHITE}, {Material.BLACK}),
        (26, {Material.RED, Material.YELLOW, Material.GREEN}, {Material.BLUE}),
        (40, {Material.BLUE, Material.WHITE}, {Material.RED, Material.BLACK}),
    ],
)
def test_faces_have_their_colours(class_id: int, present: set[Material], absent: set[Material]) -> None:
    materials = set(np.unique(draw_face(class_id, Style(), size=200)))
    assert present <= materials
    assert not absent & materials


def test_an_approached_sign_keeps_its_geometry() -> None:
    for class_id in range(N_CLASSES):
        rng = np.random.default_rng([3, class_id])
        track = Track(class_id, rng)
        far, near = track.photograph(0.0), track.photograph(1.0)
        for pixels, (x1, y1, x2, y2) in (far, near):
            height, width, channels = pixels.shape
            assert channels == 3
            assert max(height, width) <= MAX_SIDE
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height
            assert pixels.dtype == np.uint8
        share = [(x2 - x1) / pixels.shape[1] for pixels, (x1, _, x2, _) in (far, near)]
        assert share[1] > share[0] - 0.1


def test_light_varies_from_dark_to_bright() -> None:
    means = [Track(13, np.random.default_rng([9, n])).photograph(0.8).pixels.mean() for n in range(60)]
    assert min(means) < 40
    assert max(means) > 150


def further(jobs: int = 1, **changes: object) -> ImageSet:
    asked = {
        "tracks_per_class": 2,
        "frames_per_track": 3,
        "image_size": 24,
        "colour": "rgb",
        "crop_to_roi": True,
        "seed": 5,
    }
    return draw_further([1, 14, 40], **asked | changes, jobs=jobs)  # type: ignore[arg-type]


def test_further_signs_are_a_set_of_the_classes_whatever_the_number_of_workers() -> None:
    signs, again = further(), further(jobs=2)
    assert signs.features.shape == (18, 24, 24, 3)
    assert signs.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert len(set(signs.ids)) == 18
    assert np.bincount(signs.tracks).tolist() == [3] * 6
    for name, array in vars(signs).items():
        np.testing.assert_array_equal(array, getattr(again, name))
    assert further(colour="grey").features.shape == (18, 24, 24, 1)
    assert len(further(tracks_per_class=0)) == 0
    assert (further(crop_to_roi=False).features != signs.features).any()


def test_further_signs_are_in_no_archive_of_the_same_seed(archives: Path) -> None:
    drawn = list(read_files([*list_training(archives), *list_test(archives)]))
    one = photograph_track((5, FURTHER, 14, 0), [0.0])[0]
    assert not any(file.endswith(one.pixels.tobytes()) for file in drawn)
    same = photograph_track((5, TRAINING, 14, 0), [0.0, 0.5, 1.0])[0]
    assert any(file.endswith(same.pixels.tobytes()) for file in drawn)
