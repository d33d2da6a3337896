"""Run the whole pipeline with a preset in a clean clone of HEAD and collect its figures in results/PRESET/metrics.json.

Usage:
    python benchmarks/pipeline.py gtsrb-seed --archives FOLDER_WITH_THE_THREE_ARCHIVES

A run that was killed goes on from its last finished stage when it is started again at the same commit.
"""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import click

from robust_distillation.cli import STAGES
from robust_distillation.files import read_json, write_json
from robust_distillation.paths import INFO, METRICS, TIMINGS

SECTIONS = {
    "dae": "autoencoder",
    "filter": "filter_audit",
    "poison": "poison",
    "surrogate": "surrogate",
    "teacher": "teacher",
    "student": "student",
    "robustness": "robustness",
}


def git(*arguments: str, folder: Path = Path()) -> str:
    """Return what git prints in `folder`."""
    return subprocess.check_output(["git", *arguments], cwd=folder, text=True).strip()  # noqa: S603, S607


def clone(commit: str, folder: Path) -> None:
    """Clone this repository at `commit` into `folder`, unless an earlier run left that clone there."""
    if folder.exists() and git("rev-parse", "HEAD", folder=folder) == commit:
        return
    shutil.rmtree(folder, ignore_errors=True)
    git("clone", "--quiet", str(Path.cwd()), str(folder))
    git("checkout", "--quiet", commit, folder=folder)


@click.command()
@click.argument("preset")
@click.option("--archives", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
def main(preset: str, archives: Path) -> None:
    """Run PRESET on the archives in a folder, at the commit that is checked out."""
    if git("status", "--porcelain"):
        raise click.ClickException("the tree is not clean; commit first, so that the figures name what ran")
    commit = git("rev-parse", "HEAD")
    folder = Path("build") / "pipeline" / preset
    clone(commit, folder)
    flags = subprocess.check_output(["robust-distillation", "preset", preset], text=True)  # noqa: S603, S607
    command = ["dvc", "exp", "run", *shlex.split(flags), "-S", f"data.archives={archives.resolve()}"]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    subprocess.run(command, cwd=folder, check=True, env=environment)  # noqa: S603

    metrics = {stage: read_json(folder / METRICS / f"{stage}.json") for stage in ("filter", *SECTIONS.values())}
    found = {section: metrics[stage] for section, stage in SECTIONS.items()}
    found["dae"] |= {key: metrics["filter"][key] for key in ("threshold_start", "threshold")}
    found["filter"] |= {key: metrics["filter"][key] for key in ("kept", "discarded")}
    write_json(
        Path("results") / preset / "metrics.json",
        {
            "dataset": (folder / INFO).read_text().splitlines(),
            **found,
            "wall_seconds": {stage: read_json(folder / TIMINGS / f"{stage}.json")["seconds"] for stage in STAGES},
            "command": f"python benchmarks/pipeline.py {preset} --archives FOLDER",
            "commit": commit,
        },
    )


if __name__ == "__main__":
    main()
