"""Loop and Scan in one form: states, sequences that are read a step at a time, outputs that are stacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.onnx.builder import Builder
from fastgru.importers.onnx.node import Attributes
from fastgru.importers.onnx.sizes import elements_of, sizes_of
from fastgru.importers.onnx.values import Size, Value

if TYPE_CHECKING:
    from fastgru.importers.onnx.convert import Body

__all__ = ["LoopForm", "loop_form", "scan_form"]

_ENDLESS: Final = 1 << 31


@dataclass(frozen=True)
class LoopForm:
    """A Loop (`is_loop`, whose body has the turn and a condition before the states) or a Scan.

    trips: its number of turns as far as `limit` tells; a Loop may end before by its condition. sequences, axes,
    backward: what a Scan reads. output_axes, output_backward: how it stacks.
    """

    body: Body
    is_loop: bool
    states: tuple[Value, ...]
    limit: Size
    condition: Value | None = None
    sequences: tuple[Value, ...] = ()
    axes: tuple[int, ...] = ()
    backward: tuple[bool, ...] = ()
    output_axes: tuple[int, ...] = ()
    output_backward: tuple[bool, ...] = ()

    @property
    def first_state(self) -> int:
        """The first state among the outputs of the body."""
        return int(self.is_loop)

    @property
    def first_scan(self) -> int:
        return self.first_state + len(self.states)

    def keeps(self, state: int) -> bool:
        """True for a state that every turn hands on as it is: TensorFlow's exporter takes weights through a loop so."""
        graph = self.body.graph
        same = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Identity" and n.input and n.output}
        name, before = graph.output[self.first_state + state].name, graph.input[2 * self.is_loop + state].name
        for _ in range(len(same) + 1):
            if name == before:
                return True
            name = same.get(name, "")
        return False

    @property
    def num_scans(self) -> int:
        return len(self.body.graph.output) - self.first_scan

    @property
    def endless(self) -> bool:
        """True for a Loop that only its condition ends."""
        return self.is_loop and (self.limit is None or (isinstance(self.limit, int) and self.limit >= _ENDLESS))

    def static_trips(self, what: str) -> int | None:
        """The most turns there can be, None where that is not known."""
        if not self.is_loop:
            return self.limit if isinstance(self.limit, int) else None
        if self.condition is not None and self.condition.array is None:
            raise UnsupportedModelError(
                f"{what}: whether it runs at all is computed while the model runs; export it with a number of turns"
            )
        if self.condition is not None and self.condition.array is not None and not self.condition.array.all():
            return 0
        if self.endless:
            return 64
        return self.limit if isinstance(self.limit, int) else None

    def turn_inputs(self, build: Builder, states: Sequence[Value], turn: int, trips: int) -> list[Value]:
        """What the body reads in one turn."""
        if self.is_loop:
            return [build.constant(np.array(turn)), build.constant(np.array(True)), *states]
        rows = [
            build.emit("gather", x, build.constant(np.array(trips - 1 - turn if back else turn)), axis=axis)
            for x, axis, back in zip(self.sequences, self.axes, self.backward, strict=True)
        ]
        return [*states, *rows]

    def stack(self, build: Builder, rows: Sequence[Value], output: int) -> Value:
        """One stacked output, its turns in order or backward."""
        if self.is_loop:
            axis, back = 0, False
        else:
            axis, back = self.output_axes[output], self.output_backward[output]
        parts = [build.emit("unsqueeze", v, axes=[axis]) for v in (reversed(rows) if back else rows)]
        return parts[0] if len(parts) == 1 else build.emit("concat", *parts, axis=axis)


def loop_form(body: Body, inputs: Sequence[Value | None], what: str) -> LoopForm:
    """A Loop. Raises `InvalidModelError` where its body does not fit its inputs."""
    if len(inputs) < 2:
        raise InvalidModelError(f"{what}: {len(inputs)} inputs, expected a number of turns and a condition")
    states = _present(inputs[2:], what)
    if len(body.graph.input) != 2 + len(states) or len(body.graph.output) < 1 + len(states):
        raise InvalidModelError(
            f"{what}: a body of {len(body.graph.input)} inputs and {len(body.graph.output)} outputs for"
            f" {len(states)} states"
        )
    limit = elements_of(inputs[0]) if inputs[0] is not None else (None,)
    if limit is not None and len(limit) != 1:
        raise InvalidModelError(f"{what}: a number of turns of {len(limit)} elements, expected 1")
    turns = "?" if limit is None else limit[0]
    if inputs[0] is not None and turns is None:
        turns = "?"
    if isinstance(turns, int):
        turns = max(turns, 0)
    return LoopForm(body, True, states, turns, inputs[1])


def scan_form(body: Body, inputs: Sequence[Value | None], attrs: Attributes, what: str) -> LoopForm:
    """A Scan of opset 9 or later. Raises `InvalidModelError` where its body or attributes do not fit its inputs."""
    values = _present(inputs, what)
    M = attrs.integer("num_scan_inputs")
    N = len(values) - M
    graph = body.graph
    if M < 1 or N < 0 or len(graph.input) != len(values) or len(graph.output) < N:
        raise InvalidModelError(
            f"{what}: num_scan_inputs is {M}, with {len(values)} inputs and a body of {len(graph.input)} inputs and"
            f" {len(graph.output)} outputs"
        )
    K = len(graph.output) - N
    axes, output_axes = (_listed(attrs, name, n, what) for name, n in (("scan_input_axes", M), ("scan_output_axes", K)))
    backward, output_backward = (
        [bool(v) for v in _listed(attrs, name, n, what)]
        for name, n in (("scan_input_directions", M), ("scan_output_directions", K))
    )
    sizes: list[Size] = []
    for i, value in enumerate(values[N:]):
        known = sizes_of(value)
        if known is None:
            raise UnsupportedModelError(f"{what}: the number of axes of input {N + i} cannot be told from the file")
        if not -len(known) <= axes[i] < len(known):
            raise InvalidModelError(f"{what}: scan_input_axes has {axes[i]} for {len(known)} axes")
        axes[i] %= len(known)
        sizes.append(known[axes[i]])
    limit = next((n for n in sizes if isinstance(n, int)), sizes[0])
    if any(isinstance(n, int) and n != limit for n in sizes):
        raise InvalidModelError(f"{what}: sequences of {sizes} steps, expected one length")
    return LoopForm(
        body,
        False,
        values[:N],
        limit,
        None,
        values[N:],
        tuple(axes),
        tuple(backward),
        tuple(output_axes),
        tuple(output_backward),
    )


def _listed(attrs: Attributes, name: str, count: int, what: str) -> list[int]:
    given = attrs.integers(name)
    if given is not None and len(given) != count:
        raise InvalidModelError(f"{what}: {name} has {len(given)} entries, expected {count}")
    return given or [0] * count


def _present(inputs: Sequence[Value | None], what: str) -> tuple[Value, ...]:
    values = tuple(v for v in inputs if v is not None)
    if len(values) != len(inputs):
        raise InvalidModelError(f"{what}: an input is missing")
    return values
