"""What `fastgru adapt` asks of data, what it gets, and what a graph reads and gives."""

from typing import Any, NamedTuple

from fastgru.arrays import Array
from fastgru.errors import UnsupportedModelError
from fastgru.graph import Graph, TensorSpec
from fastgru.learn.network import output_of, time_axis_of
from fastgru.spec import RECURRENT, spec_of
from fastgru.verify.roles import AxisRoles

__all__ = ["Cutting", "Form", "Pairs", "form_of", "timed_of"]


class Cutting(NamedTuple):
    """batch: rows that learn together, None for a choice by the data; window: steps of a text; held_out: the last share
    of the data, from 0 to less than 1; skip_unknown: leave out characters that the alphabet does not have."""

    batch: int | None
    window: int | None
    held_out: float
    skip_unknown: bool


class Pairs(NamedTuple):
    """data, reset, held_out: as `fastgru.learn.fit` takes them. facts: how much there is, for people and programs.
    classes: whether the targets are classes."""

    data: list[tuple[Any, ...]]
    reset: list[Array] | None
    held_out: tuple[Any, ...] | None
    facts: dict[str, Any]
    classes: bool


class Form(NamedTuple):
    """What the graph reads and gives: its only input that is no state, which axis of it is the batch, and whether its
    output has steps."""

    spec: TensorSpec
    rows: int
    output: str
    alphabet: str | None


def form_of(graph: Graph, output: str | None) -> Form:
    """Raises `UnsupportedModelError` for a model with several inputs, `ShapeError` for an output that there is not."""
    inputs = [spec for spec in graph.inputs if spec.name not in graph.states]
    if len(inputs) != 1:
        names = ", ".join(spec.name for spec in inputs) or "none"
        raise UnsupportedModelError(
            f"the model has the inputs {names} besides its states, and one is what can be adapted; load a part of it"
            " that has one (--inputs), or use fastgru.learn.gradients in Python"
        )
    rows = AxisRoles(graph).axis_of(inputs[0].name, "N")
    if rows is None:
        layers = [spec_of(n.op, n.attrs) for n in graph.nodes if n.op in RECURRENT]
        rows = 0 if not layers or layers[0].batch_first else 1
    return Form(inputs[0], rows, output_of(graph, output), graph.meta.get("alphabet"))


def timed_of(graph: Graph, form: Form, x: Array) -> bool:
    """Whether the output has steps."""
    return time_axis_of(graph, form.output, {form.spec.name: x}) is not None
