import ast
import importlib.util
import os
import re
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "bootstrap.py"

LOCK = """\
tzdata==2026.1 \\
    --hash=sha256:aa
    # via pandas
uv==0.13.8 ; python_full_version < '3.13' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
    # via robust-distillation (pyproject.toml)
uvicorn==0.54.0 \\
    --hash=sha256:dd
"""
PIP_SETTINGS = """\
:env:.index-url='index-of-env'
:env:.timeout='180'
global.cert='/etc/ca.crt'
global.extra-index-url='index-of-one\\nindex-of-two'
global.find-links='/wheels /more'
global.index-url='index-of-global'
global.no-color='true'
install.index-url='index-of-install'
"""

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
    (tmp_path / "requirements.lock").write_text(LOCK)
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

    def call(command, *_, **__):
        if list(command[1:]) == ["-c", ""]:
            return 0 if Path(command[0]).exists() else 1
        called.append(command)
        python = Path(bootstrap.PYTHON)
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        return 0

    monkeypatch.setattr(subprocess, "call", call)
    monkeypatch.setattr(subprocess, "check_output", lambda _: PIP_SETTINGS.encode())
    monkeypatch.setattr(bootstrap, "call_uv", call)
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
    venv, uv, packages, project = steps
    assert "--clear" in venv
    assert {"--require-hashes", "--no-deps", bootstrap.UV_PIN} <= set(uv)
    assert packages[0] == project[0] == bootstrap.UV
    assert {"sync", "--require-hashes", "--compile-bytecode", bootstrap.LOCK} <= set(packages)
    assert {"--editable", "--no-deps", "--no-build-isolation"} <= set(project)
    bootstrap.set_up()
    assert len(steps) == 4


def test_pip_installs_uv_alone_by_its_hashes(bootstrap, steps):
    bootstrap.set_up()
    pinned = Path(bootstrap.UV_PIN).read_text()
    assert pinned == "".join(LOCK.splitlines(keepends=True)[3:6])


def test_the_lock_pins_uv_by_hash(bootstrap, tmp_path):
    (tmp_path / "requirements.lock").write_text((SOURCE.parent / "requirements.lock").read_text())
    (tmp_path / ".venv").mkdir()
    bootstrap.pin_uv()
    assert re.fullmatch(r"uv==\S+.*(\\\n    --hash=sha256:[0-9a-f]{64} ?)+\n", Path(bootstrap.UV_PIN).read_text())


def test_uv_gets_the_settings_of_pip(bootstrap):
    assert bootstrap.uv_settings(PIP_SETTINGS) == {
        "UV_DEFAULT_INDEX": "index-of-env",
        "UV_HTTP_TIMEOUT": "180",
        "UV_INDEX": "index-of-one index-of-two",
        "UV_FIND_LINKS": "/wheels,/more",
        "SSL_CERT_FILE": "/etc/ca.crt",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_settings_of_uv_itself_are_kept(bootstrap, steps, monkeypatch):
    given = {}
    monkeypatch.setattr(bootstrap, "call_uv", lambda _, environment: given.update(environment) or 0)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "index-of-own")
    bootstrap.set_up()
    assert given["UV_DEFAULT_INDEX"] == "index-of-own"
    assert given["UV_FIND_LINKS"] == "/wheels,/more"


def test_what_pip_is_set_to_reaches_uv(bootstrap, tmp_path, monkeypatch):
    """With the real pip and uv: an index that lies in a folder, as only pip was told, has what uv installs."""
    index = tmp_path / "index/tiny"
    index.mkdir(parents=True)
    wheel = index / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\n")
    (index / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {index.parent.as_uri()}\n")
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    listed = subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], text=True)
    environment = os.environ | bootstrap.uv_settings(listed) | {"UV_CACHE_DIR": str(tmp_path / "cache")}
    uv = Path(sys.executable).with_name("uv")
    target = tmp_path / "site"
    command = [uv, "pip", "install", "--python", sys.executable, "--target", target, "tiny"]
    assert bootstrap.call_uv(command, environment) == 0
    assert (target / "tiny.py").exists()


def test_the_list_of_packages_is_not_shown_and_all_else_is(bootstrap, tmp_path):
    said = [b"Resolved 2 pack", b"ages\n", b" \x1b[32m+\x1b[39m absl", b"-py==2.5.1\n + numpy==1.26.4\n", b" done\n"]
    source, target = os.pipe()
    shown = os.open(tmp_path / "shown", os.O_CREAT | os.O_WRONLY)

    def speak():
        for piece in said:
            os.write(target, piece)
            time.sleep(0.01)  # so that each piece is read alone
        os.close(target)

    speaker = threading.Thread(target=speak)
    speaker.start()
    bootstrap.relay(source, shown)
    speaker.join()
    assert (tmp_path / "shown").read_bytes() == b"Resolved 2 packages\n done\n"


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_a_changed_lock_or_setting_sets_up_afresh(bootstrap, steps, tmp_path, name):
    bootstrap.set_up()
    (tmp_path / name).write_text(LOCK + "changed")
    bootstrap.set_up()
    assert len(steps) == 8
    assert "--clear" in steps[4]


def test_an_environment_that_no_longer_runs_is_set_up_afresh(bootstrap, steps):
    bootstrap.set_up()
    Path(bootstrap.PYTHON).unlink()
    bootstrap.set_up()
    assert len(steps) == 8


def test_a_set_up_that_failed_or_was_killed_is_done_again(bootstrap, steps, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "call_uv", lambda command, _: 1)
        with pytest.raises(SystemExit, match=r"error: set-up stopped at .*requirements\.lock"):
            bootstrap.set_up()
    steps.clear()
    bootstrap.set_up()
    assert len(steps) == 4


def test_the_tests_run_last_and_their_status_wins(bootstrap, monkeypatch):
    called = []
    results = {"ruff": 1, "mypy": 0, "lint-imports": 0, "sphinx-build": 0, "pytest": 0}
    monkeypatch.setattr(subprocess, "call", lambda command: called.append(command[0]) or results[command[0]])
    assert bootstrap.test() == 1
    assert called == ["ruff", "ruff", "mypy", "lint-imports", "sphinx-build", "pytest"]
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
