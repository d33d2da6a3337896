"""What a person types. Nothing heavy is imported until a command needs it."""

import logging
import os
import sys
import time
from importlib import import_module
from pathlib import Path

import click

from robust_distillation.dataset.cli import dataset
from robust_distillation.errors import InputError
from robust_distillation.tracking.cli import history, promote, rollback

STAGES = (
    "fetch",
    "dataset",
    "validate",
    "surrogate",
    "poison",
    "tune",
    "autoencoder",
    "filter",
    "filter_audit",
    "teacher",
    "student",
    "robustness",
    "register",
)


class OneLineErrors(click.Group):
    """A group that prints what went wrong in one line; `--debug` shows the traceback."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; turn what a user can mend into one line on standard error and exit status 1."""
        try:
            return super().invoke(ctx)
        except (InputError, OSError, MemoryError) as error:
            if ctx.params["debug"]:
                raise
            message = " ".join(str(error).split()) or type(error).__name__
            click.echo(f"error: {message}", err=True)
            sys.exit(1)


@click.group(cls=OneLineErrors)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="robust-distillation")
def main(debug: bool) -> None:
    """Denoising-autoencoder-based defensive distillation: poison, filter, distil, attack, register, promote."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@main.command()
def check() -> None:
    """Refuse a params.yaml that cannot work, before `dvc repro` removes what the stages made."""
    from robust_distillation.files import write_json
    from robust_distillation.params import load_params
    from robust_distillation.paths import CHECKED, PARAMS
    from robust_distillation.stages.fetch import find_archives

    try:
        find_archives(load_params())
    except InputError as error:
        raise InputError(
            f"{error}; nothing has run: correct it, or go back with `git checkout . && dvc checkout`"
        ) from None
    # The same whatever the values are, so that the stages run again for what they read alone.
    write_json(CHECKED, {str(PARAMS): "accepted"})


@main.command()
@click.argument("name", type=click.Choice(STAGES))
@click.pass_context
def stage(ctx: click.Context, name: str) -> None:
    """Run one stage of the pipeline in place, as `dvc repro` does."""
    from robust_distillation.files import write_json
    from robust_distillation.params import load_params
    from robust_distillation.paths import TIMINGS
    from robust_distillation.quiet import stderr_held_back
    from robust_distillation.tracking.runs import stage_run

    start = time.monotonic()
    params = load_params()
    with stderr_held_back():
        module = import_module(f"robust_distillation.stages.{name}")
    with stage_run(name, params):
        module.main(params)
    write_json(TIMINGS / f"{name}.json", {"seconds": round(time.monotonic() - start, 1)})
    if name == STAGES[-1]:
        ctx.invoke(results)


@main.command()
def results() -> None:
    """Print what the last run here gave, and where to look further."""
    from rich.console import Console

    from robust_distillation.overview import overview
    from robust_distillation.params import load_params

    Console().print(overview(load_params()))


@main.command()
@click.argument("name")
def preset(name: str) -> None:
    """Print a preset of presets/ as flags: `dvc exp run $(robust-distillation preset gtsrb-full)`."""
    import yaml

    from robust_distillation.tracking.runs import flatten

    path = Path("presets") / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise InputError(f"{path}: not found; run from the repository root and choose one of: {known}")
    changes = flatten(yaml.safe_load(path.read_text()))
    click.echo(" ".join(f"-S {key}={value}" for key, value in changes.items()))


for command in (dataset, promote, rollback, history):
    main.add_command(command)


if __name__ == "__main__":
    main()
