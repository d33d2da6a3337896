"""The examples of the documentation against what they name; that the pages build is checked by `bootstrap.py test`."""

import ast
import re
import shlex
from functools import reduce
from importlib import import_module
from operator import getitem
from pathlib import Path

import pytest
import yaml

from robust_distillation.cli import main
from robust_distillation.params import load_params
from robust_distillation.stages import STAGES
from robust_distillation.tracking.runs import flatten

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def test_there_are_examples():
    assert sum(len(blocks(page, "python")) for page in PAGES) >= 6
    assert sum(len(blocks(page, "bash")) for page in PAGES) >= 20


@pages
def test_what_examples_import_is_there(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)


@pages
def test_params_presets_commands_and_scripts_of_examples_are_there(page):
    text = "\n".join(blocks(page, "bash"))
    params = flatten(yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert set(re.findall(r"-S '?([\w.]+)=", text)) <= set(params)
    assert set(re.findall(r"robust-distillation (?!stage)([\w-]+)", text)) <= set(main.commands)
    assert set(re.findall(r"robust-distillation stage (\w+)", text)) <= set(STAGES)
    assert all((ROOT / f"presets/{name}.yaml").exists() for name in re.findall(r"distillation preset ([\w-]+)", text))
    assert all((ROOT / path).exists() for path in re.findall(r"python3? (\S+\.py)", text))


@pages
def test_params_of_examples_go_together(page, tmp_path):
    for command in re.findall(r"^ *dvc exp run (-S .*)$", page.read_text(), re.MULTILINE):
        values = yaml.safe_load((ROOT / "params.yaml").read_text())
        changes = [word.partition("=") for word in shlex.split(command, comments=True) if "=" in word]
        if any("FOLDER" in value or "mine:" in value for *_, value in changes):
            continue
        for key, _, value in changes:
            *sections, name = key.split(".")
            reduce(getitem, sections, values)[name] = yaml.safe_load(value)
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
        load_params(tmp_path / "params.yaml")


@pages
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_table_of_stages_is_that_of_the_command_line():
    assert tuple(re.findall(r"^\| `(\w+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)) == tuple(STAGES)
