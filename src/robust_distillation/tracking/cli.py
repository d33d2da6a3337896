"""The commands that move versions of the registered model."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from robust_distillation.tracking.promotion import Move


@click.command()
@click.option("--version", type=click.IntRange(min=1), help="Which version; that of the last run here if not given.")
@click.option("--force", is_flag=True, help="Promote although the gate refuses; needs a reason.")
@click.option("--reason", default="", help="Why; the trail keeps it.")
def promote(version: int | None, force: bool, reason: str) -> None:
    """Move a version to staging if it passes the gate in params.yaml."""
    from robust_distillation.files import read_json
    from robust_distillation.params import load_params
    from robust_distillation.paths import REGISTERED
    from robust_distillation.tracking import promotion

    params = load_params()
    if version is None and REGISTERED.exists():
        version = int(read_json(REGISTERED)["version"])
    move = promotion.promote(params, version, force=force, reason=reason)
    if move is None:
        click.echo(f"{params.register.name}: that version is in staging already; see `robust-distillation history`")
    else:
        click.echo(_describe(params.register.name, move))


@click.command()
@click.option("--reason", default="", help="Why; the trail keeps it.")
def rollback(reason: str) -> None:
    """Move the version that was in staging before back there."""
    from robust_distillation.params import load_params
    from robust_distillation.tracking import promotion

    params = load_params()
    move = promotion.rollback(params, reason=reason)
    click.echo(_describe(params.register.name, move))


@click.command()
def history() -> None:
    """Print who moved which version when, from which, with which metrics, and why."""
    import pandas as pd

    from robust_distillation.params import load_params
    from robust_distillation.tracking import promotion

    moves = promotion.history(load_params())
    rows = [{**vars(move), "commit": move.commit[:8], **move.metrics} for move in moves]
    table = pd.DataFrame(rows).drop(columns="metrics", errors="ignore")
    click.echo(table.to_string(index=False) if rows else "no version was promoted yet")


def _describe(name: str, move: "Move") -> str:
    former = f"instead of version {move.from_version}" if move.from_version else "the first"
    return f"{name} version {move.to_version} is in staging, {former}: models:/{name}@staging"
