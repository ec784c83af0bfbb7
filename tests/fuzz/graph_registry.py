"""Which function makes a node of which operator."""

from __future__ import annotations

from collections.abc import Callable

from graph_builder import Builder

__all__ = ["GENERATORS", "generates"]

Generate = Callable[[Builder, str], object]
GENERATORS: dict[str, Generate] = {}


def generates(*names: str) -> Callable[[Generate], Generate]:
    """The decorated function adds a node of any of these operators, valid in the builder's opset."""

    def register(function: Generate) -> Generate:
        for name in names:
            assert name not in GENERATORS, name
            GENERATORS[name] = function
        return function

    return register
