"""The type of arrays; their shapes, ranges and units stand in the docstrings."""

from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
