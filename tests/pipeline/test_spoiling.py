"""Stages that run again, or that are fed nonsense."""

import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest


@pytest.fixture
def scratch(clone, tmp_path):
    """A copy of the clone and its outputs, to spoil."""
    folder = tmp_path / "scratch"
    shutil.copytree(clone.folder, folder, ignore=shutil.ignore_patterns(".git", "cache", "tmp", "mlruns"))
    return replace(clone, folder=folder)


def test_stages_that_run_again_give_the_same_bytes(scratch):
    stages = ("fetch", "dataset", "surrogate", "poison", "teacher")
    before = scratch.outputs()
    outs = [out for stage in stages for out in scratch.stage_outs(stage)]
    for out in outs:
        path = scratch.folder / out
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for stage in stages:
        scratch.run("robust-distillation", "stage", stage)
    after = scratch.outputs()
    files = {file for file in before if any(Path(file).is_relative_to(out) for out in outs)}
    assert len(files) > len(outs)
    assert not [file for file in files if before[file] != after.get(file)]


@pytest.mark.parametrize(
    ("stage", "changes", "told"),
    [
        ("poison", {"poison": {"colour": "red"}}, "params.yaml: poison.colour"),
        ("robustness", {"robustness": {"epsilons": [8]}}, "8/255"),
        ("dataset", {"dataset": {"classes": [0, 99]}}, "no class 99"),
        ("dataset", {"dataset": {"classes": 99}}, "asked for 99"),
    ],
)
def test_bad_params_are_one_line_and_leave_the_outputs(scratch, stage, changes, told):
    scratch.change(changes)
    assert_refused(scratch, stage, told)


def test_a_truncated_archive_is_one_line_and_leaves_the_outputs(scratch):
    archive = next((scratch.folder / "data/raw").glob("*Training_Images.zip"))
    archive.write_bytes(archive.read_bytes()[:5000])
    assert_refused(scratch, "dataset", archive.name)


def test_a_server_that_is_down_is_one_line_and_leaves_the_outputs(scratch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert_refused(scratch, "dataset", address, MLFLOW_TRACKING_URI=address)


def assert_refused(clone, stage: str, told: str, **environment: str) -> None:
    before = clone.outputs()
    done = clone.attempt("robust-distillation", "stage", stage, **environment)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
    assert clone.outputs() == before
