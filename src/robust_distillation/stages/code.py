"""Which code a stage runs, so that it goes stale by that and by nothing else.

The stage `check` writes one list of files and hashes for each stage, on which the stage depends in dvc.yaml. Followed
are imports, and of the registries' entries those that the stage's params name. What changes no result is left out:
command line, errors, progress, logging, declarations of settings, tables of registries, and how figures look.
"""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from robust_distillation.errors import InputError
from robust_distillation.files import write_json
from robust_distillation.params import Params
from robust_distillation.paths import CODE, LOCK, PIPELINE
from robust_distillation.registry import Registry
from robust_distillation.stages import STAGES
from robust_distillation.tracking.runs import digest

PACKAGE = "robust_distillation"
ROOT = Path(__file__).parents[1]
RESULTLESS = {
    "arrays",
    "auditing.figures",
    "auditing.flags",
    "auditing.table",
    "cli",
    "errors",
    "files",
    "params",
    "paths",
    "progress",
    "quiet",
    "records",
    "registry",
    "settings",
    "stages.results",
    "tracking.interruption",
    "tracking.promotion",
    "tracking.runs",
    "tracking.store",
    "workspace",
}
SERVED = f"{PACKAGE}.tracking.serving"  # MLflow runs it by its path
LOADED = {  # params of other stages, whose entries a stage runs as it loads what they left
    "student": ["filter.detector", "filter.inference_detector"],
    "robustness": ["filter.detector", "filter.inference_detector", "published.detector"],
    "compare": ["filter.detector", "filter.inference_detector", "published.detector"],
    "register": ["filter.detector", "filter.inference_detector"],
}


def write_code(params: Params) -> None:
    """Write for each stage of dvc.yaml that the package knows which files it runs, and their hashes.

    Raises:
        InputError: a name in params stands for nothing, or for a module of the user's whose changes would go unnoticed.
    """
    pipeline = yaml.safe_load(PIPELINE.read_text())["stages"]
    watched = [Path(path) for path in pipeline["check"].get("deps", [])]
    for stage in STAGES:
        if stage in pipeline:
            listed = [*pipeline[stage].get("params", []), *LOADED.get(stage, [])]
            files = {file: digest(file) for file in code_of(stage, params, listed)}
            _check_watched(files, watched)
            locked = {str(LOCK): digest(LOCK)} if LOCK.is_file() else {}
            write_json(CODE / f"{stage}.json", {_name(file): files[file] for file in sorted(files)} | locked)


def code_of(stage: str, params: Params, listed: Iterable[str]) -> set[Path]:
    """Return the files that a stage runs.

    Args:
        stage: a name of `STAGES`.
        params: all of params.yaml.
        listed: names of params or sections that the stage reads, whose entries of registries are followed.
    """
    starts = [STAGES.entries[stage], *([SERVED] if stage == "register" else []), *_entries(params, listed)]
    found: set[Path] = set()
    waiting = [place.partition(":")[0] for place in starts]
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        file = _file(module)
        if file is None or _resultless(module, file):
            continue
        if file.name != "__init__.py" or not file.is_relative_to(ROOT):
            found.add(file)
        waiting += _imports(module, file)
    return found


def _entries(params: Params, listed: Iterable[str]) -> Iterator[str]:
    """Yield where the registries' entries lie that params name."""
    for name in listed:
        *sections, last = name.split(".")
        owner: Any = params
        for section in sections:
            owner = getattr(owner, section)
        value = getattr(owner, last)
        if hasattr(value, "__dataclass_fields__"):
            yield from _entries_of(value)
        else:
            yield from _entries_of(owner, only=last)


def _entries_of(section: Any, only: str | None = None) -> Iterator[str]:
    for name, hint in get_type_hints(type(section), include_extras=True).items():
        if name in getattr(section, "unused", ()):
            continue
        value = getattr(section, name)
        if hasattr(value, "__dataclass_fields__"):
            yield from _entries_of(value)
        registry = _registry(hint)
        if registry is not None and only in (None, name):
            for one in _names(registry, value):
                place = registry.entries.get(one, one)
                _check_place(f"{registry.kind} {one}", place)
                yield place


def _names(registry: Registry[Any], value: str | list[str]) -> list[str]:
    """Return the names that a setting stands for: `standard` for all attacks, any other word for none."""
    if isinstance(value, list):
        return value
    if value in registry or ":" in value:
        return [value]
    return list(registry) if value == "standard" else []


def _check_place(what: str, place: str) -> None:
    """Look for what a registry's entry names without running it.

    Raises:
        InputError: it is not there.
    """
    module, _, name = place.partition(":")
    file = _file(module)
    if file is None:
        if find_spec(module.partition(".")[0]) is None or _file(module.partition(".")[0]) is not None:
            raise InputError(f"{what}: no module named {module} here")
        return  # of a library, which the lock stands for
    if name not in _defined(_parsed(file)):
        raise InputError(f"{what}: {module} has no {name}")


def _defined(tree: ast.Module) -> set[str]:
    """Return the names that a module defines or imports at its top level."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def _registry(hint: Any) -> Registry[Any] | None:
    """Return the registry whose names a type takes, wherever in it that is said."""
    registry = getattr(getattr(hint, "func", None), "__self__", None)  # of the validator that `one_of` makes
    if isinstance(registry, Registry):
        return registry
    return next((found for part in get_args(hint) if (found := _registry(part)) is not None), None)


def _resultless(module: str, file: Path) -> bool:
    if not file.is_relative_to(ROOT):
        return False
    within = module.removeprefix(PACKAGE).removeprefix(".")
    return within in RESULTLESS or within.endswith("settings")


@cache
def _file(module: str) -> Path | None:
    """Return the file of a module of the package or of the user's, without importing it; None for libraries."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin)
    if rest:
        inside = file.parent.joinpath(*rest)
        file = inside / "__init__.py" if inside.is_dir() else inside.with_suffix(".py")
        if not spec.submodule_search_locations or not file.is_file():
            return None
    here = Path.cwd()
    own = file.is_relative_to(here) and not {"site-packages", ".venv"} & set(file.relative_to(here).parts)
    return file if file.is_relative_to(ROOT) or own else None


@cache
def _imports(module: str, file: Path) -> tuple[str, ...]:
    """Return what a module imports, and what each imported name would be as a module, for it may be one."""
    found: list[str] = []
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    for node in _run(_parsed(file)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            found += [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
    return tuple(found)


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_text())
    except (SyntaxError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not Python ({error}); mend it") from None


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those that type checkers alone look at."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _run(node)


def _check_watched(files: Iterable[Path], watched: list[Path]) -> None:
    for file in files:
        if not file.is_relative_to(ROOT) and not any(file.is_relative_to(path.resolve()) for path in watched):
            raise InputError(
                f"{PIPELINE}: stages.check.deps: lacks {file.relative_to(Path.cwd())}, which the params name; "
                "add it, so that its changes are noticed"
            )


def _name(file: Path) -> str:
    return file.relative_to(ROOT.parent if file.is_relative_to(ROOT) else Path.cwd()).as_posix()
