"""The commands that show what an attack does to one image."""

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from robust_distillation.errors import InputError

if TYPE_CHECKING:
    import keras

MODEL = "gtsrb-student"
LOOPBACK = "127.0.0.1"
LARGEST_UPLOAD = 20  # megabytes
EPSILONS = ("2/255", "4/255", "8/255")


def parse_epsilons(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> list[float]:
    """Fractions such as 8/255, or decimals, each above 0 and at most 1."""
    from pydantic import TypeAdapter, ValidationError

    from robust_distillation.settings import Epsilons

    try:
        return TypeAdapter(Epsilons).validate_python(list(texts))
    except ValidationError as error:
        raise click.BadParameter(f"{error.errors()[0]['msg']}. Received: {', '.join(texts)}") from None


def open_model(name: str) -> tuple["keras.Model", list[str]]:
    """Return a classifier and the names of its classes: of a pretrained defence, a saved one, or a Keras file.

    Raises:
        InputError: there is none of that name, or it cannot be read.
    """
    from robust_distillation.classifiers.storage import load_model
    from robust_distillation.defences.defence import Defence
    from robust_distillation.pretrained import pretrained_folder

    if Path(name).is_file():
        model = load_model(Path(name))
        return model, [str(number) for number in range(model.output_shape[-1])]
    defence = Defence.load(Path(name) if Path(name).is_dir() else pretrained_folder(name))
    return defence.classifier, defence.classes.names


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--model", "name", default=MODEL, show_default=True, help="Pretrained, a saved defence, or a Keras file.")
@click.option("--label", type=int, help="The true class; by default what the model answers.")
@click.option("--epsilon", "epsilons", multiple=True, default=EPSILONS, show_default=True, callback=parse_epsilons)
@click.option("--output", type=click.Path(path_type=Path), default="explanation.png", show_default=True)
def explain(image: Path, name: str, label: int | None, epsilons: list[float], output: Path) -> None:
    """Show in numbers and pictures what FGSM does to IMAGE, and why so small a change does so much."""
    import numpy as np
    from rich.console import Console

    from robust_distillation.dataset.fitting import fit_image
    from robust_distillation.files import replacing
    from robust_distillation.quiet import stderr_held_back

    with stderr_held_back():
        from robust_distillation.auditing.explanation import explain
    model, names = open_model(name)
    fitted = fit_image(image, model.input_shape[1:])
    pixels = fitted.features.astype(np.float32) / 255
    found = explain(model, pixels, label=label, names=names, epsilons=epsilons)
    with replacing(output) as temporary:
        found.figure().savefig(temporary, dpi=120, format="png", metadata={"Software": None})
    for note in fitted.notes:
        click.echo(f"{image}: {note}")
    Console().print(found.table())
    click.echo(output)


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True)
def demo(port: int) -> None:
    """Open a page on this machine to attack images of signs, with and without a defence. Ctrl-C ends it."""
    if _taken(port):
        raise InputError(f"port {port} is taken; choose another with --port")
    page = Path(__file__).with_name("page.py")
    settings = {
        "server.address": LOOPBACK,
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.maxUploadSize": LARGEST_UPLOAD,
        "browser.gatherUsageStats": "false",
        "browser.serverAddress": LOOPBACK,
        "client.toolbarMode": "minimal",
    }
    flags = [f"--{name}={value}" for name, value in settings.items()]
    # In this process's place, so that whoever ends it ends the page.
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", str(page), *flags])  # noqa: S606


def _taken(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((LOOPBACK, port))
        except OSError:
            return True
    return False
