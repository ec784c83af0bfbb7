"""The operators GRU, LSTM and RNN.

ONNX, with G gates: X (T, N, I), W (D, GH, I), R (D, GH, H), B (D, 2GH), sequence_lens int32 (N,), initial_h and
initial_c (D, N, H), P (D, 3H) -> Y (T, D, N, H), Y_h and Y_c (D, N, H). A GRU's gates are z, r, h. The attribute layout
is never 1, because ONNX Runtime refuses that.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from fastgru.conventions import swap_zr
from fastgru.errors import UnsupportedModelError
from fastgru.exporters.onnx.writer import OnnxWriter, attribute, exporter
from fastgru.graph import Node
from fastgru.spec import TAKES_ALPHA, TAKES_BETA, GRUSpec, LSTMSpec, RecurrentSpec, spec_of

Array = NDArray[Any]


@exporter("gru", "lstm", "rnn")
def _recurrent(node: Node, write: OnnxWriter) -> None:
    spec = spec_of(node.op, node.attrs)
    x, h0, lengths, mask, *rest = (*node.inputs, *("" for _ in range(4 - len(node.inputs))))
    if mask:
        raise UnsupportedModelError(f"{node}: a mask of steps has no counterpart in ONNX; use lengths")
    more = len(spec.STATES) - 1
    weights = _weights(node, spec, rest[more:], write)
    if spec.batch_first:
        x = write.emit("Transpose", x, perm=[1, 0, 2])
    if lengths:
        lengths = write.emit("Cast", lengths, to=TensorProto.INT32)
    y, *last = (*node.outputs, *("" for _ in range(1 + len(spec.STATES) - len(node.outputs))))
    Y = write.free(f"{node.name or node.op}/Y") if y else ""
    outputs = [Y, *last]
    while len(outputs) > 1 and not outputs[-1]:
        outputs.pop()
    write.emit_all(
        node.op.upper(),
        [x, *weights[:3], lengths, h0, *rest[:more], *filter(None, weights[3:])],
        outputs,
        hidden_size=spec.hidden_size,
        direction=spec.direction,
        clip=None if spec.clip is None else attribute(spec.clip, "clip", node, write),
        linear_before_reset=int(spec.reset_after) if isinstance(spec, GRUSpec) else None,
        input_forget=int(spec.input_forget) if isinstance(spec, LSTMSpec) else None,
        **_activations(node, spec, write),
    )
    if y:
        _write_y(Y, y, spec, write)


def _write_y(Y: str, y: str, spec: RecurrentSpec, write: OnnxWriter) -> None:
    """Write Y (T, D, N, H) -> y (T, N, D * H), or (N, T, D * H)."""
    if spec.num_directions == 1 and not spec.batch_first:
        write.emit("Squeeze", Y, write.integers([1]), out=y)
        return
    apart = write.emit("Transpose", Y, perm=[2, 0, 1, 3] if spec.batch_first else [0, 2, 1, 3])
    write.emit("Reshape", apart, write.integers([0, 0, spec.output_size]), out=y)


def _weights(node: Node, spec: RecurrentSpec, names: list[str], write: OnnxWriter) -> list[str]:
    """Return W, R, B and P of all directions, "" for one that no direction has.

    If a weight is computed by other nodes, nodes of the file bring its gates into ONNX's order.
    """
    sizes = list(spec.weight_shapes.values())
    width = len(sizes)
    names = names + [""] * (width * spec.num_directions - len(names))
    each = [names[width * d : width * (d + 1)] for d in range(spec.num_directions)]

    def stacked(key: str, start: int, stop: int) -> str:
        if not any(name for direction in each for name in direction[start:stop]):
            return ""
        order = swap_zr if node.op == "gru" and start < 4 else np.asarray
        arrays = [
            [write.known(name) if name else np.zeros(size) for name, size in zip(d, sizes, strict=True)][start:stop]
            for d in each
        ]
        if all(array is not None for direction in arrays for array in direction):
            whole = [np.concatenate([order(np.asarray(array)) for array in direction]) for direction in arrays]
            return write.array(np.stack(whole), hint=f"{node.name}/{key}")
        made = []
        for direction, known in zip(each, arrays, strict=True):
            parts = [
                write.emit("Gather", name, write.integers(order(np.arange(size[0])).tolist()), axis=0)
                if array is None
                else write.array(order(np.asarray(array)), hint=f"{node.name}/{key}")
                for name, size, array in zip(direction[start:stop], sizes[start:stop], known, strict=True)
            ]
            joined = write.emit("Concat", *parts, axis=0) if parts[1:] else parts[0]
            made.append(write.emit("Unsqueeze", joined, write.integers([0])))
        return write.emit("Concat", *made, axis=0) if made[1:] else made[0]

    places = {"W": (0, 1), "R": (1, 2), "B": (2, 4), "P": (4, width)}
    return [stacked(key, start, stop) for key, (start, stop) in places.items() if start < width]


def _activations(node: Node, spec: RecurrentSpec, write: OnnxWriter) -> dict[str, Any]:
    """Return f, g, h of each direction. ONNX assigns alphas and betas in that order to the functions that take one."""
    chosen = [f for d in range(spec.num_directions) for f in spec.functions(d)]
    if chosen == [*spec.FUNCTIONS.values()] * spec.num_directions:
        return {}
    alphas = [attribute(f.alpha, "alpha", node, write) for f in chosen if f.kind in TAKES_ALPHA]
    betas = [attribute(f.beta, "beta", node, write) for f in chosen if f.kind in TAKES_BETA]
    return {
        "activations": [f.kind.title().replace("_", "") for f in chosen],
        "activation_alpha": alphas or None,
        "activation_beta": betas or None,
    }
