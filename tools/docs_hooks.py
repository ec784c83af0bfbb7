"""What the documents take from the code: MkDocs calls this while it builds, so that no table is typed by hand.

A page asks for a table with a line `<!-- table: NAME -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

__all__ = ["TABLES", "fill", "on_page_markdown"]

_MARK: Final = re.compile(r"^<!-- table: (?P<name>[\w-]+) -->$", re.MULTILINE)


def onnx_operators() -> str:
    """Every ONNX operator that is read: since which opset, in which versions of its definition, and what is refused."""
    from fastgru.importers.onnx import operators

    rows = []
    for op in operators():
        known = [f"{name} must be known when the file is read" for name in op.constants.values()]
        limits = "; ".join([*([op.limits] if op.limits else []), *known])
        rows.append((f"`{op.name}`", str(op.since), ", ".join(map(str, op.versions)), limits))
    return _table(("operator", "from opset", "versions known", "limits"), rows)


def onnx_exports() -> str:
    """The operators of our graphs that become ONNX nodes."""
    from fastgru.exporters.onnx import exported

    return ", ".join(f"`{name}`" for name in exported())


def keras_layers() -> str:
    """The Keras layers and operations that are read."""
    from fastgru.importers.keras.operations import OPERATIONS
    from fastgru.importers.keras.registry import layers

    kinds = {"layers": layers(), "functions of `keras.ops`": sorted(OPERATIONS)}
    return _table(("", "read"), [(kind, ", ".join(f"`{name}`" for name in names)) for kind, names in kinds.items()])


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "keras-layers": keras_layers,
    "onnx-exports": onnx_exports,
    "onnx-operators": onnx_operators,
}


def fill(markdown: str) -> str:
    """The text with every table in its place; `KeyError` for a name that `TABLES` lacks."""
    return _MARK.sub(lambda match: TABLES[match["name"]](), markdown)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The event of MkDocs."""
    return fill(markdown)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
