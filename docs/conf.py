"""How the documentation is built: `sphinx-build --fail-on-warning docs build/docs`, then open build/docs/index.html."""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from robust_distillation.quiet import stderr_held_back

with stderr_held_back():
    import robust_distillation.tracking.serving  # noqa: F401  # TensorFlow and MLflow

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "robust_distillation"
INDENTED = re.compile(r"^(\S.*)\n\n?(?= {4}\S)", re.MULTILINE)
UNTYPED_ARRAY = re.compile(r"~?numpy\.ndarray\[~?typing\.Any, ~?numpy\.dtype\[~?typing\.Any\]\]")

project = "robust-distillation"
html_title = project
html_theme = "furo"
html_show_copyright = False
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "py:obj"
smartquotes = False
add_module_names = False
myst_heading_anchors = 3
autodoc_default_options = {"members": True, "ignore-module-all": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_attr_annotations = False
napoleon_use_ivar = True


def list_modules(_: Sphinx, page: str, source: list[str]) -> None:
    """Append the docstrings of all modules of a room to the page that has the room's name."""
    if not page.startswith("api/"):
        return
    room = PACKAGE / page.removeprefix("api/")
    if not room.is_dir():
        raise ExtensionError(f"docs/{page}.md: the package has no room {room.name}")
    for file in sorted(room.rglob("*.py")):
        folder = file.parent if file.name == "__init__.py" else file.with_suffix("")
        if folder != room:
            source[0] += f"\n## {'.'.join(folder.relative_to(PACKAGE).parts)}\n"
        source[0] += f"\n```{{eval-rst}}\n.. automodule:: {'.'.join(folder.relative_to(SOURCE).parts)}\n```\n"


def as_markup(_: Sphinx, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Let norms, |x|, and the indented code of modules be to Sphinx what they are to a reader of the source."""
    text = "\n".join(lines)
    marked = INDENTED.sub(r"\1\n\n::\n\n", text) if what == "module" else text.replace("|", r"\|")
    lines[:] = marked.split("\n")


def shorten(
    _: Sphinx, _what: str, _name: str, _object: Any, _options: Any, taken: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Write the type of an array as the package does."""
    return taken and UNTYPED_ARRAY.sub("Array", taken), returned and UNTYPED_ARRAY.sub("Array", returned)


def setup(app: Sphinx) -> None:
    """Connect what Sphinx calls."""
    app.connect("source-read", list_modules)
    app.connect("autodoc-process-docstring", as_markup, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", shorten)
