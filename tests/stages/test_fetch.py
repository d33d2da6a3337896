import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from robust_distillation.dataset.readers.archives import (
    ARCHIVES,
    TEST_IMAGES,
    TRAINING_IMAGES,
    list_test,
    list_training,
)
from robust_distillation.dataset.sources import gtsrb
from robust_distillation.dataset.synthetic.archives import draw_archives
from robust_distillation.errors import InputError
from robust_distillation.paths import DOWNLOADS
from robust_distillation.stages import fetch
from robust_distillation.workspace import main_root


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Small archives."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_archives(folder, tracks_per_class=1, frames_per_track=2, test_per_class=1, seed=4)
    return folder


@pytest.fixture
def repository(tmp_path, monkeypatch, drawn):
    """A repository with archives in `zips`, and the current folder in it."""
    (tmp_path / "repo/.dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repo")
    shutil.copytree(drawn, tmp_path / "repo/zips")
    return tmp_path / "repo"


def params(source="gtsrb", path=DOWNLOADS, drawn=3):
    asked = SimpleNamespace(classes=drawn, tracks_per_class=1, frames_per_track=2, test_per_class=3, seed=4)
    return SimpleNamespace(data=SimpleNamespace(source=source, path=path, synthetic=asked))


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def assert_fetched(drawn):
    def check(folder):
        assert contents(folder) == contents(drawn)

    return check


def write_sums(folder, digest):
    lines = [f"{digest((folder / name).read_bytes()).hexdigest()}  {name}" for name in ARCHIVES]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(("asked", "classes"), [([3, 14], [3, 14]), (2, [0, 1]), ("all", list(range(43)))])
def test_signs_are_drawn_of_the_classes_that_are_asked_for(repository, asked, classes):
    fetch.main(params(source="synthetic", drawn=asked))
    for records in (list_training(fetch.RAW), list_test(fetch.RAW)):
        assert sorted({record.label for record in records}) == classes


def test_main_root_from_the_repository_and_from_a_copy(repository, monkeypatch):
    assert main_root() == repository
    copy = repository / ".dvc/tmp/exps/tmpabc"
    (copy / ".dvc").mkdir(parents=True)
    (copy / "data").mkdir()
    monkeypatch.chdir(copy / "data")
    assert main_root() == repository


def test_copies_replace_what_was_there(repository, assert_fetched):
    (repository / "data/raw").mkdir(parents=True)
    (repository / "data/raw/old.zip").write_bytes(b"old")
    fetch.main(params(path=Path("zips")))
    assert_fetched(repository / "data/raw")


def test_a_relative_folder_is_not_looked_for_outside_a_copy(repository, monkeypatch):
    copy = repository / ".dvc/tmp/exps/tmpabc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with pytest.raises(InputError, match=r"data\.path: zips is no folder; .* needs its absolute path"):
        fetch.main(params(path=Path("zips")))


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("name", [TRAINING_IMAGES, TEST_IMAGES])
@pytest.mark.parametrize("spoil", [truncate, lambda path: flip(path, 2000), lambda path: path.write_bytes(b"")])
def test_an_archive_is_read_to_its_end_before_it_is_taken(repository, assert_fetched, name, spoil):
    fetch.main(params(path=Path("zips")))
    spoil(repository / "zips" / name)
    with pytest.raises(InputError, match=f"zips/{name}: ") as caught:
        fetch.main(params(path=Path("zips")))
    assert "\n" not in str(caught.value)
    assert_fetched(repository / "data/raw")


def test_checksums_pass_and_fail(repository, assert_fetched):
    write_sums(repository / "zips", hashlib.sha256)
    fetch.main(params(path=Path("zips")))
    (repository / "zips" / ARCHIVES[1]).write_bytes(b"changed")
    with pytest.raises(InputError, match=f"{ARCHIVES[1]}: SHA-256 is"):
        fetch.main(params(path=Path("zips")))
    assert_fetched(repository / "data/raw")


def test_checksums_that_are_none_are_named(repository):
    (repository / "zips/SHA256SUMS").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="SHA256SUMS: a line is not a checksum and a file name"):
        fetch.main(params(path=Path("zips")))


def test_missing_folder_and_file_are_named(repository):
    with pytest.raises(InputError, match=r"data\.path: nowhere"):
        fetch.main(params(path=Path("nowhere")))
    (repository / "zips" / ARCHIVES[0]).unlink()
    with pytest.raises(InputError, match=f"{ARCHIVES[0]}: not found"):
        fetch.main(params(path=Path("zips")))
    assert not (repository / "data/raw").exists()


def test_download_goes_through_the_main_repository(repository, drawn, assert_fetched, monkeypatch):
    asked = []

    def pretend(url, path, *, md5):
        asked.append((url, md5))
        shutil.copyfile(drawn / path.name, path)

    monkeypatch.setattr("robust_distillation.dataset.download.download", pretend)
    copy = repository / ".dvc/tmp/exps/tmpabc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    fetch.main(params())
    assert_fetched(copy / "data/raw")
    assert [url.rsplit("/", 1)[1] for url, _ in asked] == list(ARCHIVES)
    assert dict(zip(ARCHIVES, (md5 for _, md5 in asked), strict=True)) == gtsrb.OFFICIAL_MD5
    assert (repository / "data/downloads" / ARCHIVES[0]).exists()
