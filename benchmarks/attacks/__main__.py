"""The command line of the benchmark of attacks."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
import pandas as pd
from tqdm import tqdm

from .cases import CASES, EVERY_MODEL, SETTINGS
from .measuring import compare, scale
from .results import RESULTS, Results
from .standard import compare_ensembles, forget


@click.group()
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
@click.pass_context
def main(context: click.Context, results: Path) -> None:
    """Compare the attacks with those of other libraries."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    context.obj = Results(results)


@main.command()
@click.option("--only", multiple=True, type=click.Choice(list(CASES)), help="Attacks; by default all.")
@click.option("--model", "models", multiple=True, help="By default those of each attack.")
@click.option(
    "--setting", "settings", multiple=True, type=click.Choice(list(SETTINGS)), help="Of those of each attack."
)
@click.option("--images", type=int, help="At most.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--again", multiple=True, type=click.Choice(list(CASES)), help="Attacks to measure again.")
@click.pass_obj
def speed(
    results: Results,
    only: tuple[str, ...],
    models: tuple[str, ...],
    settings: tuple[str, ...],
    images: int | None,
    repeats: int,
    again: tuple[str, ...],
) -> None:
    """Compare attack by attack."""
    for attack in only or CASES:
        case = CASES[attack]
        count = min(images or case.images, case.images)
        for model in models or case.models:
            key = {"attack": attack, "model": model, "images": count, "epsilon": case.epsilon, "steps": case.steps}
            chosen = [name for name in case.settings if name in (settings or SETTINGS)]
            chosen = [name for name in chosen if attack in again or results.missing(**key, setting=name)]
            if chosen:
                rows = compare(attack, model, count, chosen, repeats)
                results.add("rows", rows)
                for row in rows:
                    click.echo("{attack} {model} {setting}: {ours_images_per_s}/s, {ratio} x {peer}".format(**row))


@main.command()
@click.option("--model", default="robust-resnet", show_default=True)
@click.option("--setting", "settings", multiple=True, type=click.Choice(list(SETTINGS)), default=["float32"])
@click.option("--images", default=200, show_default=True)
@click.option("--again", multiple=True, help="Sides to run again: float32, art-compiled, autoattack, ...")
@click.pass_obj
def standard(results: Results, model: str, settings: tuple[str, ...], images: int, again: tuple[str, ...]) -> None:
    """Compare the standard ensemble with ART's AutoAttack and with the original, shard by shard."""
    forget(again)
    rows = compare_ensembles(model, images, settings)
    results.add("rows", rows)
    for row in rows:
        click.echo("standard {model} {setting}: {ours_robust_accuracy}, {ratio} x {peer}".format(**row))


@main.command()
@click.option("--images", multiple=True, type=int, default=[1000, 4000, 12000], show_default=True)
@click.option("--model", default="cnn", show_default=True)
@click.option("--again", is_flag=True)
@click.pass_obj
def scaling(results: Results, images: tuple[int, ...], model: str, again: bool) -> None:
    """Measure time and peak memory of PGD, each number of images in a process of its own."""
    for count in tqdm(images, desc="scaling"):
        if again or results.missing(attack="pgd_scaling", model=model, images=count):
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                results.add("scaling", [pool.submit(scale, model, count).result()])


@main.command()
@click.pass_obj
def table(results: Results) -> None:
    """Print the results as Markdown: of each attack and model, float32 and our fastest setting."""
    key = ["attack", "model", "setting"]
    order = [*CASES, "standard", *EVERY_MODEL, *SETTINGS].index
    rows = pd.DataFrame(results.content["rows"]).sort_values(key, key=lambda names: names.map(order), kind="stable")
    own = rows.groupby(key, sort=False).agg(
        images_per_s=("ours_images_per_s", "first"),
        of_limit=("limit_share", "first"),
        stands=("ours_robust_accuracy", "first"),
        peers_from=("peer_robust_accuracy", "min"),
        peers_to=("peer_robust_accuracy", "max"),
    )
    fastest = own.groupby(["attack", "model"], sort=False)["images_per_s"].transform("max") == own["images_per_s"]
    shown = own[fastest | (own.index.get_level_values("setting") == "float32")]
    ratios = rows.pivot_table(index=key, columns="peer", values="ratio", sort=False).add_prefix("x ")
    whole = shown.join(ratios).reset_index().astype(object)
    click.echo(whole.where(whole.notna(), None).to_markdown(index=False, missingval="", floatfmt=".4g"))


if __name__ == "__main__":
    main()
