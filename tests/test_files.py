import resource
import signal
import subprocess
import sys

import pytest
from pydantic.dataclasses import dataclass

from robust_distillation.errors import InputError
from robust_distillation.files import STRICT, read_json, read_record, replacing, write_json

KILLED_HALFWAY = """
import os, signal, sys
from pathlib import Path
from robust_distillation.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""

DISK_FULL = """
import sys
from pathlib import Path
from robust_distillation.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(bytes(1 << 20))
"""


def write_tree(folder, **texts):
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "new" / "verdict.json"
    write_json(path, {"round": 1})
    write_json(path, {"round": 2})
    assert read_json(path) == {"round": 2}
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "docs"
    for texts in ({"old": "1", "both": "1"}, {"both": "2"}):
        with replacing(path) as temporary:
            write_tree(temporary, **texts)
    assert {file.name: file.read_text() for file in path.iterdir()} == {"both": "2"}
    assert list(tmp_path.iterdir()) == [path]


def fail_halfway(path, write):
    with replacing(path) as temporary:
        write(temporary)
        raise RuntimeError


def test_a_writer_that_raises_leaves_the_old_and_no_rest(tmp_path):
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("old")
    write_tree(folder, part="old")
    with pytest.raises(RuntimeError):
        fail_halfway(file, lambda temporary: temporary.write_text("half"))
    with pytest.raises(RuntimeError):
        fail_halfway(folder, lambda temporary: write_tree(temporary, part="half"))
    assert file.read_text() == (folder / "part").read_text() == "old"
    assert sorted(tmp_path.iterdir()) == [file, folder]


def test_a_killed_writer_leaves_the_old(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED_HALFWAY, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_no_space_left_leaves_the_old_and_no_rest(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(path)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert "OSError" in done.stderr
    assert f"InputError: {path}: not written (File too large); free some space" in done.stderr
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_number_that_json_lacks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "out.json", {"accuracy": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_broken_json_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: not found"):
        read_json(tmp_path / "gone.json")
    broken = tmp_path / "broken.json"
    broken.write_text('{"a":\n')
    with pytest.raises(InputError, match=r"broken\.json: not JSON"):
        read_json(broken)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00"])
def test_json_that_is_no_text_is_named(tmp_path, content):
    path = tmp_path / "binary.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"binary\.json: not JSON"):
        read_json(path)


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a folder where a file is expected; move it away"):
        read_json(tmp_path)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Verdict:
    score: float
    name: str


def test_a_record_is_read_as_it_was_written(tmp_path):
    write_json(tmp_path / "verdict.json", {"score": 1, "name": "first"})
    assert read_record(tmp_path / "verdict.json", Verdict) == Verdict(score=1.0, name="first")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", r"whole file: .*Received: \[1, 2\]"),
        ('{"score": 1}', "name: Field required"),
        ('{"score": 1, "name": "first", "more": 2}', "more: .*Received: 2"),
        ('{"score": "1", "name": "first"}', "score: .*valid number.*Received: '1'"),
        ('{"score": NaN, "name": "first"}', "score: .*finite number"),
        ('{"score": ', "whole file: Invalid JSON"),
        ("", "whole file: Invalid JSON"),
    ],
)
def test_a_record_of_other_content_is_one_line_with_file_field_value_and_remedy(tmp_path, text, said):
    path = tmp_path / "verdict.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"verdict\.json: {said}.*; run `dvc repro` to make it again$") as caught:
        read_record(path, Verdict)
    assert "\n" not in str(caught.value)
