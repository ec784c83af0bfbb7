"""A plan while it is made, as the lowerings of operators see it."""

from __future__ import annotations

from collections.abc import Mapping

from fastgru.engine.buffers import Buffer, Region, Value, View
from fastgru.engine.encoding import encode
from fastgru.engine.fusion import fuse
from fastgru.engine.lazy import LazyCopies
from fastgru.engine.memory import Packs
from fastgru.engine.precision import PrecisionPlan, node_name
from fastgru.engine.program import Program
from fastgru.errors import UnsupportedModelError
from fastgru.graph import Node

__all__ = ["PlanBuilder"]


class PlanBuilder(LazyCopies):
    """What a lowering works with: tensors (`Memory`), instructions (`Emitter`), and copies where they are needed.

    precisions: the precisions of the model and of its weights.
    packs: packed weights, shared by the plans of one model.
    members: threads that may run the plan together.
    constant_bytes: bytes of the constants of the graph.
    gain_s: estimated seconds that the team saves; lowerings add to it.
    open_ended: buffers that a loop of unknown length fills block by block; nothing else in the plan can read them.
    dead: the branches that cannot take these shapes, by the id of the node and the name of the branch, and why.
    """

    def __init__(self, precisions: PrecisionPlan, packs: Packs, members: int = 1, constant_bytes: int = 0) -> None:
        super().__init__(precisions.float_dtype, packs, constant_bytes)
        self.precisions, self.members, self.gain_s = precisions, members, 0.0
        self.open_ended: set[Buffer] = set()
        self.dead: dict[tuple[int, str], str] = {}

    def lowp_weights(self, node: Node) -> str | None:
        """Return the precision of the node's weights, "bfloat16" or "int8"; None if they have the dtype of the plan."""
        return self.precisions.lowp.get(node_name(node))

    def finish(self, inputs: Mapping[str, View], outputs: Mapping[str, Value]) -> Program:
        """Return the program that computes `outputs` from `inputs`."""
        results = {name: self._as_output(name, value) for name, value in outputs.items()}
        if any(buffer.touches for buffer in self.open_ended):
            raise UnsupportedModelError("what a loop of unknown length stacks is read by other nodes of the same plan")
        fuse(self)
        open_ended = [name for name, view in results.items() if view.buffer in self.open_ended]
        members = 1 if self.open_ended else self.members
        return encode(self, inputs, results, members=members, gain_s=self.gain_s, open_ended=open_ended)

    def _as_output(self, name: str, value: Value) -> View:
        """Return the value as a whole buffer of its own, and make that a buffer that the caller brings."""
        self.label = f"output {name!r}"
        view = self.view(value)
        if not (view.whole and view.buffer.kind == "arena"):
            view = self.assemble(view.shape, view.dtype, [Region((0,) * view.ndim, view)])
        self.flush(view.buffer)
        view.buffer.kind, view.buffer.name = "output", name
        return view
