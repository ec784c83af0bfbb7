"""The type of an array, where its dtype is told by the docstring or by what is in the array."""

from typing import Any

from numpy.typing import NDArray

__all__ = ["Array"]

Array = NDArray[Any]
