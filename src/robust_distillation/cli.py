"""What a person types. Nothing heavy is imported until a command needs it."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import click

from robust_distillation.dataset.cli import dataset
from robust_distillation.dataset.sources import SOURCES
from robust_distillation.errors import InputError
from robust_distillation.showing.cli import demo, explain
from robust_distillation.stages import STAGES
from robust_distillation.tracking.cli import history, promote, register_pretrained, rollback


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
    """Refuse a params.yaml that cannot work, before `dvc repro` removes what the stages made, and list their code."""
    from robust_distillation.files import write_json
    from robust_distillation.params import load_params
    from robust_distillation.paths import CHECKED, PARAMS
    from robust_distillation.stages.code import write_code

    try:
        params = load_params()
        SOURCES[params.data.source].check(params.data)
        if params.draw.tracks_per_class and not SOURCES[params.data.source].signs:
            raise InputError(
                f"params.yaml: draw.tracks_per_class: source {params.data.source} holds no traffic signs; set it to 0"
            )
        write_code(params)
    except InputError as error:
        raise InputError(
            f"{error}; nothing has run: correct it, or go back with `git checkout . && dvc checkout`"
        ) from None
    # The same whatever the values are, so that the stages run again for what they read alone.
    write_json(CHECKED, {str(PARAMS): "accepted"})


def parse_stage(_ctx: click.Context, _param: click.Parameter, name: str) -> str:
    """A name of `STAGES`, or package.module:Name."""
    try:
        return STAGES.check(name)
    except ValueError as error:
        raise click.BadParameter(f"{error}. Received: {name}") from None


@main.command()
@click.argument("name", callback=parse_stage)
@click.pass_context
def stage(ctx: click.Context, name: str) -> None:
    """Run one stage in place, as `dvc repro` does; package.module:Name of your own is Name in dvc.yaml."""
    from robust_distillation.files import write_json
    from robust_distillation.params import load_params
    from robust_distillation.paths import TIMINGS
    from robust_distillation.quiet import stderr_held_back
    from robust_distillation.tracking.runs import stage_run

    start = time.monotonic()
    params = load_params()
    with stderr_held_back():
        run = STAGES[name]
    entry = name.rpartition(":")[2]  # in dvc.yaml, which takes no colon
    with stage_run(entry, params):
        run(params)
    write_json(TIMINGS / f"{entry}.json", {"seconds": round(time.monotonic() - start, 1)})
    if name == list(STAGES)[-1]:
        ctx.invoke(results)


@main.command()
def results() -> None:
    """Print what the last run here gave, and where to look further."""
    from rich.console import Console

    from robust_distillation.overview import overview
    from robust_distillation.params import load_params

    Console().print(overview(load_params()))


@main.command()
def compare() -> None:
    """Print how the defences compare in the last run here; `dvc repro compare` measures it."""
    from rich.console import Console

    from robust_distillation.auditing.table import SMOOTHING, comparison
    from robust_distillation.files import read_json
    from robust_distillation.paths import COSTS, METRICS

    rows, costs, certified = (read_json(path) for path in (METRICS / "compare.json", COSTS, METRICS / "certify.json"))
    Console().print(comparison(rows, costs, {SMOOTHING: certified["certified"]}), "reports/figures/comparison.png")


@main.command()
@click.argument("name")
def preset(name: str) -> None:
    """Print a preset of presets/ as flags: `dvc exp run $(robust-distillation preset gtsrb-full)`."""
    click.echo(" ".join(f"-S {change}" for change in changes("presets", name)))


@main.command()
@click.argument("name")
def study(name: str) -> None:
    """Queue an experiment for every combination of the values that a study of studies/ lists."""
    command = ["dvc", "exp", "run", "--queue"]
    for change in changes("studies", name):
        command += ["-S", change]
    if subprocess.run(command, check=False).returncode:  # noqa: S603
        raise InputError(f"studies/{name}.yaml: DVC did not queue it, see above")
    click.echo("run them with `dvc queue start`; compare them with `dvc exp show`, or their runs in the MLflow UI")


def changes(folder: str, name: str) -> list[str]:
    """Return the params of a YAML file as DVC takes them, key=value.

    Raises:
        InputError: there is no such file.
    """
    import yaml

    from robust_distillation.tracking.runs import flatten

    path = Path(folder) / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise InputError(f"{path}: not found; run from the repository root and choose one of: {known}")
    return [f"{key}={_unspaced(value)}" for key, value in flatten(yaml.safe_load(path.read_text())).items()]


def _unspaced(value: object) -> str:
    """Write a value without a space, at which a shell would part it."""
    return f"[{','.join(map(_unspaced, value))}]" if isinstance(value, list) else str(value)


for command in (dataset, explain, demo, promote, rollback, history, register_pretrained):
    main.add_command(command)


if __name__ == "__main__":
    main()
