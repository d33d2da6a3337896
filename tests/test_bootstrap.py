import ast
import importlib.util
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "bootstrap.py"

AS_OLD_PYTHON = """
import runpy, sys
sys.version_info = (3, 9, 1)
sys.argv = ["bootstrap.py", "run"]
runpy.run_path({source!r}, run_name="__main__")
"""


@pytest.fixture
def bootstrap(tmp_path):
    """The script as a module of a repository that lies in a temporary folder."""
    copy = tmp_path / "bootstrap.py"
    copy.write_text(SOURCE.read_text())
    (tmp_path / "requirements.lock").write_text("lock")
    (tmp_path / "pyproject.toml").write_text("settings")
    (tmp_path / ".git").mkdir()
    spec = importlib.util.spec_from_file_location("bootstrap", copy)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def steps(bootstrap, monkeypatch):
    """What set-up would call; the first step makes an interpreter that runs."""
    called = []

    def call(command, **streams):
        if list(command[1:]) == ["-c", ""]:
            return 0 if Path(command[0]).exists() else 1
        called.append(command)
        python = Path(bootstrap.PYTHON)
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        return 0

    monkeypatch.setattr(subprocess, "call", call)
    return called


def executable(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def as_old_python(search_path):
    code = AS_OLD_PYTHON.format(source=str(SOURCE))
    return subprocess.run([sys.executable, "-c", code], env={"PATH": str(search_path)}, capture_output=True, text=True)


def test_old_interpreters_can_parse_it():
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 4))
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.MatMult, ast.Nonlocal)
    assert not [node for node in ast.walk(tree) if isinstance(node, newer)]
    assert SOURCE.read_bytes().isascii()


def test_only_the_standard_library_is_imported():
    imports = [node for node in ast.walk(ast.parse(SOURCE.read_text())) if isinstance(node, ast.Import)]
    assert {alias.name for node in imports for alias in node.names} <= sys.stdlib_module_names


def test_a_wrong_interpreter_says_so_in_one_line(tmp_path):
    executable(tmp_path / "python3.11", "#!/bin/sh\nexit 127\n")  # a stub of an interpreter manager
    done = as_old_python(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Python 3.11 or 3.12 is needed")
    assert "this is 3.9 " in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wrong_interpreter_hands_over_to_a_right_one(tmp_path):
    executable(tmp_path / "python3.12", '#!/bin/sh\n[ "$1" = -c ] || echo "python3.12 $@"\n')
    done = as_old_python(tmp_path)
    assert done.stdout == f"python3.12 {SOURCE} run\n"


@pytest.mark.parametrize("arguments", [[], ["run", "fast"], ["--help"]])
def test_anything_but_run_or_test_is_answered_with_the_usage(arguments):
    done = subprocess.run([sys.executable, str(SOURCE), *arguments], capture_output=True, text=True)
    assert done.stderr == "usage: python3 bootstrap.py run | test\n"


@pytest.mark.parametrize(
    ("lacking", "message"), [("import ensurepip, venv", "lacks venv or ensurepip"), ("--version", "git is not on PATH")]
)
def test_a_missing_tool_is_named(bootstrap, monkeypatch, lacking, message):
    monkeypatch.setattr(bootstrap, "succeeds", lambda *command: command[-1] != lacking)
    with pytest.raises(SystemExit, match=f"^error: .*{message}.*install"):
        bootstrap.require_tools()


def test_an_unpacked_archive_is_refused(bootstrap, tmp_path):
    (tmp_path / ".git").rmdir()
    with pytest.raises(SystemExit, match="is not a git repository"):
        bootstrap.require_tools()


def test_set_up_installs_by_hash_and_only_once(bootstrap, steps):
    bootstrap.set_up()
    assert len(steps) == 3
    assert {"--require-hashes", "--no-deps"} <= set(steps[1])
    assert {"--editable", "--no-deps", "--no-build-isolation"} <= set(steps[2])
    bootstrap.set_up()
    assert len(steps) == 3


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_a_changed_lock_or_setting_sets_up_afresh(bootstrap, steps, tmp_path, name):
    bootstrap.set_up()
    (tmp_path / name).write_text("changed")
    bootstrap.set_up()
    assert len(steps) == 6
    assert "--clear" in steps[3]


def test_an_environment_that_no_longer_runs_is_set_up_afresh(bootstrap, steps):
    bootstrap.set_up()
    Path(bootstrap.PYTHON).unlink()
    bootstrap.set_up()
    assert len(steps) == 6


def test_a_set_up_that_failed_or_was_killed_is_done_again(bootstrap, steps, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "call", lambda command: 1 if "--require-hashes" in command else 0)
        with pytest.raises(SystemExit, match=r"error: set-up stopped at .*requirements\.lock"):
            bootstrap.set_up()
    bootstrap.set_up()
    assert len(steps) == 3


def test_the_tests_run_last_and_their_status_wins(bootstrap, monkeypatch):
    called = []
    results = {"ruff": 1, "mypy": 0, "pytest": 0}
    monkeypatch.setattr(subprocess, "call", lambda command: called.append(command[0]) or results[command[0]])
    assert bootstrap.test() == 1
    assert called == ["ruff", "ruff", "mypy", "pytest"]
    results["pytest"] = 5
    assert bootstrap.test() == 5


def test_run_stops_at_the_first_failure_and_else_says_where_to_look(bootstrap, monkeypatch, capfd):
    called = []
    monkeypatch.setattr(subprocess, "call", lambda command: called.append(command) or 255)
    assert bootstrap.run() == 255
    assert called == [["dvc", "repro"]]
    monkeypatch.setattr(subprocess, "call", lambda command: called.append(command) or 0)
    assert bootstrap.run() == 0
    assert called[-1] == ["robust-distillation", "promote"]
    assert "sqlite:///mlruns/mlflow.db" in capfd.readouterr().out


def test_children_find_the_environment_first(bootstrap, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "run"])
    monkeypatch.setattr(bootstrap, "set_up", lambda: None)
    monkeypatch.setitem(
        bootstrap.JOBS, "run", lambda: os.environ["PATH"].split(os.pathsep)[0] == f"{bootstrap.VENV}/bin"
    )
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.chdir(bootstrap.ROOT)
    with pytest.raises(SystemExit) as ended:
        bootstrap.main()
    assert ended.value.code is True
