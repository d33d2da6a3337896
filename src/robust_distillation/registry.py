"""What comes in by name: a table for each kind of thing, from which params, commands and errors take the names."""

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from robust_distillation.errors import InputError

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry]):
    """Entries by name, imported when they are asked for; a user's own goes by `package.module:Name`.

    Args:
        kind: what the entries are, for errors.
        entries: by name, where each lies: `package.module:Name`.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self.entries = entries

    def check(self, name: str) -> str:
        """Return a name that may be asked for, without importing what it stands for.

        Raises:
            ValueError: it is neither listed nor of the form `package.module:Name`.
        """
        if name in self.entries:
            return name
        module, _, attribute = name.partition(":")
        if attribute.isidentifier() and all(part.isidentifier() for part in module.split(".")):
            return name
        raise ValueError(f"must be one of {', '.join(self)}, or package.module:Name of your own {self.kind}")

    def check_all(self, names: list[str]) -> list[str]:
        """Return names of which each may be asked for.

        Raises:
            ValueError: one may not, or there is none.
        """
        if not names:
            raise ValueError(f"must name at least one {self.kind}")
        return [self.check(name) for name in names]

    def __getitem__(self, name: str) -> Entry:
        """Return what a name stands for.

        Raises:
            InputError: there is nothing of that name.
        """
        try:
            module, _, attribute = self.entries.get(self.check(name), name).partition(":")
        except ValueError as error:
            raise InputError(f"{self.kind} {error}. Received: {name!r}") from None
        if (here := str(Path.cwd())) not in sys.path:  # A console script does not look where it is run.
            sys.path.append(here)
        try:
            found: Entry = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise InputError(f"{self.kind} {name}: no module named {error.name} here") from None
        except SyntaxError as error:
            raise InputError(f"{self.kind} {name}: {module} is not Python ({error}); mend it") from None
        except AttributeError:
            raise InputError(f"{self.kind} {name}: {module} has no {attribute}") from None
        return found

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def name_of(self, entry: Any) -> str:
        """Return the name under which a class or function would be found here again."""
        path = f"{entry.__module__}:{entry.__qualname__}"
        return next((name for name, place in self.entries.items() if place == path), path)
