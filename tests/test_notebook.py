"""The notebook runs from its first cell to its last, and comes to what its text says."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "notebooks/defensive_distillation.ipynb"
LARGEST = 500_000  # bytes, outputs included


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    return NotebookClient(notebook, timeout=900, resources=where).execute()


def printed(notebook) -> str:
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    return "".join(output["text"] for output in outputs if output.output_type == "stream" and output.name == "stdout")


def standing(text: str) -> dict[str, list[float]]:
    """By name, accuracy without an attack and what stands at the two radii."""
    rows = re.findall(r"^(.+?) +clean ([0-9.]+), stands at 4, 8/255: ([0-9. ]+)$", text, re.MULTILINE)
    return {name: [float(clean), *map(float, shares.split())] for name, clean, shares in rows}


def test_it_comes_to_what_it_says(executed):
    found = standing(printed(executed))
    assert len(found) == 4
    naive, adapted = found["distilled, attacked naively"], found["distilled, attacked at its temperature"]
    assert adapted[2] < naive[2] - 0.1
    assert found["student trained against attacks"][2] > max(adapted[2], found["undefended"][2])


def test_its_outputs_are_kept_small_and_those_of_a_run_without_error():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert NOTEBOOK.stat().st_size < LARGEST
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert len(standing(printed(notebook))) == 4
