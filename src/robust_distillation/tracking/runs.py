"""One MLflow run per pipeline stage, with the hashes of what went into it."""

import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from numbers import Real
from operator import itemgetter
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from robust_distillation.errors import InputError
from robust_distillation.params import Params
from robust_distillation.paths import CODE, DOWNLOADS, PIPELINE
from robust_distillation.tracking import store
from robust_distillation.tracking.interruption import close_abandoned, process_tags, refuse_twin, terminable

RAW_PATH = "${data.path}"  # the one template in dvc.yaml
GENERATED = ("dvc.lock", "reports")  # tracked by git, and written by the pipeline itself


@contextmanager
def stage_run(stage: str, params: Params) -> Iterator[None]:
    """Open the MLflow run of one pipeline stage; it is marked FAILED when the stage raises, KILLED when it is stopped.

    Logged are the parameters that the stage's entry in dvc.yaml lists, and as tags the git commit, whether the tree
    differs from it, the stage's seed, which process this is, and for each input `dvc_input.<path>`, the hash that DVC
    gives it. Runs that a killed process left open are closed first.

    Args:
        stage: name of the stage, as in dvc.yaml.
        params: all of params.yaml.

    Raises:
        InputError: dvc.yaml is missing or has no such stage, an input is missing, the stage runs in this folder
            already, or the MLflow server does not answer.
    """
    entry = _entry(stage, params)
    tags = {"stage": stage, **commit_tags(), **process_tags()}
    tags |= {f"dvc_input.{path}": digest(Path(path)) for path in entry["deps"]}
    seed = getattr(getattr(params, stage, None), "seed", None)
    if seed is not None:
        tags["seed"] = str(seed)
    with store.connected() as client:
        import mlflow

        # Set rather than passed on, so that runs nested in this one lie in the same experiment.
        experiment = store.experiment(client, params.register.name)
        mlflow.set_experiment(experiment_id=experiment)
        with terminable():
            with store.lock("runs"):
                close_abandoned(client, experiment)
                refuse_twin(client, experiment, stage)
                run = mlflow.start_run(run_name=stage, tags=tags)
            with run:
                try:
                    mlflow.log_params(_listed(parameters(params), entry.get("params", [])))
                    yield
                except (KeyboardInterrupt, SystemExit):
                    mlflow.end_run("KILLED")
                    raise


def input_digest(stage: str, params: Params) -> str:
    """Return one hash of all that a stage's entry in dvc.yaml reads: files, code and parameters.

    Raises:
        InputError: as for `stage_run`.
    """
    entry = _entry(stage, params)
    inputs = {path: digest(Path(path)) for path in entry["deps"]}
    listed = _listed(parameters(params), entry.get("params", []))
    return _md5(json.dumps([inputs, listed], sort_keys=True, default=str).encode()).hexdigest()


def outcome_digest(stage: str, params: Params) -> str:
    """Return one hash of what earlier stages left for a stage: data, models and metrics, whatever the code.

    Raises:
        InputError: as for `stage_run`.
    """
    outcomes = {path: digest(Path(path)) for path in _entry(stage, params)["deps"] if Path(path).parent != CODE}
    return _md5(json.dumps(outcomes, sort_keys=True).encode()).hexdigest()


def parameters(params: Params) -> dict[str, Any]:
    """Return every parameter under its dotted name, such as `poison.fraction`."""
    return flatten(TypeAdapter(Params).dump_python(params))


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested dicts into one, with dotted names: {"poison": {"fraction": 0.2}} into {"poison.fraction": 0.2}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def numbers(values: dict[str, Any]) -> dict[str, float]:
    """Return every number of nested dicts under its dotted name, with what MLflow refuses in a name replaced by `_`."""
    flat = {name: value for name, value in flatten(values).items() if isinstance(value, Real)}
    return {re.sub(r"[^\w./: -]", "_", name): float(value) for name, value in flat.items()}


def commit_tags() -> dict[str, str]:
    """Return `git_commit` and `git_dirty` (what the pipeline itself writes aside), and DVC's experiment name if any."""
    tags = {}
    commit = git("rev-parse", "HEAD")
    if commit:
        changes = git("status", "--porcelain", "--", ".", *(f":(exclude){path}" for path in GENERATED))
        tags = {"git_commit": commit, "git_dirty": str(bool(changes)).lower()}
    if "DVC_EXP_NAME" in os.environ:
        tags["dvc_experiment"] = os.environ["DVC_EXP_NAME"]
    return tags


def lineage() -> dict[str, str]:
    """Return in words what made the files here: commit, experiment, Python and the packages that matter, the store."""
    tags = commit_tags()
    dirty = " and changes that are not committed" if tags.get("git_dirty") == "true" else ""
    found = {"commit": tags["git_commit"] + dirty} if "git_commit" in tags else {}
    if "dvc_experiment" in tags:
        found["DVC experiment"] = tags["dvc_experiment"]
    packages = ("robust-distillation", "tensorflow", "keras", "alibi-detect", "mlflow", "dvc")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return found | {"made with": f"Python {platform.python_version()}, {versions}"}


def digest(path: Path) -> str:
    """Return the hash that DVC gives a file (MD5) or a folder (MD5 of the listing of its files, then `.dir`).

    Raises:
        InputError: there is nothing at `path`.
    """
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, _md5).hexdigest()
    if not path.is_dir():
        raise InputError(f"{path}: not found; run `dvc repro` to make it")
    files = (file for file in path.rglob("*") if file.is_file() and not _is_ignored(file))
    listing = sorted(
        ({"md5": digest(file), "relpath": file.relative_to(path).as_posix()} for file in files),
        key=itemgetter("relpath"),
    )
    return _md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def _is_ignored(file: Path) -> bool:
    """Tell whether .dvcignore names a file."""
    return "__pycache__" in file.parts or file.parent == DOWNLOADS


def _md5(data: bytes = b"") -> "hashlib._Hash":
    return hashlib.md5(data, usedforsecurity=False)


def _entry(stage: str, params: Params) -> dict[str, Any]:
    try:
        entry = yaml.safe_load(PIPELINE.read_text())["stages"][stage]
    except FileNotFoundError:
        raise InputError(f"{PIPELINE}: not found; run from the repository root") from None
    except KeyError:
        raise InputError(f"{PIPELINE}: stages.{stage}: missing; add the stage") from None
    deps = [path.replace(RAW_PATH, str(params.data.path)) for path in entry.get("deps", [])]
    return {**entry, "deps": deps}


def _listed(values: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return {
        key: value for key, value in values.items() if any(key == name or key.startswith(f"{name}.") for name in names)
    }


def git(*arguments: str) -> str | None:
    """Return what git prints, or None where there is no git or no repository."""
    try:
        # Without the optional locks, experiments that run side by side do not meet on git's index.
        answer = subprocess.run(["git", "--no-optional-locks", *arguments], capture_output=True, text=True)  # noqa: S603, S607
    except FileNotFoundError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
