"""The operators GRU, LSTM and RNN, with every attribute and input of their versions 7, 14 and 22.

ONNX, with G gates (3: z, r, h; 4: i, o, f, c; 1): X (T, N, I), W (D, GH, I), R (D, GH, H), B (D, 2GH),
sequence_lens (N,), initial_h and initial_c (D, N, H), P (D, 3H) in the order i, o, f -> Y (T, D, N, H), Y_h and Y_c
(D, N, H). With layout 1 the batch comes first: X (N, T, I), Y (N, T, D, H), and states (N, D, H).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastgru.arrays import Array
from fastgru.conventions import from_onnx_gates, from_onnx_lstm, from_onnx_rnn, functions_from_onnx
from fastgru.errors import ShapeError
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator
from fastgru.spec import DIRECTIONS, GRUSpec, LSTMSpec, RecurrentSpec, RNNSpec

_WEIGHTS = {"W": 1, "R": 2, "B": 3, "P": 7}


@operator("GRU", versions=(7, 14, 22), inputs=(3, 6), outputs=2)
def _gru(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    weights = _weights_of(node, build, ("W", "R", "B"), from_onnx_gates)
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
            f"{node.what}: linear_before_reset is 0 in a file that PyTorch wrote, but torch.nn.GRU always computes with"
            " 1: some exporters drop the attribute (microsoft/onnxscript issue 2852). If the model came from"
            " torch.nn.GRU, read it with linear_before_reset=1. To silence this warning, read it with"
            " linear_before_reset=0"
        )
    return given


@operator("LSTM", versions=(7, 14, 22), inputs=(3, 8), outputs=3)
def _lstm(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    weights = _weights_of(node, build, ("W", "R", "B", "P"), from_onnx_lstm)
    gates, candidates, cells = _functions_of(node, ("Sigmoid", "Tanh", "Tanh"), len(weights))
    spec = LSTMSpec(
        gate_activations=gates,
        candidate_activations=candidates,
        cell_activations=cells,
        input_forget=node.attrs.flag("input_forget", False),
        **_common_fields(node, weights),
    )
    return _emit_layer(node, build, "lstm", spec, weights, [node.optional(5), node.optional(6)])


@operator("RNN", versions=(7, 14, 22), inputs=(3, 6), outputs=2)
def _rnn(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    weights = _weights_of(node, build, ("W", "R", "B"), from_onnx_rnn)
    (activations,) = _functions_of(node, ("Tanh",), len(weights))
    spec = RNNSpec(activations=activations, **_common_fields(node, weights))
    return _emit_layer(node, build, "rnn", spec, weights, [node.optional(5)])


def _emit_layer(
    node: OnnxNode,
    build: OnnxGraphBuilder,
    op: str,
    spec: RecurrentSpec,
    weights: Sequence[Mapping[str, Value | None]],
    initial: Sequence[Value | None],
) -> tuple[Value, ...]:
    """Emit the node of a layer, and return its outputs in ONNX's layout, where the direction has an axis of its own.

    initial: the initial value of each state, in ONNX's layout.
    """
    x = node.input(0)
    _check_rank(node, x, "X")
    states: list[Value | None] = []
    for name, value in zip(spec.STATES, initial, strict=True):
        if value is not None:
            _check_rank(node, value, f"initial_{name}")
            value = build.emit("transpose", value, perm=[1, 0, 2]) if spec.batch_first else value
        states.append(value)
    arrays = [w[name] for w in weights for name in spec.weight_shapes]
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


def _weights_of(
    node: OnnxNode, build: OnnxGraphBuilder, names: Sequence[str], convert: Callable[..., tuple[Any, ...]]
) -> list[dict[str, Value | None]]:
    """Return the weights of each direction, converted from the inputs `names`.

    convert: the function of `fastgru.conventions` for this layer. For an input that is computed while the model runs,
    it converts row numbers instead, which show where each row goes.
    """
    given = [node.input(_WEIGHTS[n]) if n in "WR" else node.optional(_WEIGHTS[n]) for n in names]
    arrays: list[Array | None] = []
    for name, value in zip(names, given, strict=True):
        if value is None or value.array is not None:
            arrays.append(None if value is None else node.finite(value, f"input {name}").array)
        elif value.sizes is None or not all(isinstance(n, int) for n in value.sizes):
            raise node.unsupported(
                f"input {name} is computed while the model runs, and the file does not tell its sizes",
                "declare the sizes, or export the model so that it is a constant",
            )
        else:
            arrays.append(_rows(value.shape))
    try:
        directions = convert(*arrays, what=node.what)
    except ShapeError as error:
        raise node.invalid(str(error).removeprefix(f"{node.what}: ")) from None
    sources = dict(zip(("weight_ih", "weight_hh", "bias", "peephole"), given, strict=False))

    def value_of(d: int, name: str, array: Array | None) -> Value | None:
        source = sources["bias" if name.startswith("bias") else name]
        if array is None or source is None or source.array is not None:
            return None if array is None else build.constant(array, f"{build.node_name}.{name}.{d}")
        whole = build.emit("gather", source, build.integers(d), axis=0)
        return build.emit(
            "gather", whole, build.integers([int(row) for row in array.reshape(len(array), -1)[:, 0]]), axis=0
        )

    return [{name: value_of(d, name, array) for name, array in vars(w).items()} for d, w in enumerate(directions)]


def _rows(shape: Sequence[Any]) -> Array:
    """Return an array (D, rows, ...) of this shape in which every element is the number of its row."""
    rows = np.arange(shape[1] if len(shape) > 1 else 0, dtype=np.float64)
    return np.broadcast_to(rows.reshape(1, -1, *[1] * (len(shape) - 2)), shape).copy()


def _functions_of(node: OnnxNode, defaults: Sequence[str], num_directions: int) -> tuple[Any, ...]:
    """Return the activations of each function, one per direction."""
    attrs, names = node.attrs, node.attrs.strings("activations")
    if len(defaults) == num_directions == 1 and names == [*defaults, *defaults]:
        names = list(defaults)  # the schema's default has two directions; optimisers write it for one direction, too
    return functions_from_onnx(
        names,
        attrs.numbers("activation_alpha"),
        attrs.numbers("activation_beta"),
        defaults=defaults,
        num_directions=num_directions,
        what=node.what,
    )


def _common_fields(node: OnnxNode, weights: Sequence[Mapping[str, Value | None]]) -> dict[str, Any]:
    """Return the fields that the specs of all recurrent layers have."""
    attrs = node.attrs
    W, R = weights[0]["weight_ih"], weights[0]["weight_hh"]
    assert W is not None
    assert R is not None
    H = R.shape[1]
    if attrs.integer("hidden_size", H) != H:
        raise node.invalid(f"attribute 'hidden_size' is {attrs.integer('hidden_size')}, but R has {H}")
    direction = attrs.choice("direction", DIRECTIONS, "forward")
    if len(weights) != (2 if direction == "bidirectional" else 1):
        raise node.invalid(f"attribute 'direction' is {direction!r}, but W and R have {len(weights)} direction(s)")
    return {
        "input_size": W.shape[1],
        "hidden_size": H,
        "direction": direction,
        "clip": attrs.number("clip") if "clip" in attrs else None,
        "batch_first": node.version >= 14 and attrs.flag("layout", False),
    }


def _check_rank(node: OnnxNode, value: Value, name: str) -> None:
    if value.rank not in (None, 3):
        raise node.invalid(f"input {name} has {value.rank} axes, expected 3")
