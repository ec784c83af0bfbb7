"""Every handler that goes over elements looks for signals, so that no instruction delays Ctrl-C."""

from __future__ import annotations

import ast
from pathlib import Path

import fastgru.kernels

# One number for each row, one step of a layer, one address for each state of a loop.
SHORT = {"indexing.lengths", "gru._make_one", "loop.loop_begin"}
LOOKS = {"spend", "look_out", "affine"}  # `affine` looks after each block of rows


def handlers_with_loops() -> dict[str, set[str]]:
    """Return the names that each inner function `handle` with a loop calls, by module and enclosing function."""
    found = {}
    for path in sorted(Path(fastgru.kernels.__file__).parent.glob("*.py")):
        for outer in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(outer, ast.FunctionDef):
                continue
            for node in outer.body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith("handle"):
                    inside = list(ast.walk(node))
                    if any(isinstance(each, ast.For | ast.While) for each in inside):
                        calls = {
                            each.func.id
                            for each in inside
                            if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)
                        }
                        found[f"{path.stem}.{outer.name}"] = calls
    return found


def test_every_handler_with_a_loop_looks_for_signals() -> None:
    found = handlers_with_loops()
    assert len(found) > 30
    assert {name for name, calls in found.items() if not calls & LOOKS} == SHORT
