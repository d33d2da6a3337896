"""A stage goes stale by the code that it runs, and by no other."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from robust_distillation.errors import InputError
from robust_distillation.params import load_params
from robust_distillation.paths import CODE, LOCK
from robust_distillation.stages import STAGES, code
from robust_distillation.stages.code import PACKAGE, RESULTLESS, ROOT, code_of, write_code

REPOSITORY = Path(__file__).parents[2]
PIPELINE = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
LOADED = """
import json, sys
from importlib import import_module

found = {}
for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] == "robust_distillation"]:
        del sys.modules[name]
    import_module(module)
    found[module] = [name for name in sys.modules if name.split(".")[0] == "robust_distillation"]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def params():
    return load_params(REPOSITORY / "params.yaml")


def listed(params, stage):
    """The modules of the package that a stage runs, their package's name aside."""
    names = [*PIPELINE[stage].get("params", []), *code.LOADED.get(stage, [])]
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in code_of(stage, params, names)
        if file.is_relative_to(ROOT)
    }


@pytest.fixture(scope="module")
def loaded():
    """By stage, the modules that Python loads when it imports the stage: another way to the same list."""
    modules = [place.partition(":")[0] for place in STAGES.entries.values()]
    command = [sys.executable, "-c", LOADED, *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {stage: found[module] for stage, module in zip(STAGES, modules, strict=True)}


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_loads_is_listed(params, loaded, stage):
    names = {name.removeprefix(PACKAGE).removeprefix(".") for name in loaded[stage]}
    packages = {name for name in names if not name or (ROOT / name.replace(".", "/")).is_dir()}
    settings = {name for name in names if name.endswith("settings")}
    assert names - packages - settings - RESULTLESS <= listed(params, stage)


@pytest.mark.parametrize("module", sorted(RESULTLESS))
def test_what_is_left_out_is_there(module):
    assert (ROOT / f"{module.replace('.', '/')}.py").is_file()


def test_an_edit_of_an_attack_audits_anew_and_trains_nothing_anew(params):
    stale = {stage for stage in STAGES if {"threats.evasion.apgd", "threats.evasion.fab"} & listed(params, stage)}
    assert stale == {"robustness", "compare"}


def test_detectors_are_followed_where_they_are_asked_for(params):
    own = {"defences.detectors.residual", "defences.detectors.label", "defences.detectors.twins"}
    assert own <= listed(params, "filter")
    assert not own & listed(replace(params, filter=replace(params.filter, detector="kl")), "filter")


def test_the_look_of_a_figure_makes_nothing_stale(params):
    assert not any("auditing.figures" in listed(params, stage) for stage in STAGES)


def test_the_entries_that_params_name_are_followed(params):
    assert "classifiers.architectures" in listed(params, "teacher")
    assert "dataset.synthetic.render" in listed(params, "fetch")
    assert "dataset.sources.udacity" not in listed(params, "fetch")
    pickled = replace(params, data=replace(params.data, source="udacity", path=Path("pickles")))
    assert "dataset.sources.udacity" in listed(pickled, "fetch")
    assert "dataset.synthetic.render" not in listed(pickled, "fetch")
    assert "threats.evasion.sign" in listed(params, "poison")
    assert all("defences.detectors.mse" in listed(params, stage) for stage in ("filter", "published", "robustness"))
    assert all("defences.detectors.combined" in listed(params, stage) for stage in ("filter", "student", "register"))
    named = replace(params, robustness=replace(params.robustness, attacks=["deepfool"]))
    assert "threats.evasion.deepfool" in listed(named, "robustness") - listed(params, "robustness")
    standard = replace(params, robustness=replace(params.robustness, attacks="standard"))
    assert {"threats.evasion.fab", "threats.evasion.deepfool"} <= listed(standard, "robustness")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with a module of the user's own that imports another, and a dvc.yaml that watches neither."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for cached in (code._file, code._imports):
        cached.cache_clear()
    (tmp_path / "mine.py").write_text("from helper import wide\n\n\ndef network(shape, n_classes):\n    return wide\n")
    (tmp_path / "helper.py").write_text("wide = 1\n")
    (tmp_path / LOCK).write_text("keras==3\n")
    yield tmp_path
    for cached in (code._file, code._imports):
        cached.cache_clear()


def with_own(params, name):
    return replace(params, teacher=replace(params.teacher, architecture=name))


def watch(*paths):
    stages = {"check": {"deps": list(paths)}, "teacher": {"params": ["teacher"]}}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))


def test_code_of_ones_own_is_listed_with_what_it_imports(params, repository):
    watch("mine.py", "helper.py")
    write_code(with_own(params, "mine:network"))
    first = json.loads((CODE / "teacher.json").read_text())
    assert {"mine.py", "helper.py", str(LOCK), "robust_distillation/stages/teacher.py"} <= first.keys()
    for path in ("helper.py", LOCK):
        before = json.loads((CODE / "teacher.json").read_text())
        (repository / path).write_text("wide = 2\n")
        write_code(with_own(params, "mine:network"))
        after = json.loads((CODE / "teacher.json").read_text())
        assert {name for name in after if after[name] != before[name]} == {str(path)}
    assert [path.name for path in CODE.iterdir()] == ["teacher.json"]


def test_code_of_ones_own_that_dvc_would_not_watch_is_refused(params, repository):
    watch("mine.py")
    with pytest.raises(InputError, match=r"stages\.check\.deps: lacks helper\.py, which the params name; add it"):
        write_code(with_own(params, "mine:network"))


def test_what_a_library_offers_is_taken_for_the_lock_stands_for_it(params, repository):
    watch("mine.py", "helper.py")
    write_code(with_own(params, "json:loads"))
    assert str(LOCK) in json.loads((CODE / "teacher.json").read_text())


def test_code_of_ones_own_that_is_no_python_is_one_line(params, repository):
    watch("mine.py", "helper.py")
    (repository / "mine.py").write_text("def network(:\n")
    with pytest.raises(InputError, match=r"mine\.py: not Python \(.*line 1.*\); mend it$"):
        write_code(with_own(params, "mine:network"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine:missing", "architecture mine:missing: mine has no missing"),
        ("nowhere:network", "architecture nowhere:network: no module named nowhere here"),
    ],
)
def test_names_that_stand_for_nothing_are_refused_before_anything_runs(params, repository, name, said):
    watch("mine.py", "helper.py")
    with pytest.raises(InputError, match=f"^{said}$"):
        write_code(with_own(params, name))
