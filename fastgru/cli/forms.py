"""Data types of `fastgru adapt`: its request, its pairs of data, and the form of a graph."""

from typing import Any, NamedTuple

from fastgru.arrays import Array
from fastgru.errors import UnsupportedModelError
from fastgru.graph import Graph, TensorSpec
from fastgru.learn.network import output_of, time_axis_of
from fastgru.spec import RECURRENT, spec_of
from fastgru.verify.roles import AxisRoles

__all__ = ["Cutting", "Form", "Pairs", "form_of", "timed_of"]


class Cutting(NamedTuple):
    """How to cut the data.

    batch: the number of rows that learn together, or None to choose by the data. window: the steps of a text.
    held_out: the share at the end of the data, from 0 to less than 1.
    skip_unknown: whether to leave out characters that the alphabet lacks.
    """

    batch: int | None
    window: int | None
    held_out: float
    skip_unknown: bool


class Pairs(NamedTuple):
    """data, reset, held_out: as for `fastgru.learn.fit`. facts: the amounts of data, for people and programs.
    classes: whether the targets are classes.
    """

    data: list[tuple[Any, ...]]
    reset: list[Array] | None
    held_out: tuple[Any, ...] | None
    facts: dict[str, Any]
    classes: bool


class Form(NamedTuple):
    """The form of a graph.

    spec: its only input that is not a state. rows: the batch axis of that input. output: the name of the output to
    compare. alphabet: the model's alphabet as JSON, or None.
    """

    spec: TensorSpec
    rows: int
    output: str
    alphabet: str | None


def form_of(graph: Graph, output: str | None) -> Form:
    """Return the form. Raises `UnsupportedModelError` for several inputs, `ShapeError` for an unknown output."""
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
    """Return True if the output has steps."""
    return time_axis_of(graph, form.output, {form.spec.name: x}) is not None
