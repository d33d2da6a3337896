"""The file of results, and the machine and the commit that it names."""

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from robust_distillation.files import read_json, write_json

RESULTS = Path("results/attacks.json")
PACKAGES = ("tensorflow", "keras", "numpy", "foolbox", "adversarial-robustness-toolbox", "torch", "pyautoattack")
KEY = ("attack", "model", "peer", "setting", "images", "epsilon", "steps")

Row = dict[str, Any]


def machine() -> Row:
    """Return what the figures depend on besides the code."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    try:
        versions = {name: metadata.version(name) for name in PACKAGES}
    except metadata.PackageNotFoundError as error:
        raise click.ClickException(f"{error.name} is missing; run `pip install -e '.[peers]'`") from None
    return {"cpu": names[0], "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def commit() -> str:
    """Return the commit that is checked out, marked `-dirty` where more than results has changed since."""
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()  # noqa: S607
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", ".", ":!results"], check=False)  # noqa: S607
    return f"{head}-dirty" if changed.returncode else head


class Results:
    """The file of results, written anew after each measurement.

    Raises:
        click.ClickException: the file holds figures of another machine or of other versions.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        here = machine()
        self.content: Row = {"rows": [], "scaling": [], "machine": here}
        if path.exists():
            self.content = read_json(path)
            there = self.content["machine"]
            if there != here:
                changed = ", ".join(key for key in here if there.get(key) != here[key])
                raise click.ClickException(
                    f"{path}: measured with another {changed}; delete the file to measure all afresh"
                )
        self.origin = {"command": shlex.join(["python", "-m", "benchmarks.attacks", *sys.argv[1:]]), "commit": commit()}

    def missing(self, **wanted: Any) -> bool:
        """Tell whether no row holds these values."""
        rows = self.content["rows"] + self.content["scaling"]
        return not any(all(row.get(key) == value for key, value in wanted.items()) for row in rows)

    def add(self, section: str, rows: list[Row]) -> None:
        """Write rows in the place of those of the same key."""
        keys = [[row.get(key) for key in KEY] for row in rows]
        kept = [row for row in self.content[section] if [row.get(key) for key in KEY] not in keys]
        self.content[section] = kept + [self.origin | row for row in rows]
        write_json(self.path, self.content)
