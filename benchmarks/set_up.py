"""Set the environment up from empty caches, by pip and as bootstrap.py does by uv, and compare how long both take.

Usage:
    python benchmarks/set_up.py

Writes results/set-up.json after each row: the seconds of the installation, and of the first import of the heaviest
packages after it, which pays for bytecode that is not there yet.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pipeline import clone, git

from robust_distillation.files import write_json

RESULTS = Path("results/set-up.json")
HEAVY = "import tensorflow, mlflow, great_expectations, alibi_detect.od"


def by_pip(folder: Path, environment: dict[str, str]) -> None:
    """Install with pip alone, as this project did until it took uv."""
    python = folder / ".venv/bin/python"
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--no-deps"]
    commands: list[list[str | Path]] = [
        [sys.executable, "-m", "venv", folder / ".venv"],
        [*pip, "--require-hashes", "-r", folder / "requirements.lock"],
        [*pip, "--no-build-isolation", "--editable", folder],
    ]
    for command in commands:
        subprocess.run(command, env=environment, check=True)  # noqa: S603


def by_uv(folder: Path, environment: dict[str, str]) -> None:
    """Install as bootstrap.py does."""
    subprocess.run(
        [sys.executable, "-c", "import bootstrap; bootstrap.set_up()"], cwd=folder, env=environment, check=True
    )


def measure(install: Callable[[Path, dict[str, str]], None]) -> dict[str, float]:
    """Return the seconds of an installation into a clone of HEAD with empty caches, and of the first import there."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "clone"
        clone(git("rev-parse", "HEAD"), folder)
        caches = {name: str(Path(place) / name) for name in ("PIP_CACHE_DIR", "UV_CACHE_DIR")}
        environment = os.environ | caches
        start = time.monotonic()
        install(folder, environment)
        installed = time.monotonic()
        subprocess.run([folder / ".venv/bin/python", "-c", HEAVY], capture_output=True, check=True)  # noqa: S603
        return {"seconds": round(installed - start, 1), "first_import_seconds": round(time.monotonic() - installed, 1)}


def main() -> None:
    """Measure one after the other on this machine."""
    found: dict[str, object] = {
        "command": "python benchmarks/set_up.py",
        "commit": git("rev-parse", "HEAD"),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
    }
    for name, install in {"uv": by_uv, "pip": by_pip}.items():
        found[name] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **measure(install)}
        write_json(RESULTS, found)


if __name__ == "__main__":
    main()
