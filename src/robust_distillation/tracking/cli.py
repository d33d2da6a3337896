"""The commands that move versions of the registered model."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from robust_distillation.tracking.promotion import Move

WIDTH = 120


@click.command()
@click.option("--version", type=click.IntRange(min=1), help="Which version; that of the last run here if not given.")
@click.option("--force", is_flag=True, help="Promote although the gate refuses; needs a reason.")
@click.option("--reason", default="", help="Why; the trail keeps it.")
def promote(version: int | None, force: bool, reason: str) -> None:
    """Move a version to staging if it passes the gate in params.yaml."""
    from robust_distillation.params import load_params
    from robust_distillation.tracking import promotion

    params = load_params()
    name = params.register.name
    if version is None:
        from robust_distillation.tracking.registry import version_here

        version, registered = version_here(params)
        if registered:
            click.echo(f"{name} version {version} is registered from what lies here; this MLflow store had none of it")
    move = promotion.promote(params, version, force=force, reason=reason)
    if move is None:
        click.echo(f"{name}: that version is in staging already; see `robust-distillation history`")
    else:
        click.echo(_describe(name, move))


@click.command()
@click.option("--force", is_flag=True, help="Roll back although the gate refuses; needs a reason.")
@click.option("--reason", default="", help="Why; the trail keeps it.")
def rollback(force: bool, reason: str) -> None:
    """Move the version that was in staging before back there, if it passes the gate in params.yaml."""
    from robust_distillation.params import load_params
    from robust_distillation.tracking import promotion

    params = load_params()
    move = promotion.rollback(params, force=force, reason=reason)
    click.echo(_describe(params.register.name, move))


@click.command()
def history() -> None:
    """Print who moved which version when, from which, with which metrics, and why."""
    from rich.console import Console
    from rich.table import Table

    from robust_distillation.params import load_params
    from robust_distillation.tracking import promotion

    moves = promotion.history(load_params())
    if not moves:
        click.echo("no version was promoted yet")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header in ("when", "action", "from", "to"):
        table.add_column(header, no_wrap=True)
    table.add_column("who", max_width=16)
    for header in ("commit", "forced", "gate"):
        table.add_column(header, no_wrap=True)
    table.add_column("reason")
    for move in moves:
        when, forced = move.when[:16].replace("T", " "), "yes" if move.forced else ""
        table.add_row(
            *(when, move.action, move.from_version, move.to_version, move.who, move.commit[:8], forced),
            *("\n".join(_judged(move)), move.reason),
        )
    Console(width=WIDTH, markup=False, emoji=False, highlight=False).print(table)


@click.command("register-pretrained")
@click.argument("name", default="gtsrb-student")
def register_pretrained(name: str) -> None:
    """Put a pretrained defence into the registry, ready to be served: NAME, by default gtsrb-student."""
    from robust_distillation.tracking import registry

    version, is_new = registry.register_pretrained(name)
    click.echo(f"{name} version {version} {'is registered' if is_new else 'was registered before'}")
    click.echo(
        f"serve it: MLFLOW_TRACKING_URI=sqlite:///mlruns/mlflow.db mlflow models serve -m models:/{name}/{version} "
        "--env-manager local --port 5001"
    )


def _describe(name: str, move: "Move") -> str:
    former = f"instead of version {move.from_version}" if move.from_version else "the first"
    return f"{name} version {move.to_version} is in staging, {former}: models:/{name}@staging"


def _judged(move: "Move") -> list[str]:
    """Return what the gate saw: each metric and the least that passes, and the flags that are raised."""
    from robust_distillation.tracking.promotion import FLAGS

    lines = []
    for name, value in move.metrics.items():
        if name.startswith(FLAGS):
            lines += [f"flag {name.removeprefix(FLAGS)}"] if value else []
        else:
            least = move.gate.get(name)
            bound = "" if least is None else f" {'>=' if value >= least else '<'} {least:g}"
            lines.append(f"{name.removeprefix('robustness.defence.')} {value:.4g}{bound}")
    return lines
