"""The operator GRU.

ONNX: X (T, N, I), W (D, 3H, I), R (D, 3H, H), B (D, 6H), sequence_lens int32 (N,), initial_h (D, N, H) -> Y
(T, D, N, H), Y_h (D, N, H), gates z, r, h. Its layout 1 is left alone: ONNX Runtime refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from fastgru.conventions import swap_zr
from fastgru.errors import UnsupportedModelError
from fastgru.exporters.onnx.elementwise import attribute
from fastgru.exporters.onnx.registry import exporter
from fastgru.exporters.onnx.writer import Writer
from fastgru.graph import Node
from fastgru.spec import TAKES_ALPHA, TAKES_BETA, Activation, GRUSpec

__all__: list[str] = []

Array = NDArray[Any]


@exporter("gru")
def _gru(node: Node, write: Writer) -> None:
    spec = GRUSpec.from_dict(node.attrs["spec"])
    x, h0, lengths, mask, *weights = (*node.inputs, *("" for _ in range(4 - len(node.inputs))))
    if mask:
        raise UnsupportedModelError(f"{node}: a mask of steps has no counterpart in ONNX's GRU; lengths have")
    W, R, B = _arrays(node, spec, weights, write)
    if spec.batch_first:
        x = write.emit("Transpose", x, perm=[1, 0, 2])
    if lengths:
        lengths = write.emit("Cast", lengths, to=TensorProto.INT32)
    outputs = [name or "" for name in (*node.outputs, "")[:2]]
    y, h_n = outputs
    Y = write.free(f"{node.name or y}/Y") if y else ""
    bias = "" if B is None else write.array(B, hint=f"{node.name}/B")
    write.emit_all(
        "GRU",
        [x, write.array(W, hint=f"{node.name}/W"), write.array(R, hint=f"{node.name}/R"), bias, lengths, h0],
        [Y, h_n] if h_n else [Y],
        hidden_size=spec.hidden_size,
        direction=spec.direction,
        linear_before_reset=int(spec.reset_after),
        clip=None if spec.clip is None else attribute(spec.clip, "clip", node, write),
        **_activations(node, spec, write),
    )
    if y:
        _write_y(Y, y, spec, write)


def _write_y(Y: str, y: str, spec: GRUSpec, write: Writer) -> None:
    """Y (T, D, N, H) -> y (T, N, D * H), or (N, T, D * H)."""
    if spec.num_directions == 1 and not spec.batch_first:
        write.emit("Squeeze", Y, write.integers([1]), out=y)
        return
    apart = write.emit("Transpose", Y, perm=[2, 0, 1, 3] if spec.batch_first else [0, 2, 1, 3])
    write.emit("Reshape", apart, write.integers([0, 0, spec.output_size]), out=y)


def _arrays(node: Node, spec: GRUSpec, weights: Sequence[str], write: Writer) -> tuple[Array, Array, Array | None]:
    given = [write.constant(name, node) if name else None for name in weights]
    each = [given[4 * d : 4 * d + 4] for d in range(spec.num_directions)]
    W, R = (np.stack([swap_zr(arrays[k]) for arrays in each]) for k in (0, 1))  # type: ignore[arg-type]
    if all(b is None for arrays in each for b in arrays[2:]):
        return W, R, None
    zeros = np.zeros(3 * spec.hidden_size, W.dtype)
    B = np.stack([np.concatenate([zeros if b is None else swap_zr(b) for b in arrays[2:]]) for arrays in each])
    return W, R, B


def _activations(node: Node, spec: GRUSpec, write: Writer) -> dict[str, Any]:
    """f, g of each direction; ONNX hands out alphas and betas in that order to the functions that have one."""
    chosen: list[Activation] = []
    for f, g in zip(spec.gate_activations, spec.candidate_activations, strict=True):
        chosen += [f, g]
    if {(f.kind, g.kind) for f, g in zip(chosen[::2], chosen[1::2], strict=True)} == {("sigmoid", "tanh")}:
        return {}
    alphas = [attribute(f.alpha, "alpha", node, write) for f in chosen if f.kind in TAKES_ALPHA]
    betas = [attribute(f.beta, "beta", node, write) for f in chosen if f.kind in TAKES_BETA]
    return {
        "activations": [f.kind.title().replace("_", "") for f in chosen],
        "activation_alpha": alphas or None,
        "activation_beta": betas or None,
    }
