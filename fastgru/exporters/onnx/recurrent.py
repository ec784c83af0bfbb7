"""The operators LSTM and RNN: their inputs and outputs as for GRU, the gates i, o, f, c as they are here."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from fastgru.errors import UnsupportedModelError
from fastgru.exporters.onnx.elementwise import attribute
from fastgru.exporters.onnx.registry import exporter
from fastgru.exporters.onnx.writer import Writer
from fastgru.graph import Node
from fastgru.spec import TAKES_ALPHA, TAKES_BETA, RecurrentSpec, spec_of

__all__: list[str] = []

Array = NDArray[Any]


@exporter("lstm")
def _lstm(node: Node, write: Writer) -> None:
    _layer("LSTM", node, write)


@exporter("rnn")
def _rnn(node: Node, write: Writer) -> None:
    _layer("RNN", node, write)


def _layer(op: str, node: Node, write: Writer) -> None:
    spec = spec_of(node.op, node.attrs)
    first = 3 + len(spec.STATES)
    x, h0, lengths, mask, *rest = (*node.inputs, *("" for _ in range(first - len(node.inputs))))
    c0, weights = rest[: first - 4], rest[first - 4 :]
    if mask:
        raise UnsupportedModelError(f"{node}: a mask of steps has no counterpart in ONNX's {op}; lengths have")
    if spec.batch_first:
        x = write.emit("Transpose", x, perm=[1, 0, 2])
    if lengths:
        lengths = write.emit("Cast", lengths, to=TensorProto.INT32)
    y, *states = node.outputs
    Y = write.free(f"{node.name or y}/Y") if y else ""
    arrays = _arrays(node, spec, weights, write)
    names = {name: write.array(array, hint=f"{node.name}/{name}") for name, array in arrays.items()}
    inputs = [x, names["W"], names["R"], names.get("B", ""), lengths, h0, *c0, *([names["P"]] if "P" in names else [])]
    outputs = [Y, *states]
    while len(outputs) > 1 and not outputs[-1]:
        outputs.pop()
    own = {"input_forget": 1} if getattr(spec, "input_forget", False) else {}
    write.emit_all(
        op,
        inputs,
        outputs,
        hidden_size=spec.hidden_size,
        direction=spec.direction,
        clip=None if spec.clip is None else attribute(spec.clip, "clip", node, write),
        **own,
        **_activations(node, spec, write),
    )
    if not y:
        return
    if spec.num_directions == 1 and not spec.batch_first:
        write.emit("Squeeze", Y, write.integers([1]), out=y)
        return
    apart = write.emit("Transpose", Y, perm=[2, 0, 1, 3] if spec.batch_first else [0, 2, 1, 3])
    write.emit("Reshape", apart, write.integers([0, 0, spec.output_size]), out=y)


def _arrays(node: Node, spec: RecurrentSpec, weights: list[str], write: Writer) -> dict[str, Array]:
    """W, R, and B and P where there are some."""
    shapes = spec.weight_shapes
    given = [write.constant(name, node) if name else None for name in weights]
    count = len(shapes)
    each = [dict(zip(shapes, given[count * d : count * (d + 1)], strict=True)) for d in range(spec.num_directions)]
    W, R = (np.stack([arrays[name] for arrays in each]) for name in ("weight_ih", "weight_hh"))  # type: ignore[misc]

    def filled(name: str, arrays: dict[str, Array | None]) -> Array:
        array = arrays[name]
        return np.zeros(shapes[name], W.dtype) if array is None else array

    found = {"W": W, "R": R}
    if any(arrays[name] is not None for arrays in each for name in ("bias_ih", "bias_hh")):
        biases = ("bias_ih", "bias_hh")
        found["B"] = np.stack([np.concatenate([filled(name, arrays) for name in biases]) for arrays in each])
    if any(arrays.get("peephole") is not None for arrays in each):
        found["P"] = np.stack([filled("peephole", arrays) for arrays in each])
    return found


def _activations(node: Node, spec: RecurrentSpec, write: Writer) -> dict[str, Any]:
    """The functions of each direction; ONNX hands out alphas and betas in that order to those that have one."""
    chosen = [f for d in range(spec.num_directions) for f in spec.functions(d)]
    if chosen == [*spec.FUNCTIONS.values()] * spec.num_directions:
        return {}
    return {
        "activations": [f.kind.title().replace("_", "") for f in chosen],
        "activation_alpha": [attribute(f.alpha, "alpha", node, write) for f in chosen if f.kind in TAKES_ALPHA] or None,
        "activation_beta": [attribute(f.beta, "beta", node, write) for f in chosen if f.kind in TAKES_BETA] or None,
    }
