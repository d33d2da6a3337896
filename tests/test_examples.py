"""The examples of the docstrings run, each from the names that the package's own example defines."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import robust_distillation as rd

PROMPT = ">>> "
PACKAGE = Path(rd.__file__)
MODULES = sorted(path for path in PACKAGE.parent.rglob("*.py") if path != PACKAGE and PROMPT in path.read_text())
WITHOUT = {"InputError", "UnreliableWarning", "reliability_flags"}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parents[1]).with_suffix("").parts)


def run(example: doctest.DocTest) -> None:
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=report.append, clear_globs=False)
    assert not report, "".join(report)


@pytest.fixture(scope="module")
def names() -> dict[str, object]:
    """What the package's own example defines; it runs here."""
    example = doctest.DocTestParser().get_doctest(rd.__doc__, {}, rd.__name__, rd.__file__, 0)
    run(example)
    return example.globs


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_examples_run(path: Path, names: dict[str, object]) -> None:
    examples = doctest.DocTestFinder(exclude_empty=True).find(import_module(module_name(path)), globs=names)
    assert sum(len(example.examples) for example in examples) == path.read_text().count(PROMPT)
    for example in examples:
        run(example)


def test_no_example_is_skipped() -> None:
    assert not [path for path in (PACKAGE, *MODULES) if "doctest:" in path.read_text()]


def test_what_the_package_offers_has_an_example() -> None:
    offered = {name: getattr(rd, name) for name in rd.__all__}
    silent = {name for name, what in offered.items() if callable(what) and PROMPT not in (what.__doc__ or "")}
    assert silent <= WITHOUT
