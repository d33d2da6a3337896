"""The stage that DVC runs first, with the real DVC and cheap stages behind it."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import copyfile

import pytest
import yaml

from robust_distillation.paths import CHECKED, DOWNLOADS

ROOT = Path(__file__).parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
BEHIND = {
    "fetch": {
        "cmd": "! grep -rq truncated ${data.path} && mkdir -p data/raw && date +%N > data/raw/drawn",
        "deps": [dep for dep in PIPELINE["fetch"]["deps"] if not dep.startswith("src/")],
        "params": PIPELINE["fetch"]["params"],
        "outs": PIPELINE["fetch"]["outs"],
    },
    "student": {
        "cmd": "date +%N > reports/student",
        "deps": ["data/raw"],
        "params": ["student"],
        "outs": ["reports/student"],
    },
}


class Repository:
    """A git repository with params.yaml, the stage `check`, and a `fetch` and a `student` that cost nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("params.yaml", ".dvcignore", "data/.gitignore", "data/downloads/.gitignore", ".dvc/config"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copyfile(ROOT / name, folder / name)
        stages = {"check": {**PIPELINE["check"], "deps": []}, **BEHIND}
        (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
        (folder / ".gitignore").write_text("/reports/\n")
        self.git("init", "-q")
        self.git("config", "user.name", "Tester")
        self.git("config", "user.email", "tester@example.org")
        self.commit()
        assert self.dvc("repro") == (["check", "fetch", "student"], "")
        self.commit()

    def attempt(self, *command: str) -> subprocess.CompletedProcess[str]:
        dvc = str(self.folder.parent / "dvc")
        places = {f"DVC_{name}_DIR": dvc for name in ("SITE_CACHE", "GLOBAL_CONFIG", "SYSTEM_CONFIG")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, **places, "PATH": path, "PYTHONPATH": str(ROOT / "src")}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def git(self, *arguments: str) -> str:
        done = self.attempt("git", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def go_back(self) -> None:
        """Do what a refusal advises."""
        self.git("checkout", ".")
        self.attempt("dvc", "checkout")

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", "state")

    def dvc(self, *arguments: str) -> tuple[list[str], str]:
        """Return the stages that DVC started and what `check` said against the params."""
        done = self.attempt("dvc", *arguments)
        started = [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]
        refusals = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert (done.returncode == 0) == (not refusals), done.stderr
        return started, "".join(refusals)

    def outputs(self) -> dict[str, bytes]:
        files = (file for top in ("data", "reports") for file in (self.folder / top).rglob("*"))
        return {str(file): file.read_bytes() for file in files if file.is_file()}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return Repository(tmp_path_factory.mktemp("check") / "repository")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-S", "data.path=null"], "params.yaml: data.path: must be a path"),
        (["--temp", "-S", "data.source=gtsrb", "-S", "data.path=zips"], "params.yaml: data.path: zips is no"),
    ],
)
def test_a_bad_value_starts_no_stage_and_leaves_every_output(repository, options, said):
    before = repository.outputs()
    started, refusal = repository.dvc("exp", "run", *options)
    assert started == ["check"]
    assert refusal.startswith(f"error: {said}")
    assert refusal.endswith("or go back with `git checkout . && dvc checkout`")
    assert repository.outputs() == before
    repository.git("checkout", ".")


def test_a_single_target_is_checked_first_and_the_advice_leads_back(repository):
    before = repository.outputs()
    params = repository.folder / "params.yaml"
    params.write_text(params.read_text().replace("fraction: 0.2", "fraction: -1"))
    started, refusal = repository.dvc("repro", "student")
    assert (started, "poison.fraction" in refusal) == (["check"], True)
    repository.go_back()
    assert repository.dvc("repro") == ([], "")
    assert repository.outputs() == before


def test_a_valid_change_runs_what_reads_it(repository):
    assert repository.dvc("exp", "run", "-S", "student.epochs=3") == (["check", "student"], "")
    repository.go_back()


def test_what_changes_in_the_folder_of_archives_is_fetched_and_what_is_refused_leaves_every_output(
    repository, tmp_path
):
    archive = tmp_path / "a.zip"
    archive.write_bytes(b"whole")
    settings = ("-S", "data.source=gtsrb", "-S", f"data.path={tmp_path}")
    assert repository.dvc("exp", "run", *settings) == (["check", "fetch", "student"], "")
    assert repository.dvc("repro") == ([], "")
    before = repository.outputs()
    archive.write_bytes(b"truncated")
    assert repository.attempt("dvc", "repro").returncode != 0
    assert repository.outputs() == before
    archive.write_bytes(b"whole again")
    assert repository.dvc("repro") == (["fetch", "student"], "")
    repository.go_back()


def test_a_file_is_fetched_again_when_it_changes(repository, tmp_path):
    file = tmp_path / "mine.npz"
    file.write_bytes(b"whole")
    settings = ("-S", "data.source=npz", "-S", f"data.path={file}")
    assert repository.dvc("exp", "run", *settings) == (["check", "fetch", "student"], "")
    assert repository.dvc("repro") == ([], "")
    file.write_bytes(b"whole again")
    assert repository.dvc("repro") == (["fetch", "student"], "")
    repository.go_back()


def test_signs_that_are_drawn_do_not_depend_on_what_was_downloaded(repository):
    archive = repository.folder / DOWNLOADS / "GTSRB_Final_Test_GT.zip"
    archive.write_bytes(b"downloaded")
    assert repository.dvc("repro") == ([], "")
    archive.unlink()


def test_what_a_check_writes_does_not_depend_on_the_values(repository):
    before = (repository.folder / CHECKED).read_bytes()
    params = repository.folder / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 40", "epochs: 41"))
    assert repository.attempt("robust-distillation", "check").returncode == 0
    assert (repository.folder / CHECKED).read_bytes() == before
    repository.git("checkout", ".")
