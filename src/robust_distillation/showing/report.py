"""One self-contained page about a run: verdict, figures, an explorer of test images, lineage."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from robust_distillation.arrays import Array

COLUMNS = 25  # of the sheet on which the explorer's images lie
TEMPLATE = "report.html.j2"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A test image in the explorer.

    Attributes:
        id: of the image.
        label: the true class.
        answer: the student's.
        confidence: of that answer.
        undefended: the undefended model's answer.
        refused: the part of the defence that refuses the image as it is; empty if none does.
        scores: by part, score and threshold.
        fell: by who is attacked and epsilon, what broke the image; empty where it stands.
    """

    id: str
    label: int
    answer: int
    confidence: float
    undefended: int
    refused: str
    scores: Mapping[str, tuple[float, float]]
    fell: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page says.

    Attributes:
        title: of the run.
        refusals: why the gate would not let the student pass; none if it would.
        gate: the least value of each metric, by name, beside what was measured.
        metrics: of each stage, as it wrote them.
        flags: meanings of those that are raised.
        validation: the verdict of the data checks.
        figures: by name, PNG files.
        names: of the classes.
        seen: images of the explorer.
        features: of these, uint8 (N, H, W, C).
        lineage: what went in, by name.
        hashes: of inputs, by path.
        params: as they were written.
    """

    title: str
    refusals: Sequence[str]
    gate: Mapping[str, tuple[float, float | None]]
    metrics: Mapping[str, Any]
    flags: Sequence[str]
    validation: Mapping[str, Any]
    figures: Mapping[str, bytes]
    names: Sequence[str]
    seen: Sequence[Seen]
    features: Array
    lineage: Mapping[str, str]
    hashes: Mapping[str, str]
    params: str


def render(page: Page) -> str:
    """Return the page as HTML that asks no network for anything."""
    here = files(__package__)
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["share"] = lambda value: "none" if value is None else f"{100 * value:.1f} %"
    side = page.features.shape[1]
    return environment.get_template(TEMPLATE).render(
        page=page,
        figure={name: _data_uri(content) for name, content in page.figures.items()},
        style=(here / "report.css").read_text(),
        script=(here / "report.js").read_text(),
        sheet=_data_uri(_sheet(page.features)),
        explorer={
            "names": list(page.names),
            "columns": COLUMNS,
            "side": side,
            "images": [asdict(one) for one in page.seen],
        },
        victims=_victims(page.metrics["robustness"]),
    )


def _victims(robustness: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return those of whom a worst case was measured."""
    return {
        name: values for name, values in robustness.items() if isinstance(values, Mapping) and "worst_case" in values
    }


def _sheet(features: Array) -> bytes:
    """Return images (N, H, W, C) side by side, `COLUMNS` in a row, as a PNG file."""
    count, height, width, channels = features.shape
    rows = -(-count // COLUMNS)
    sheet = np.zeros((rows * COLUMNS, height, width, channels), np.uint8)
    sheet[:count] = features
    lines = sheet.reshape(rows, COLUMNS, height, width, channels).transpose(0, 2, 1, 3, 4)
    whole = lines.reshape(rows * height, COLUMNS * width, channels)
    file = io.BytesIO()
    Image.fromarray(whole[..., 0] if channels == 1 else whole).save(file, "PNG", optimize=True)
    return file.getvalue()


def _data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
