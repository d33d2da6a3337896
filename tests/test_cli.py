import subprocess
import sys

import pytest

from robust_distillation.stages import STAGES

HEAVY = {"tensorflow", "keras", "mlflow", "pandas", "great_expectations", "matplotlib", "alibi_detect", "sklearn"}


def cli(folder, *arguments):
    command = [sys.executable, "-m", "robust_distillation.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_help_imports_nothing_heavy():
    code = f"""
import sys
from robust_distillation.cli import main
main(["--help"], standalone_mode=False)
print("heavy:", *({HEAVY!r} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("Usage:")
    assert done.stdout.endswith("\nheavy:\n")


def test_an_error_is_one_line(tmp_path):
    done = cli(tmp_path, "stage", "validate")
    assert done.returncode == 1
    assert done.stderr == "error: params.yaml: not found; run from the repository root\n"
    assert done.stdout == ""


def test_debug_shows_the_traceback(tmp_path):
    done = cli(tmp_path, "--debug", "stage", "validate")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "params.yaml: not found" in done.stderr


def test_an_unknown_stage_is_answered_with_the_known_ones(tmp_path):
    done = cli(tmp_path, "stage", "magic")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert all(name in done.stderr for name in ["magic", *STAGES])


@pytest.mark.parametrize("arguments", [["--version"], ["stage", "--help"]])
def test_questions_are_answered_anywhere(tmp_path, arguments):
    done = cli(tmp_path, *arguments)
    assert done.returncode == 0
    assert done.stderr == ""
