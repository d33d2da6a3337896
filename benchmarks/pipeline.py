"""Run the whole pipeline with a preset in a clean clone of HEAD and collect its figures in results/NAME/metrics.json.

Usage:
    python benchmarks/pipeline.py gtsrb-seed --archives FOLDER_WITH_THE_THREE_ARCHIVES
    python benchmarks/pipeline.py gtsrb-full --archives FOLDER --name gtsrb-full-standard -S robustness.attacks=standard
    python benchmarks/pipeline.py gtsrb-full --archives FOLDER --until published -S filter.detector=mse

A run that was killed goes on from its last finished stage when it is started again. Runs of one preset share a clone,
so that another commit or another name does only what has changed. The last example makes the defence as published,
for benchmarks/student.py, and collects nothing.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click

from robust_distillation.files import read_json, write_json
from robust_distillation.paths import INFO, METRICS, TIMINGS
from robust_distillation.stages import STAGES

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


def hardware() -> str:
    """Return what TensorFlow computes on here: a graphics card, or a number of cores."""
    import tensorflow as tf

    cards = tf.config.list_physical_devices("GPU")
    if not cards:
        return f"{os.cpu_count()} cores"
    return str(tf.config.experimental.get_device_details(cards[0])["device_name"])


def clone(commit: str, folder: Path) -> None:
    """Check `commit` out in a clone of this repository, which keeps what DVC has of earlier runs."""
    if not folder.exists():
        git("clone", "--quiet", "--no-checkout", str(Path.cwd()), str(folder))
    git("fetch", "--quiet", "origin", folder=folder)
    git("reset", "--quiet", folder=folder)  # DVC stages dvc.lock, which a forced checkout would then remove
    git("checkout", "--quiet", "--force", commit, folder=folder)


@click.command()
@click.argument("preset")
@click.option("--archives", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--name", help="Of the folder of results; by default the preset.")
@click.option("-S", "changes", multiple=True, metavar="KEY=VALUE", help="A param besides those of the preset.")
@click.option("--until", metavar="STAGE", help="Run this stage and what it needs, and collect nothing.")
def main(preset: str, archives: Path, name: str | None, changes: tuple[str, ...], until: str | None) -> None:
    """Run PRESET on the archives in a folder, at the commit that is checked out."""
    if git("status", "--porcelain", "--", ".", ":!results"):
        raise click.ClickException("the tree is not clean; commit first, so that the figures name what ran")
    commit = git("rev-parse", "HEAD")
    folder = Path("build") / "pipeline" / preset
    clone(commit, folder)
    flags = subprocess.check_output(["robust-distillation", "preset", preset], text=True)  # noqa: S603, S607
    settings = [*shlex.split(flags), "-S", f"data.path={archives.resolve()}"]
    settings += [part for change in changes for part in ("-S", change)]
    command = ["dvc", "exp", "run", *settings, *([until] if until else [])]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(folder.resolve() / "src")  # of that commit, whatever is edited here meanwhile
    subprocess.run(command, cwd=folder, check=True, env=environment)  # noqa: S603
    if until:
        return

    metrics = {stage: read_json(folder / METRICS / f"{stage}.json") for stage in ("filter", *SECTIONS.values())}
    found = {section: metrics[stage] for section, stage in SECTIONS.items()}
    found["dae"] |= {key: metrics["filter"][key] for key in ("threshold_start", "threshold")}
    found["filter"] |= {key: metrics["filter"][key] for key in ("kept", "discarded")}
    write_json(
        Path("results") / (name or preset) / "metrics.json",
        {
            "dataset": (folder / INFO).read_text().splitlines(),
            **found,
            "wall_seconds": {stage: read_json(folder / TIMINGS / f"{stage}.json")["seconds"] for stage in STAGES},
            "command": shlex.join(["python", "benchmarks/pipeline.py", *sys.argv[1:]]).replace(str(archives), "FOLDER"),
            "commit": commit,
        },
    )


if __name__ == "__main__":
    main()
