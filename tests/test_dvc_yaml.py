"""dvc.yaml against the source: a stage reruns when, and only when, something that it reads has changed."""

import ast
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import get_hydra_sweeps

from robust_distillation.params import Params, load_params
from robust_distillation.paths import CHECKED, CODE, LOCK
from robust_distillation.stages import STAGES
from robust_distillation.tracking.runs import flatten

ROOT = Path(__file__).parents[1]
SOURCE = Path("src")
PACKAGE = SOURCE / "robust_distillation"
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
TRACKING = PACKAGE / "tracking"
CHECK = "check"
HANDED = ("register", "promotion")  # sections that tracking alone reads
ARCHIVES = "${data.path}/"  # whatever folder the params name
Chain = tuple[str, ...]


def stage_file(name: str) -> Path:
    return PACKAGE / "stages" / f"{name}.py"


def paths(entries: list) -> list[str]:
    """The paths of a list in dvc.yaml, whose items are a path or a path with settings."""
    return [path for entry in entries for path in ([entry] if isinstance(entry, str) else entry)]


def listed(stage: str, key: str) -> list[str]:
    return paths(PIPELINE["stages"][stage].get(key, []))


OUTS = {out: stage for stage in STAGES for out in listed(stage, "outs")}


def inside(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


@cache
def parse(file: Path) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


def locate(module: str) -> Path | None:
    """The file of a module of the package; None if there is no such module."""
    path = SOURCE.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if (ROOT / file).is_file()), None)


@cache
def imports(file: Path) -> dict[str, tuple[Path, str]]:
    """By local name, the file that it comes from and its name there, of all that is imported from the package."""
    found = {}
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith(f"{PACKAGE.name}.") for alias in node.names), (
                f"{file}: use from ... import"
            )
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGE.name):
            for alias in node.names:
                submodule = locate(f"{node.module}.{alias.name}")
                origin = submodule or locate(node.module)
                assert origin, f"{file}: imports {node.module}, which is not there"
                found[alias.asname or alias.name] = (origin, alias.name)
    return found


def function(file: Path, name: str) -> ast.FunctionDef | None:
    return next((node for node in parse(file).body if isinstance(node, ast.FunctionDef) and node.name == name), None)


class Reads(ast.NodeVisitor):
    """Collects which parameters a function reads, following them into the functions that they are handed to.

    What is handed to tracking is logged, and changes no result.
    """

    def __init__(self, file: Path, body: ast.FunctionDef, known: dict[str, Chain]) -> None:
        self.file, self.known, self.found = file, dict(known), set[Chain]()
        for statement in body.body:
            self.visit(statement)

    def chain(self, node: ast.AST) -> Chain | None:
        if isinstance(node, ast.Name):
            return self.known.get(node.id)
        if isinstance(node, ast.Attribute) and (owner := self.chain(node.value)) is not None:
            return (*owner, node.attr)
        return None

    def visit(self, node: ast.AST) -> None:
        if (chain := self.chain(node)) is not None:
            self.found.add(chain)
        else:
            super().visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        target, values = node.targets[0], [node.value]
        names = [target]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            names, values = target.elts, node.value.elts
        for name, value in zip(names, values, strict=True):
            if isinstance(name, ast.Name) and (chain := self.chain(value)) is not None:
                self.known[name.id] = chain
            else:
                self.visit(value)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        file, original = imports(self.file).get(name, (self.file, name))
        callee = function(file, original)
        if callee is None:
            self.generic_visit(node)
            return
        takes = [argument.arg for argument in callee.args.args]
        given = [*zip(takes, node.args, strict=False), *((item.arg or "", item.value) for item in node.keywords)]
        handed = {name: chain for name, value in given if (chain := self.chain(value)) is not None}
        for _, value in given:
            if self.chain(value) is None:
                self.visit(value)
        if handed and file.parent != TRACKING:
            self.found |= Reads(file, callee, handed).found


def params_read(stage: str) -> set[str]:
    file = stage_file(stage)
    main = function(file, "main")
    assert main, f"{file} has no main"
    return {".".join(chain) for chain in Reads(file, main, {"params": ()}).found}


def exists(name: str) -> bool:
    value = PARAMS
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


def covers(name: str, entry: str) -> bool:
    return name == entry or name.startswith(f"{entry}.")


def test_the_command_line_knows_the_stages_in_their_order():
    assert list(PIPELINE["stages"]) == [CHECK, *STAGES]
    assert all(PIPELINE["stages"][name]["cmd"] == f"robust-distillation stage {name}" for name in STAGES)


def test_the_params_are_checked_before_any_stage_and_kept_where_they_are_refused():
    entry = PIPELINE["stages"][CHECK]
    assert entry["cmd"] == "robust-distillation check"
    assert entry["params"] == [{"params.yaml": None}]
    assert entry["outs"] == [{str(path): {"persist": True}} for path in (CHECKED, CODE)]
    assert entry["deps"] == [str(PACKAGE), str(LOCK)]
    assert str(CHECKED) in listed("fetch", "deps")


def test_every_stage_comes_after_fetch():
    behind = {"fetch"}
    for stage in list(STAGES)[1:]:
        assert any(inside(dep, out) and OUTS[out] in behind for dep in listed(stage, "deps") for out in OUTS), stage
        behind.add(stage)


def test_data_flow_one_way():
    made = {ARCHIVES, *listed(CHECK, "outs")}
    for stage in STAGES:
        for dep in listed(stage, "deps"):
            assert any(inside(dep, out) for out in made), f"{stage} reads {dep}, which no earlier stage makes"
        made |= set(listed(stage, "outs"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_list_of_its_code(stage):
    assert f"{CODE}/{stage}.json" in listed(stage, "deps")
    assert not any(inside(dep, str(SOURCE)) for dep in listed(stage, "deps"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_the_params_that_it_reads(stage):
    entries = listed(stage, "params")
    unlisted = [name for name in params_read(stage) if not any(covers(name, entry) for entry in entries)]
    assert not unlisted


def test_reads_are_followed_into_functions():
    assert {"autoencoder.mode", "autoencoder.kinds", "autoencoder.noise", "autoencoder.seed"} <= params_read("tune")
    assert "autoencoder.epochs" not in params_read("tune")
    assert params_read("filter") >= {"filter", "autoencoder.seed"}  # a detector is handed the whole section
    assert "autoencoder.mode" not in params_read("filter")


@pytest.mark.parametrize("stage", STAGES)
def test_listed_params_exist_and_are_read(stage):
    read = params_read(stage)
    for entry in listed(stage, "params"):
        assert exists(entry), f"{stage} lists {entry}, which params.yaml lacks"
        assert any(covers(name, entry) or covers(entry, name) for name in read) or entry in HANDED, entry


def test_every_param_makes_some_stage_run():
    entries = [entry for stage in STAGES for entry in listed(stage, "params")]
    idle = {name for name in flatten(PARAMS) if not any(covers(name, entry) for entry in entries)}
    assert {name.split(".")[0] for name in idle} <= {"promotion"}


def test_only_the_audit_knows_the_truth():
    knowing = {stage for stage in STAGES for dep in listed(stage, "deps") if inside("data/truth/poison.p", dep)}
    assert knowing == {"filter_audit"}
    assert OUTS["data/truth/poison.p"] == "poison"
    naming = {file for file in (ROOT / PACKAGE).rglob("*.py") if "TRUTH" in file.read_text()}
    naming |= {file for file in (ROOT / PACKAGE).rglob("*.py") if "data/truth" in file.read_text()}
    assert {file.relative_to(ROOT / PACKAGE).as_posix() for file in naming} == {
        "paths.py",
        "stages/filter_audit.py",
        "stages/poison.py",
    }


def test_what_is_shown_is_made():
    shown = [entry["path"] for entry in PIPELINE["artifacts"].values()] + paths(PIPELINE["metrics"])
    for plot in PIPELINE["plots"]:
        titled = isinstance(plot, dict)
        shown += [path for entry in plot.values() for path in entry["y"]] if titled else [plot]
    missing = [path for path in shown if not any(inside(path, out) for out in OUTS)]
    assert not missing
    assert set(paths(PIPELINE["metrics"])) == {out for out in OUTS if inside(out, "reports/metrics")}


def with_preset(preset: Path, folder: Path) -> Params:
    return with_changes(flatten(yaml.safe_load(preset.read_text())), folder)


def with_changes(changes: dict[str, object], folder: Path) -> Params:
    merged = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, value in changes.items():
        assert exists(name), name
        *sections, key = name.split(".")
        section = merged
        for part in sections:
            section = section[part]
        section[key] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(merged))
    return load_params(folder / "params.yaml")


@pytest.mark.parametrize("preset", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_preset_applies_cleanly(preset, tmp_path):
    with_preset(preset, tmp_path)


@pytest.mark.parametrize("study", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_of_a_study_applies_cleanly(study, tmp_path):
    listed = [f"{key}={values}" for key, values in flatten(yaml.safe_load(study.read_text())).items()]
    experiments = [change["params.yaml"] for change in get_hydra_sweeps({"params.yaml": listed})]
    assert len(experiments) > 1
    for experiment in experiments:
        with_changes({key: yaml.safe_load(value) for key, value in (one.split("=", 1) for one in experiment)}, tmp_path)


def test_the_preset_of_the_paper_is_what_is_trained_beside_the_default(tmp_path):
    params = with_preset(ROOT / "presets/paper.yaml", tmp_path)
    for name in ("teacher", "student", "abstention"):
        published = getattr(params.published, name)
        assert replace(getattr(params, name), seed=published.seed) == published
    assert params.filter.reform == params.published.reform
    assert params.filter.detector == params.published.detector
    assert params.filter.inference_detector == "same"
