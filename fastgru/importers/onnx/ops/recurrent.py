"""The operators GRU, LSTM and RNN, with every attribute and input of their versions 7, 14 and 22.

ONNX, with G gates (3: z, r, h; 4: i, o, f, c; 1): X (T, N, I), W (D, GH, I), R (D, GH, H), B (D, 2GH),
sequence_lens (N,), initial_h and initial_c (D, N, H), P (D, 3H) in the order i, o, f -> Y (T, D, N, H), Y_h and Y_c
(D, N, H); layout 1 has the batch first in X, Y (N, T, D, H), and the states (N, D, H).
"""

from collections.abc import Callable, Sequence
from typing import Any

from fastgru.arrays import Array
from fastgru.conventions import from_onnx_gates, from_onnx_lstm, from_onnx_rnn, functions_from_onnx
from fastgru.errors import ShapeError
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator
from fastgru.spec import DIRECTIONS, GRUSpec, LSTMSpec, RecurrentSpec, RNNSpec

_WEIGHTS = {"W": 1, "R": 2, "B": 3, "P": 7}


@operator("GRU", versions=(7, 14, 22), inputs=(3, 6), outputs=2, constants={1: "W", 2: "R", 3: "B"})
def _gru(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    weights = _arrays_of(node, ("W", "R", "B"), from_onnx_gates)
    fields = _common_fields(node, weights)
    gates, candidates = _functions_of(node, ("Sigmoid", "Tanh"), len(weights))
    spec = GRUSpec(
        reset_after=_reset_after(node, build), gate_activations=gates, candidate_activations=candidates, **fields
    )
    return _emit_layer(node, build, "gru", spec, weights, [node.optional(5)])


def _reset_after(node: OnnxNode, build: OnnxGraphBuilder) -> bool:
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


@operator("LSTM", versions=(7, 14, 22), inputs=(3, 8), outputs=3, constants={1: "W", 2: "R", 3: "B", 7: "P"})
def _lstm(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    weights = _arrays_of(node, ("W", "R", "B", "P"), from_onnx_lstm)
    gates, candidates, cells = _functions_of(node, ("Sigmoid", "Tanh", "Tanh"), len(weights))
    spec = LSTMSpec(
        gate_activations=gates,
        candidate_activations=candidates,
        cell_activations=cells,
        input_forget=node.attrs.flag("input_forget", False),
        **_common_fields(node, weights),
    )
    return _emit_layer(node, build, "lstm", spec, weights, [node.optional(5), node.optional(6)])


@operator("RNN", versions=(7, 14, 22), inputs=(3, 6), outputs=2, constants={1: "W", 2: "R", 3: "B"})
def _rnn(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    weights = _arrays_of(node, ("W", "R", "B"), from_onnx_rnn)
    (activations,) = _functions_of(node, ("Tanh",), len(weights))
    spec = RNNSpec(activations=activations, **_common_fields(node, weights))
    return _emit_layer(node, build, "rnn", spec, weights, [node.optional(5)])


def _emit_layer(
    node: OnnxNode,
    build: OnnxGraphBuilder,
    op: str,
    spec: RecurrentSpec,
    weights: Sequence[Any],
    initial: Sequence[Value | None],
) -> tuple[Value, ...]:
    """The node of a layer, and what ONNX makes of its outputs: the direction has an axis of its own.

    initial: the value of each state before the first step, as ONNX has it.
    """
    x = node.input(0)
    _check_rank(node, x, "X")
    states: list[Value | None] = []
    for name, value in zip(spec.STATES, initial, strict=True):
        if value is not None:
            _check_rank(node, value, f"initial_{name}")
            value = build.emit("transpose", value, perm=[1, 0, 2]) if spec.batch_first else value
        states.append(value)
    arrays: list[Value | None] = []
    for d, w in enumerate(weights):
        for name in spec.weight_shapes:
            array = getattr(w, name)
            arrays.append(None if array is None else build.constant(array, f"{build.node_name}.{name}.{d}"))
    inputs = [x, states[0], node.optional(4), None, *states[1:], *arrays]
    y, *last = build.emit_all(op, inputs, 1 + len(states), {"spec": spec.to_dict()})
    D, H = spec.num_directions, spec.hidden_size
    if spec.batch_first:
        Y = build.emit("reshape", y, build.integers([0, 0, D, H]))
        return Y, *(build.emit("transpose", state, perm=[1, 0, 2]) for state in last)
    if D == 1:
        return build.emit("unsqueeze", y, axes=[1]), *last
    apart = build.emit("reshape", y, build.integers([0, 0, D, H]))
    return build.emit("transpose", apart, perm=[0, 2, 1, 3]), *last


def _arrays_of(node: OnnxNode, names: Sequence[str], convert: Callable[..., tuple[Any, ...]]) -> tuple[Any, ...]:
    """The weights of each direction: the inputs `names` through the verb of `fastgru.conventions` for them."""
    arrays: list[Array | None] = []
    for name in names:
        value = node.input(_WEIGHTS[name]) if name in "WR" else node.optional(_WEIGHTS[name])
        arrays.append(None if value is None else node.finite(value, f"input {name}").array)
    try:
        return convert(*arrays, what=node.what)
    except ShapeError as error:
        raise node.invalid(str(error).removeprefix(f"{node.what}: ")) from None


def _functions_of(node: OnnxNode, defaults: Sequence[str], num_directions: int) -> tuple[Any, ...]:
    """The activations of each function, one a direction."""
    attrs = node.attrs
    return functions_from_onnx(
        attrs.strings("activations"),
        attrs.numbers("activation_alpha"),
        attrs.numbers("activation_beta"),
        defaults=defaults,
        num_directions=num_directions,
        what=node.what,
    )


def _common_fields(node: OnnxNode, weights: Sequence[Any]) -> dict[str, Any]:
    """The fields that the specs of all recurrent layers have."""
    attrs = node.attrs
    H = weights[0].weight_hh.shape[1]
    if attrs.integer("hidden_size", H) != H:
        raise node.invalid(f"attribute 'hidden_size' is {attrs.integer('hidden_size')}, but R is of {H}")
    direction = attrs.choice("direction", DIRECTIONS, "forward")
    if len(weights) != (2 if direction == "bidirectional" else 1):
        raise node.invalid(f"attribute 'direction' is {direction!r}, but W and R are of {len(weights)} direction(s)")
    return {
        "input_size": weights[0].weight_ih.shape[1],
        "hidden_size": H,
        "direction": direction,
        "clip": attrs.number("clip") if "clip" in attrs else None,
        "batch_first": node.version >= 14 and attrs.flag("layout", False),
    }


def _check_rank(node: OnnxNode, value: Value, name: str) -> None:
    if value.rank not in (None, 3):
        raise node.invalid(f"input {name} has {value.rank} axes, expected 3")
