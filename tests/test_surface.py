import ast
import os
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest

import robust_distillation as rd

HEAVY = ("keras", "tensorflow", "mlflow", "pandas", "numpy", "great_expectations", "matplotlib", "sklearn", "torch")


def told_to_type_checkers() -> dict[str, str]:
    """Names and their modules, as imported for editors and mypy alone."""
    tree = ast.parse(Path(rd.__file__).read_text())
    blocks = [node.body for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {
        str(alias.asname): f"{node.module}:{alias.name}"
        for block in blocks
        for node in block
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("name", rd.__all__)
def test_each_name_is_defined_where_the_table_says(name: str) -> None:
    module = import_module(f"robust_distillation.{rd._MODULES[name]}")
    assert getattr(rd, name) is vars(module)[name]
    if isinstance(vars(module)[name], type | FunctionType):
        assert vars(module)[name].__module__ == module.__name__


def test_table_type_checkers_and_all_agree() -> None:
    told = {name: f"robust_distillation.{module}:{name}" for name, module in rd._MODULES.items()}
    assert told_to_type_checkers() == told
    assert rd.__all__ == list(rd._MODULES)
    assert set(dir(rd)) >= set(rd.__all__)


def test_no_name_is_that_of_a_module() -> None:
    """Import a module of the package, and it takes the place of a name that is the same."""
    assert not {module.name for module in pkgutil.iter_modules(rd.__path__)} & set(rd.__all__)


def test_plain_import_loads_nothing_heavy() -> None:
    code = "import sys, robust_distillation; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {module.partition(".")[0] for module in loaded} & set(HEAVY)
    assert [module for module in loaded if module.startswith("robust_distillation")] == ["robust_distillation"]


@pytest.mark.parametrize(("given", "left"), [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")])
def test_onednn_is_on_wherever_nobody_has_set_it(given: dict[str, str], left: str) -> None:
    code = "import os, robust_distillation; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    others = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=others | given)
    assert done.stdout.strip() == left


@pytest.mark.parametrize(
    ("misspelled", "hint"),
    [
        ("PDG", "did you mean 'PGD'?"),
        ("fgsm", "did you mean 'FGSM'?"),
        ("DatasetGenerater", "did you mean 'DatasetGenerator'?"),
        ("zzz", "dir(robust_distillation) names what it offers"),
    ],
)
def test_misspelled_name_is_an_error_with_a_hint(misspelled: str, hint: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(rd, misspelled)
    assert str(caught.value) == f"module 'robust_distillation' has no attribute '{misspelled}'; {hint}"


def test_wheel_says_that_it_is_typed() -> None:
    assert Path(rd.__file__).with_name("py.typed").is_file()
