"""Whole random graphs: which operators, which values come out."""

from __future__ import annotations

import random

import make_control
import make_elementwise
import make_networks
import make_quantised
import make_selection
import make_shape
import make_sources
import make_windows
from graph_builder import OPERATORS, Builder, RejectError, Value
from graph_registry import GENERATORS
from hypothesis import strategies as st

from fastgru.importers.onnx import NEWEST_OPSET

__all__ = ["build_graph", "graphs"]

_FAMILIES = (
    make_control, make_elementwise, make_networks, make_quantised, make_selection, make_shape, make_sources,
    make_windows,
)  # fmt: skip

# Where an operator ends before the newest opset.
LAST_OPSET = {"Scatter": 10, "Upsample": 9}


def build_graph(rng: random.Random, focus: str | None = None) -> tuple[Builder, list[Value]]:
    """A graph of 3 to 15 nodes with `focus` (any operator) among them, and the values that it gives out.

    Raises `RejectError` where `focus` could not be placed.
    """
    names = sorted(GENERATORS)
    focus = focus or names[rng.randrange(len(names))]
    opset = rng.randint(OPERATORS[focus].since, LAST_OPSET.get(focus, NEWEST_OPSET))
    b = Builder(rng, opset)
    wanted = rng.randint(3, 15)
    at = rng.randrange(wanted)
    placed = False
    for _ in range(4 * wanted):
        if len(b.nodes) >= wanted and placed:
            break
        name = focus if not placed and len(b.nodes) >= at else names[rng.randrange(len(names))]
        if not b.has(name):
            continue
        kept = (len(b.pool), len(b.nodes))
        try:
            GENERATORS[name](b, name)
            placed = placed or name == focus
        except RejectError as error:
            b.rejections.append(f"{name}: {error}")
            assert len(b.nodes) >= kept[1]
    if not placed:
        raise RejectError(f"{focus} in opset {opset}: {b.rejections[-1] if b.rejections else 'not placed'}")
    made = {name for node in b.nodes for name in node.output}
    values = [v for v in b.pool if v.name in made]
    ends = [v for v in values if v.name not in b.used]
    inner = [v for v in values if v.name in b.used and rng.random() < 0.15]
    return b, ends + inner


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Builder, list[Value]]:
    """The same as a strategy, which shrinks."""
    from hypothesis import assume

    rng = draw(st.randoms(use_true_random=False))
    try:
        return build_graph(rng)
    except RejectError:
        assume(False)
        raise
