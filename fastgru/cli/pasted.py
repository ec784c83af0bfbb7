"""Writes Python code that loads the layers of a file of weights, for pasting from a terminal of 80 columns."""

import ast
import json
import keyword
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["code_for"]

_WIDTH: Final = 79


def code_for(file: str, key: str | None, offers: Iterable[tuple[str, str, str]]) -> str:
    """Return a program that reads `file` and makes a layer of each offer: (name in the file, call, remark or "").

    key: that of the dict of tensors in the file, or None if there is only one.
    """
    read = (
        f"fastgru.read_weights({json.dumps(file, ensure_ascii=False)}"
        + ("" if key is None else f", key={json.dumps(key, ensure_ascii=False)}")
        + ")"
    )
    made: dict[str, str] = {}
    remarks: dict[str, str] = {}
    for name, recipe, remark in offers:
        free = _free(_identifier(name), made)
        made[free] = recipe
        remarks[free] = f"  # {remark}" if remark else ""
    lines = [_assigned(name, call) + remarks.get(name, "") for name, call in {"weights": read, **made}.items()]
    return "\n".join(["import fastgru", "", *lines])


def _identifier(name: str) -> str:
    """Return the last part of the name if it can be a variable, or else "layer"."""
    part = re.sub(r"\W", "_", name.rpartition(".")[2], flags=re.ASCII)
    usable = part.isidentifier() and not keyword.iskeyword(part) and part not in ("weights", "fastgru")
    return part if usable and part.strip("_") else "layer"


def _free(name: str, taken: Mapping[str, Any]) -> str:
    n, free = 1, name
    while free in taken:
        n += 1
        free = f"{name}_{n}"
    return free


def _assigned(name: str, call: str) -> str:
    line = f"{name} = {call}"
    return line if len(line) <= _WIDTH else f"{name} = {_broken(ast.parse(call, mode='eval').body)}"


def _broken(node: ast.expr, depth: int = 0) -> str:
    """Return the expression, with each argument on its own line if it is too long for one line."""
    text, margin, inner = ast.unparse(node), "    " * depth, "    " * (depth + 1)
    if len(text) + len(margin) <= _WIDTH - 20:
        return text
    if isinstance(node, ast.Call):
        parts = [_broken(one, depth + 1) for one in node.args]
        parts += [f"{one.arg}={_broken(one.value, depth + 1)}" for one in node.keywords]
        first, last = f"{ast.unparse(node.func)}(", ")"
    elif isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        parts = [f"{ast.unparse(key)}: {_broken(value, depth + 1)}" for key, value in pairs if key is not None]
        first, last = "{", "}"
    elif isinstance(node, ast.List):
        parts, first, last = [_broken(one, depth + 1) for one in node.elts], "[", "]"
    else:
        return text
    return "\n".join([first, *(f"{inner}{part}," for part in parts), f"{margin}{last}"])
