"""The operator GRU, with every attribute and input of its versions 7, 14 and 22.

ONNX: X (T, N, I), W (D, 3H, I), R (D, 3H, H), B (D, 6H), sequence_lens (N,), initial_h (D, N, H) -> Y (T, D, N, H),
Y_h (D, N, H); layout 1 has the batch first in X, initial_h, Y (N, T, D, H) and Y_h (N, D, H). Gates are z, r, h.
"""

from __future__ import annotations

from fastgru.conventions import activations_from_onnx, from_onnx_gates
from fastgru.errors import ShapeError
from fastgru.importers.onnx.builder import Builder
from fastgru.importers.onnx.node import OnnxNode
from fastgru.importers.onnx.products import finite
from fastgru.importers.onnx.registry import operator
from fastgru.importers.onnx.values import Value
from fastgru.spec import DIRECTIONS, GRUSpec, GRUWeights

__all__: list[str] = []

_WEIGHTS = ("W", "R", "B")


@operator("GRU", versions=(7, 14, 22), inputs=(3, 6), outputs=2, constants={1: "W", 2: "R", 3: "B"})
def _gru(node: OnnxNode, build: Builder) -> tuple[Value, Value]:
    weights = _weights(node)
    direction = _direction(node, len(weights))
    spec = _spec(node, build, weights, direction)
    x, initial_h = node.input(0), node.optional(5)
    _check_input(node, x, 3, "X")
    if initial_h is not None:
        _check_input(node, initial_h, 3, "initial_h")
        initial_h = build.emit("transpose", initial_h, perm=[1, 0, 2]) if spec.batch_first else initial_h
    arrays: list[Value | None] = []
    for d, w in enumerate(weights):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            array = getattr(w, name)
            arrays.append(None if array is None else build.constant(array, f"{build.node_name}.{name}.{d}"))
    y, h_n = build.emit_all("gru", [x, initial_h, node.optional(4), None, *arrays], 2, {"spec": spec.to_dict()})
    return _onnx_outputs(y, h_n, spec, build)


def _onnx_outputs(y: Value, h_n: Value, spec: GRUSpec, build: Builder) -> tuple[Value, Value]:
    """y (T, N, D * H), h_n (D, N, H) -> Y, Y_h: ONNX gives the direction an axis of its own."""
    D, H = spec.num_directions, spec.hidden_size
    if spec.batch_first:
        Y = build.emit("reshape", y, build.integers([0, 0, D, H]))
        return Y, build.emit("transpose", h_n, perm=[1, 0, 2])
    if D == 1:
        return build.emit("unsqueeze", y, axes=[1]), h_n
    apart = build.emit("reshape", y, build.integers([0, 0, D, H]))
    return build.emit("transpose", apart, perm=[0, 2, 1, 3]), h_n


def _weights(node: OnnxNode) -> tuple[GRUWeights, ...]:
    arrays = []
    for i, name in enumerate(_WEIGHTS, start=1):
        value = node.optional(i) if name == "B" else node.input(i)
        arrays.append(None if value is None else finite(value, node, f"input {name}").array)
    W, R, B = arrays
    assert W is not None
    assert R is not None
    try:
        return from_onnx_gates(W, R, B, what=node.what)
    except ShapeError as error:
        raise node.invalid(str(error).removeprefix(f"{node.what}: ")) from None


def _direction(node: OnnxNode, num_directions: int) -> str:
    direction = node.attrs.string("direction", "forward")
    if direction not in DIRECTIONS:
        raise node.invalid(f"attribute 'direction' is {direction!r}, expected one of {', '.join(DIRECTIONS)}")
    if num_directions != (2 if direction == "bidirectional" else 1):
        raise node.invalid(f"attribute 'direction' is {direction!r}, but W and R are of {num_directions} direction(s)")
    return direction


def _spec(node: OnnxNode, build: Builder, weights: tuple[GRUWeights, ...], direction: str) -> GRUSpec:
    attrs = node.attrs
    H = weights[0].weight_hh.shape[1]
    if attrs.integer("hidden_size", H) != H:
        raise node.invalid(f"attribute 'hidden_size' is {attrs.integer('hidden_size')}, but R is of {H}")
    gates, candidates = activations_from_onnx(
        attrs.strings("activations"),
        attrs.numbers("activation_alpha"),
        attrs.numbers("activation_beta"),
        num_directions=len(weights),
        what=node.what,
    )
    return GRUSpec(
        input_size=weights[0].weight_ih.shape[1],
        hidden_size=H,
        direction=direction,
        reset_after=_reset_after(node, build),
        gate_activations=gates,
        candidate_activations=candidates,
        clip=attrs.number("clip") if "clip" in attrs else None,
        batch_first=node.version >= 14 and attrs.flag("layout", False),
    )


def _reset_after(node: OnnxNode, build: Builder) -> bool:
    given = node.attrs.flag("linear_before_reset", False)
    override = node.options["linear_before_reset"]
    if override is not None:
        return bool(override)
    if not given and node.options["producer"].lower().startswith("pytorch"):
        build.warnings.append(
            f"{node.what}: linear_before_reset is 0 in a file that PyTorch wrote, whose GRU is always of the other"
            " kind: some exporters drop the attribute (microsoft/onnxscript issue 2852). If the model came from"
            " torch.nn.GRU, read it with linear_before_reset=1; with linear_before_reset=0 this warning goes"
        )
    return given


def _check_input(node: OnnxNode, value: Value, rank: int, name: str) -> None:
    if value.rank not in (None, rank):
        raise node.invalid(f"input {name} has {value.rank} axes, expected {rank}")
