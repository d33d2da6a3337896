"""`robust-distillation dataset`: make data sets by hand, outside the pipeline."""

from pathlib import Path

import click

ALL = "all"


def parse_count(_ctx: click.Context, _param: click.Parameter, text: str) -> int | str:
    """A whole number from 1, or the word all."""
    if text == ALL:
        return ALL
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"must be a whole number from 1, or all. Received: {text!r}")
    return int(text)


def parse_classes(ctx: click.Context, param: click.Parameter, text: str) -> int | str | list[int]:
    """A count or the word all; with a comma, a list of ids."""
    if "," not in text:
        return parse_count(ctx, param, text)
    ids = text.rstrip(",").split(",")
    if not all(item.isdecimal() for item in ids):
        raise click.BadParameter(f"must be a count, ids such as 1,2,14, or all. Received: {text!r}")
    return [int(item) for item in ids]


def parse_workers(_ctx: click.Context, _param: click.Parameter, count: int) -> int:
    """A number of processes, or -1."""
    if count < 1 and count != -1:
        raise click.BadParameter(f"must be at least 1, or -1 for one per core. Received: {count}")
    return count


@click.command(context_settings={"show_default": True})
@click.argument("archives", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option("--classes", "n_classes", callback=parse_classes, default="5", help="First n ids, ids (1,2,14), or all.")
@click.option("--train-samples", "n_train_samples", callback=parse_count, default="800", help="Total, or all.")
@click.option("--validate-samples", "n_validate_samples", type=click.IntRange(min=1), default=100, help="Total.")
@click.option("--test-samples", "n_test_samples", callback=parse_count, default="100", help="Total, or all.")
@click.option("--trusted-samples", "n_trusted_samples", type=click.IntRange(min=0), default=200, help="Total.")
@click.option("--image-size", type=click.IntRange(8, 512), default=28, help="Side in pixels.")
@click.option("--colour", type=click.Choice(["rgb", "grey"]), default="rgb")
@click.option("--crop/--no-crop", "crop_to_roi", default=True, help="Cut out the box of the sign.")
@click.option("--seed", type=click.IntRange(min=0), default=0)
@click.option(
    "--workers", "n_workers", type=int, callback=parse_workers, default=-1, help="Processes; -1 for one per core."
)
def dataset(archives: Path, output: Path, **settings: object) -> None:
    """Make train.p, validate.p, test.p, trusted.p, classes.json and info.txt in OUTPUT.

    ARCHIVES holds the three official zips, or train.p, valid.p (or validate.p) and test.p.
    """
    from robust_distillation.dataset.generator import DatasetGenerator

    splits = DatasetGenerator(**settings).generate(archives)  # type: ignore[arg-type]
    splits.save(output)
    click.echo(splits.info, nl=False)
