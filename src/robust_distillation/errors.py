"""The one exception that a user meets."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


class UnreliableWarning(UserWarning):
    """A result that shows nothing: too small a budget, outputs that hide the gradient, a training that collapsed."""


class InputError(Exception):
    """Something the user gave is wrong: the message says what, where, and what to do, in one line."""


def describe(path: Path, error: "ValidationError") -> str:
    """Return in one line what pydantic has against the content of a file, with the names and values of the fields."""
    return "; ".join(f"{path}: {_describe(item)}" for item in error.errors())


def _describe(item: Any) -> str:
    where = ".".join(map(str, item["loc"])) or "whole file"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error" and isinstance(item["input"], dict):  # it is between fields, which it names
        return f"{where}: {message}" if item["loc"] else message
    return f"{where}: {message}. Received: {item['input']!r:.80}"
