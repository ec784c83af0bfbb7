"""One form for Loop and Scan: states, sequences of which each iteration reads one step, and stacked outputs."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from fastgru.errors import UnsupportedModelError
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import Body, OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode
from fastgru.records import dataclass
from fastgru.reference.sizes import Size

__all__ = ["LoopForm", "loop_form", "scan_form"]

_ENDLESS: Final = (1 << 31) - 1  # TensorFlow writes this number for no limit


@dataclass(frozen=True)
class LoopForm:
    """A Loop (`is_loop`; its body has the iteration and a condition before the states) or a Scan.

    limit: the most iterations, as far as it is known; a Loop may end earlier by its condition. count: the input of a
    Loop with this number. sequences, axes, backward: the sequences that a Scan reads. output_axes, output_backward: how
    a Scan stacks its outputs.
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
    count: Value | None = None

    @property
    def first_state(self) -> int:
        """The index of the first state among the outputs of the body."""
        return int(self.is_loop)

    @property
    def first_scan(self) -> int:
        return self.first_state + len(self.states)

    def keeps(self, state: int) -> bool:
        """Return whether no iteration changes a state; TensorFlow's exporter passes weights in such states."""
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
        """Whether only the condition ends the loop."""
        return self.is_loop and (self.limit is None or (isinstance(self.limit, int) and self.limit >= _ENDLESS))

    def static_trips(self) -> int | None:
        """Return the most iterations that are possible, or None if unknown."""
        if self.condition is not None and self.condition.array is None:
            return None
        if self.condition is not None and self.condition.array is not None and not self.condition.array.all():
            return 0
        if self.endless:
            return _ENDLESS
        return self.limit if isinstance(self.limit, int) else None

    def body_inputs(self, build: OnnxGraphBuilder, states: Sequence[Value], iteration: int, trips: int) -> list[Value]:
        """Return the inputs of the body in one iteration."""
        if self.is_loop:
            return [build.constant(np.array(iteration)), build.constant(np.array(True)), *states]
        rows = [
            build.emit("gather", x, build.constant(np.array(trips - 1 - iteration if back else iteration)), axis=axis)
            for x, axis, back in zip(self.sequences, self.axes, self.backward, strict=True)
        ]
        return [*states, *rows]

    def stack(self, build: OnnxGraphBuilder, rows: Sequence[Value], output: int) -> Value:
        """Stack the rows of one output, in order or backward."""
        if self.is_loop:
            axis, back = 0, False
        else:
            axis, back = self.output_axes[output], self.output_backward[output]
        parts = [build.emit("unsqueeze", v, axes=[axis]) for v in (reversed(rows) if back else rows)]
        return parts[0] if len(parts) == 1 else build.emit("concat", *parts, axis=axis)


def loop_form(node: OnnxNode) -> LoopForm:
    """Return the form of a Loop. Raises `InvalidModelError` if its body does not fit its inputs."""
    count, condition, *_ = node.inputs
    states = _present(node, node.inputs[2:])
    body = node.around.open_body(node.attrs.graph("body"), node.site)
    graph = body.graph
    if len(graph.input) != 2 + len(states) or len(graph.output) < 1 + len(states):
        raise node.invalid(
            f"its body has {len(graph.input)} inputs and {len(graph.output)} outputs, which do not fit {len(states)}"
            " states"
        )
    limit: Size = None
    if count is not None:
        known = (None,) if count.elements is None else count.elements
        if len(known) != 1:
            raise node.invalid(f"the number of iterations has {len(known)} elements, expected 1")
        limit = "?" if known[0] is None else max(known[0], 0) if isinstance(known[0], int) else known[0]
    return LoopForm(body, True, states, limit, condition, count=count)


def scan_form(node: OnnxNode) -> LoopForm:
    """Return the form of a Scan of opset 9 or later.

    Raises `InvalidModelError` if its body or attributes do not fit its inputs, `UnsupportedModelError` if the rank of a
    sequence is unknown.
    """
    values = _present(node, node.inputs)
    M = node.attrs.integer("num_scan_inputs")
    N = len(values) - M
    body = node.around.open_body(node.attrs.graph("body"), node.site)
    graph = body.graph
    if M < 1 or N < 0 or len(graph.input) != len(values) or len(graph.output) < N:
        raise node.invalid(
            f"num_scan_inputs is {M}, which does not fit {len(values)} inputs and a body with {len(graph.input)} inputs"
            f" and {len(graph.output)} outputs"
        )
    K = len(graph.output) - N
    axes = _listed(node, "scan_input_axes", M)
    sizes: list[Size] = []
    for i, value in enumerate(values[N:]):
        known = value.sizes
        if known is None:
            raise UnsupportedModelError(
                f"{node.what}: the number of axes of input {N + i} does not follow from the file"
            )
        if not -len(known) <= axes[i] < len(known):
            raise node.invalid(f"scan_input_axes has {axes[i]}, but the input has {len(known)} axes")
        axes[i] %= len(known)
        sizes.append(known[axes[i]])
    limit = next((n for n in sizes if isinstance(n, int)), sizes[0])
    if any(isinstance(n, int) and n != limit for n in sizes):
        raise node.invalid(f"its sequences have {sizes} steps, expected the same number")
    return LoopForm(
        body,
        False,
        values[:N],
        limit,
        None,
        values[N:],
        tuple(axes),
        tuple(bool(v) for v in _listed(node, "scan_input_directions", M)),
        tuple(_listed(node, "scan_output_axes", K)),
        tuple(bool(v) for v in _listed(node, "scan_output_directions", K)),
    )


def _listed(node: OnnxNode, name: str, count: int) -> list[int]:
    given = node.attrs.integers(name)
    if given is not None and len(given) != count:
        raise node.invalid(f"{name} has {len(given)} entries, expected {count}")
    return given or [0] * count


def _present(node: OnnxNode, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    values = tuple(v for v in inputs if v is not None)
    if len(values) != len(inputs):
        raise node.invalid("an input is missing")
    return values
