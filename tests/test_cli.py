import subprocess
import sys
from pathlib import Path

import pytest

from robust_distillation.stages import STAGES

ROOT = Path(__file__).parents[1]
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


@pytest.mark.parametrize("name", sorted(file.stem for file in (ROOT / "presets").glob("*.yaml")))
def test_a_preset_is_flags_that_a_shell_does_not_part(name):
    words = cli(ROOT, "preset", name).stdout.split()
    assert words[::2] == ["-S"] * (len(words) // 2)
    assert all("=" in word for word in words[1::2])
    assert len(words) % 2 == 0


def test_a_study_queues_every_combination(tmp_path):
    (tmp_path / "params.yaml").write_text("poison: {kinds: [fgsm], fraction: 0.1}\n")
    (tmp_path / "dvc.yaml").write_text("stages: {nothing: {cmd: 'true', params: [poison]}}\n")
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/poison.yaml").write_text(
        "poison: {kinds: '[fgsm,pgd],[badnets]', fraction: '0.1,0.2'}\n",
    )
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (
        ["git", "init", "-q"],
        [sys.executable, "-m", "dvc", "init", "-q"],
        ["git", "add", "."],
        [*git, "commit", "-qm", "start"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    done = cli(tmp_path, "study", "poison")
    assert done.returncode == 0, done.stderr
    assert "run them with `dvc queue start`" in done.stdout
    listed = [sys.executable, "-m", "dvc", "queue", "status"]
    waiting = subprocess.run(listed, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert waiting.count("Queued") == 4


def test_an_unknown_study_is_answered_with_the_known_ones(tmp_path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/filter.yaml").write_text("{}")
    done = cli(tmp_path, "study", "magic")
    assert done.returncode == 1
    assert done.stderr == (
        "error: studies/magic.yaml: not found; run from the repository root and choose one of: filter\n"
    )
