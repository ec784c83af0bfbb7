"""The problem of a case: weights, the input arrays that every contender reads, and the expected outputs.

The arrays in `feeds` are shared: `present` writes the next frames into them in place, so a contender that binds memory
once copies nothing. Expected outputs are those of the float64 definition.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.bench.cases import Case
from fastgru.bench.onnx_gru import onnx_model
from fastgru.engine.precision import WeightPrecision
from fastgru.exporters import to_onnx
from fastgru.graph import Graph
from fastgru.layers import GRU
from fastgru.model import Model
from fastgru.packing.aligned import empty
from fastgru.precisions import AUTO, WEIGHT_BYTES, Precision, float_dtype_of
from fastgru.records import dataclass
from fastgru.reference.gru import gru
from fastgru.spec import GRUSpec, GRUWeights

__all__ = ["Problem", "Stack", "gru_problem"]

Array = NDArray[Any]
_STEPS_COMPARED = 4


@dataclass(frozen=True)
class Stack:
    """The layers of a case: for each a spec and the weights of each direction."""

    specs: tuple[GRUSpec, ...]
    weights: tuple[tuple[GRUWeights, ...], ...]

    @property
    def torch_weights(self) -> dict[str, Array]:
        """The state dict of the same torch.nn.GRU, for a reset after the product."""
        return {
            f"{name}_l{k}{'_reverse' if d else ''}": getattr(w, name)
            for k, layer in enumerate(self.weights)
            for d, w in enumerate(layer)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }


@dataclass
class Problem:
    """What contenders are made of.

    graph: our form of the model. streaming: whether each call continues from the state of the one before.
    feeds: the shared input arrays, without the states. frames: what `present` writes, in turn.
    expected: the float64 outputs of the frames, presented in order from a state of zeros.
    states: input -> output of each state, between two calls. state_arrays: zeros with the shapes of the states.
    make_onnx: returns the bytes or the path of the same model as an ONNX file; None if there is none.
    path, options: the file of the model, and how `fastgru.load` reads it. as_saved: use the precisions of the file, of
    which `precision` is the one that rounds most.
    case, stack: the case of the problem and its layers, if it has one.
    """

    name: str
    graph: Graph
    precision: str
    streaming: bool
    feeds: dict[str, Array]
    frames: Sequence[Mapping[str, Array]]
    expected: Sequence[Mapping[str, Array]]
    states: Mapping[str, str] = field(default_factory=dict)
    state_arrays: Mapping[str, Array] = field(default_factory=dict)
    make_onnx: Callable[[], bytes | str] | None = None
    case: Case | None = None
    stack: Stack | None = None
    path: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    as_saved: bool = False

    @cached_property
    def portable(self) -> bytes:
        """The model as an ONNX file that every version reads, and that is called as ours is: a block in one call."""
        return (
            self.onnx
            if self.case is None and isinstance(self.onnx, bytes)
            else to_onnx(self.graph, precision=self.dtype)
        )

    @property
    def way(self) -> str:
        """How ours is called: one of `fastgru.bench.calls.WAYS`."""
        return "bound" if self.case is None else self.case.way

    @property
    def is_block(self) -> bool:
        """True if the rivals get one call per frame."""
        return self.case is not None and self.case.kind == "block"

    @property
    def carried(self) -> Mapping[str, str]:
        """`states` if each call continues from the one before, otherwise {}."""
        return self.states if self.streaming else {}

    @property
    def batch_size(self) -> int:
        """The size of the first axis that the model leaves free in a state."""
        for spec in self.graph.inputs:
            if spec.name in self.state_arrays:
                for size, axis in zip(self.state_arrays[spec.name].shape, spec.shape or (), strict=False):
                    if axis is None:
                        return int(size)
        return 1

    @cached_property
    def weights(self) -> Mapping[str, WeightPrecision]:
        """The precision that "auto" chooses for each node; {} for another precision."""
        return Model(self.graph, precision=self.precision).weight_precisions if self.precision in AUTO else {}

    @property
    def rounding(self) -> str:
        """The precision, or the one that rounds most of those that "auto" chooses."""
        found = [each.precision for each in self.weights.values()]
        return min(found, key=lambda name: WEIGHT_BYTES[name], default=self.precision)

    @property
    def asked(self) -> Precision:
        """The argument `precision` of our contender."""
        return self.graph.precisions if self.as_saved else self.precision

    @property
    def dtype(self) -> str:
        """The dtype of floating arrays: float32 if only the weights are smaller."""
        return float_dtype_of(self.precision)

    @cached_property
    def onnx(self) -> bytes | str | None:
        return None if self.make_onnx is None else self.make_onnx()

    def present(self, k: int) -> None:
        """Write the frames of number k, modulo their count, into `feeds`."""
        for name, array in self.frames[k % len(self.frames)].items():
            self.feeds[name][...] = array


def gru_problem(case: Case) -> Problem:
    """Draw weights uniform in +-1/sqrt(H), as torch.nn.GRU starts, and normal inputs; the same for the same case."""
    rng = np.random.default_rng(zlib.crc32(case.slug.encode()))
    dtype = np.dtype(float_dtype_of(case.precision))
    stack = _draw_stack(case, rng)
    streaming = case.kind != "sequence"
    count = _STEPS_COMPARED if case.kind == "step" else 1
    frames: list[dict[str, Array]] = []
    for _ in range(count):
        frames.append({"x": rng.standard_normal((case.T, case.N, case.I)).astype(dtype)})
        if case.lengths:
            lengths = rng.integers(1, case.T + 1, case.N, np.int32)  # int32, as in ONNX
            lengths[rng.integers(case.N)] = case.T
            frames[-1]["lengths"] = lengths
    feeds = {name: empty(array.shape, array.dtype) for name, array in frames[0].items()}
    layer = GRU(stack.specs, stack.weights, precision=dtype.name)
    problem = Problem(
        case.slug,
        layer.to_graph(lengths=case.lengths, initial_state=streaming),
        case.precision,
        streaming,
        feeds,
        frames,
        _expected(stack, frames),
        {"h0": "h_n"} if streaming else {},
        {"h0": np.zeros((1, case.N, case.H), dtype)} if streaming else {},
        lambda: onnx_model(case, stack.weights),
        case,
        stack,
    )
    problem.present(0)
    return problem


def _draw_stack(case: Case, rng: np.random.Generator) -> Stack:
    bound = case.H**-0.5
    specs, weights, dtype = [], [], float_dtype_of(case.precision)
    size = case.I
    for _ in range(case.layers):
        direction = "bidirectional" if case.bidirectional else "forward"
        spec = GRUSpec(size, case.H, direction, reset_after=case.reset_after)
        shapes = ((3 * case.H, size), (3 * case.H, case.H), (3 * case.H,), (3 * case.H,))
        specs.append(spec)
        weights.append(
            tuple(
                GRUWeights(*(rng.uniform(-bound, bound, shape).astype(dtype) for shape in shapes))
                for _ in range(spec.num_directions)
            )
        )
        size = spec.output_size
    return Stack(tuple(specs), tuple(weights))


def _expected(stack: Stack, frames: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    h: Array | None = None
    outputs = []
    for frame in frames:
        y = frame["x"].astype(np.float64)
        for spec, weights in zip(stack.specs, stack.weights, strict=True):
            y, h_n = gru(spec, weights, y, h, frame.get("lengths"))
        outputs.append({"y": y} if len(stack.specs) > 1 else {"y": y, "h_n": h_n})
        h = h_n if len(frames) > 1 else None
    return outputs
