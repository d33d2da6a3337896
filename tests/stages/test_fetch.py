import hashlib
from types import SimpleNamespace

import pytest

from robust_distillation.dataset import download as downloads
from robust_distillation.dataset.archives import ARCHIVES, list_test, list_training
from robust_distillation.errors import InputError
from robust_distillation.stages import fetch
from robust_distillation.workspace import main_root


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with archives in `zips`, and the current folder in it."""
    (tmp_path / "repo/.dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repo")
    zips = tmp_path / "repo/zips"
    zips.mkdir()
    for name in ARCHIVES:
        (zips / name).write_bytes(name.encode())
    return tmp_path / "repo"


def params(source="gtsrb", archives=None, drawn="used"):
    drawn = SimpleNamespace(classes=drawn, tracks_per_class=1, frames_per_track=2, test_per_class=3, seed=4)
    data = SimpleNamespace(source=source, archives=archives, synthetic=drawn)
    return SimpleNamespace(data=data, dataset=SimpleNamespace(classes=[3, 14]))


def assert_fetched(folder):
    assert sorted(file.name for file in folder.iterdir()) == sorted(ARCHIVES)
    assert all((folder / name).read_bytes() == name.encode() for name in ARCHIVES)


def write_sums(folder, digest):
    lines = [f"{digest((folder / name).read_bytes()).hexdigest()}  {name}" for name in ARCHIVES]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(("drawn", "classes"), [("used", [3, 14]), ("all", list(range(43)))])
def test_signs_are_drawn_of_the_classes_in_use_or_of_all(repository, drawn, classes):
    fetch.main(params(source="synthetic", drawn=drawn))
    for records in (list_training(fetch.RAW), list_test(fetch.RAW)):
        assert sorted({record.label for record in records}) == classes


def test_main_root_from_the_repository_and_from_a_copy(repository, monkeypatch):
    assert main_root() == repository
    copy = repository / ".dvc/tmp/exps/tmpabc"
    (copy / ".dvc").mkdir(parents=True)
    (copy / "data").mkdir()
    monkeypatch.chdir(copy / "data")
    assert main_root() == repository


def test_copies_replace_what_was_there(repository):
    (repository / "data/raw").mkdir(parents=True)
    (repository / "data/raw/old.zip").write_bytes(b"old")
    fetch.main(params(archives=fetch.Path("zips")))
    assert_fetched(repository / "data/raw")


def test_relative_folder_is_found_from_a_copy(repository, monkeypatch):
    copy = repository / ".dvc/tmp/exps/tmpabc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    fetch.main(params(archives=fetch.Path("zips")))
    assert_fetched(copy / "data/raw")


def test_checksums_pass_and_fail(repository):
    write_sums(repository / "zips", hashlib.sha256)
    fetch.main(params(archives=fetch.Path("zips")))
    (repository / "zips" / ARCHIVES[1]).write_bytes(b"changed")
    with pytest.raises(InputError, match=f"{ARCHIVES[1]}: SHA-256 is"):
        fetch.main(params(archives=fetch.Path("zips")))
    assert_fetched(repository / "data/raw")


def test_missing_folder_and_file_are_named(repository):
    with pytest.raises(InputError, match=r"data\.archives: nowhere"):
        fetch.main(params(archives=fetch.Path("nowhere")))
    (repository / "zips" / ARCHIVES[0]).unlink()
    with pytest.raises(InputError, match=f"{ARCHIVES[0]}: not found"):
        fetch.main(params(archives=fetch.Path("zips")))
    assert not (repository / "data/raw").exists()


def test_download_goes_through_the_main_repository(repository, monkeypatch):
    asked = []

    def pretend(url, path, *, md5):
        asked.append((url, md5))
        path.write_bytes(path.name.encode())

    monkeypatch.setattr(fetch, "download", pretend)
    copy = repository / ".dvc/tmp/exps/tmpabc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    fetch.main(params())
    assert_fetched(copy / "data/raw")
    assert [url.rsplit("/", 1)[1] for url, _ in asked] == list(ARCHIVES)
    assert dict(zip(ARCHIVES, (md5 for _, md5 in asked), strict=True)) == downloads.OFFICIAL_MD5
    assert (repository / "data/downloads" / ARCHIVES[0]).exists()
