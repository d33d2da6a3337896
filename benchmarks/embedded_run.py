"""Time the default run stage by stage at two commits, one after the other on this machine.

Usage:
    python benchmarks/embedded_run.py f3af1be HEAD

Each commit is cloned and run from nothing by `dvc repro`, in the environment of this call. Writes
results/embedded-run.json: a row per stage of today, null where a commit does not have it, and one for the whole of
`dvc repro`.
"""

import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

import click
from pipeline import clone, git

from robust_distillation.files import read_json, write_json
from robust_distillation.paths import TIMINGS
from robust_distillation.stages import STAGES

RESULTS = Path("results/embedded-run.json")


def measure(commit: str) -> dict[str, float]:
    """Return the seconds of each stage, and of `dvc repro`, in a fresh clone of a commit."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "clone"
        clone(commit, folder)
        environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        environment["PYTHONPATH"] = str(folder / "src")
        start = time.monotonic()
        subprocess.run(["dvc", "repro"], cwd=folder, env=environment, check=True)  # noqa: S607
        whole = time.monotonic() - start
        files = {stage: folder / TIMINGS / f"{stage}.json" for stage in STAGES}
        stages = {stage: read_json(file)["seconds"] for stage, file in files.items() if file.exists()}
        return {**stages, "dvc repro": round(whole, 1)}


@click.command()
@click.argument("before")
@click.argument("after")
def main(before: str, after: str) -> None:
    """Compare the commits BEFORE and AFTER."""
    commits = [git("rev-parse", commit) for commit in (before, after)]
    seconds = [measure(commit) for commit in commits]
    rows = [
        {"stage": stage, "seconds_before": seconds[0].get(stage), "seconds_after": seconds[1].get(stage)}
        for stage in (*STAGES, "dvc repro")
    ]
    write_json(
        RESULTS,
        {
            "rows": rows,
            "commit_before": commits[0],
            "commit_after": commits[1],
            "commit": git("rev-parse", "HEAD"),
            "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
            "command": f"python benchmarks/embedded_run.py {before} {after}",
        },
    )


if __name__ == "__main__":
    main()
