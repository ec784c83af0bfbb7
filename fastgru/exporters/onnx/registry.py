"""The operators that are exported: one function each, that writes what the node means in ONNX's own operators.

    @exporter("softmax")
    def softmax(node, write): ...

A function takes the `Node` and the `OnnxWriter`, and writes nodes whose last ones have the node's own outputs.
"""

from collections.abc import Callable
from typing import Final

from fastgru.exporters.onnx.writer import OnnxWriter
from fastgru.graph import Node

__all__ = ["EXPORTERS", "exported", "exporter"]

Export = Callable[[Node, OnnxWriter], None]

EXPORTERS: Final[dict[str, Export]] = {}


def exporter(*ops: str) -> Callable[[Export], Export]:
    """Register the decorated function for these operators."""

    def register(export: Export) -> Export:
        for op in ops:
            assert op not in EXPORTERS, op
            EXPORTERS[op] = export
        return export

    return register


def exported() -> tuple[str, ...]:
    """The operators of `fastgru.reference.OPS` that have a counterpart, by name."""
    return tuple(sorted(EXPORTERS))
