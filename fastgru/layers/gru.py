"""GRU stacks, called and shaped as torch.nn.GRU, from the weights of any convention.

    r = f(x Wr^T + h Rr^T + b_r)                     z = f(x Wz^T + h Rz^T + b_z)
    reset after:  n = g(x Wn^T + b_in + r * (h Rn^T + b_hn))
    reset before: n = g(x Wn^T + b_in + (r * h) Rn^T + b_hn)
    h' = z * h + (1 - z) * n

A stack of layers is a chain of `gru` nodes, each direction of a layer with its own weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, Unpack

import numpy as np
from numpy.typing import ArrayLike

from fastgru.arrays import owned
from fastgru.conventions import activation_from_keras, activations_from_onnx, from_keras_gates, from_onnx_gates
from fastgru.errors import ShapeError, SpecError
from fastgru.graph import Array
from fastgru.layers.arrays import as_lengths, as_weight, check_last, float_input
from fastgru.layers.base import Layer, NetworkBuilder, Options, Value
from fastgru.layers.gate import GateLike, stack_gates
from fastgru.layers.torch_keys import stack_weights
from fastgru.spec import DIRECTIONS, Activation, GRUSpec, GRUWeights, check_weights

__all__ = ["GRU"]


class GRU(Layer):
    """A stack of L GRU layers, called and shaped as torch.nn.GRU. `GRUSpec` has the formulas.

    specs: one `GRUSpec` for each layer.
    weights: for each layer, one `GRUWeights` for each direction.
    flip_output: return y from its last step to its first, as Keras does with go_backwards.

    `to_graph`, `save` and `run` always return the last states, as "h_n", or as "h_n_0", "h_n_1"... in a stack.

    Raises `SpecError` if specs and weights do not fit together.
    """

    default_rank = 3
    takes_lengths = True
    _shows_states = True

    def __init__(
        self,
        specs: Sequence[GRUSpec],
        weights: Sequence[Sequence[GRUWeights]],
        *,
        flip_output: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        _check_kinds(specs, weights)
        self.specs, self.flip_output = tuple(specs), bool(flip_output)
        self.weights = tuple(tuple(layer) for layer in weights)
        _check_stack(self.specs, self.weights)
        self.weights = tuple(tuple(map(_owned, layer)) for layer in self.weights)
        self.input_size, self.batch_first = self.specs[0].input_size, self.specs[0].batch_first

    @classmethod
    def from_torch(
        cls,
        weights: Mapping[str, ArrayLike],
        prefix: str = "",
        batch_first: bool = False,
        **options: Unpack[Options],
    ) -> Self:
        """Build a GRU from the torch.nn.GRU at `prefix` ("gru" or "gru.") of a state dict.

        The keys tell the number of layers and directions. A state dict does not contain batch_first: give the value
        with which the module was made. Keys of modules below the prefix are ignored. Raises `SpecError` with the
        missing and the unknown keys, and `ShapeError` with the key of an array that does not fit.
        """
        specs, stack = stack_weights(weights, prefix, batch_first=batch_first)
        return cls(specs, stack, **options)

    @classmethod
    def from_onnx(
        cls,
        W: ArrayLike,
        R: ArrayLike,
        B: ArrayLike | None = None,
        *,
        hidden_size: int | None = None,
        linear_before_reset: int = 0,
        direction: str = "forward",
        activations: Sequence[str] | None = None,
        activation_alpha: Sequence[float] | None = None,
        activation_beta: Sequence[float] | None = None,
        clip: float | None = None,
        layout: int = 0,
        **options: Unpack[Options],
    ) -> Self:
        """Build a GRU from the inputs and attributes of the ONNX operator GRU.

        The defaults are those of the operator; so by default the reset gate acts before the matrix product.

        W: (D, 3H, I). R: (D, 3H, H). B: (D, 6H), or None for zeros.
        layout: 1 means batch_first. The states are (D, N, H) in both layouts.

        Raises `ShapeError`, `SpecError`, and `UnsupportedModelError` for an activation that ONNX does not have.
        """
        for name, value in (("linear_before_reset", linear_before_reset), ("layout", layout)):
            if value not in (0, 1):
                raise SpecError(f"GRU.from_onnx: {name} is {value!r}, expected 0 or 1")
        bias = None if B is None else as_weight("B", B)
        each = from_onnx_gates(as_weight("W", W), as_weight("R", R), bias, what="GRU.from_onnx")
        H = each[0].weight_hh.shape[1]
        if hidden_size is not None and hidden_size != H:
            raise ShapeError(f"GRU.from_onnx: hidden_size is {hidden_size}, but R is for {H}")
        if direction in DIRECTIONS and len(each) != (D := 2 if direction == "bidirectional" else 1):
            raise ShapeError(f"GRU.from_onnx: W is for {len(each)} direction(s), expected {D} for {direction!r}")
        f, g = activations_from_onnx(
            activations, activation_alpha, activation_beta, num_directions=len(each), what="GRU.from_onnx"
        )
        spec = GRUSpec(
            each[0].weight_ih.shape[1],
            H,
            direction,
            reset_after=linear_before_reset == 1,
            gate_activations=f,
            candidate_activations=g,
            clip=clip,
            batch_first=layout == 1,
        )
        return cls([spec], [each], **options)

    @classmethod
    def from_keras(
        cls,
        kernel: ArrayLike,
        recurrent_kernel: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        reset_after: bool = True,
        activation: str | None = "tanh",
        recurrent_activation: str | None = "sigmoid",
        go_backwards: bool = False,
        keras_version: int | None = None,
        batch_first: bool = True,
        **options: Unpack[Options],
    ) -> Self:
        """Build a GRU from the arrays and arguments of a Keras layer. It takes (N, T, I) unless batch_first=False.

        kernel: (I, 3H). recurrent_kernel: (H, 3H). bias: (2, 3H) with reset_after, (3H,) without, or None for zeros.
            Keras 1 had one array for each gate. Then give lists: [W_z, W_r, W_h], [U_z, U_r, U_h], [b_z, b_r, b_h].
        go_backwards: y begins with the last step of x, as in Keras.
        keras_version: 1, 2 or 3. Needed for hard_sigmoid and leaky_relu, which differ between the versions.
        """
        changed = ("hard_sigmoid", "leaky_relu")
        if keras_version is None and (activation in changed or recurrent_activation in changed):
            raise SpecError(
                "GRU.from_keras: hard_sigmoid and leaky_relu differ between versions of Keras: give keras_version,"
                " the major version that trained the weights (1, 2 or 3)"
            )
        given = {"kernel": kernel, "recurrent_kernel": recurrent_kernel} | ({} if bias is None else {"bias": bias})
        arrays = [as_weight(name, array) for name, array in given.items()]
        if arrays[0].ndim == 3:
            arrays = [np.concatenate(list(gates), axis=-1) for gates in arrays]
        w = from_keras_gates(*arrays, reset_after=reset_after, what="GRU.from_keras")
        version = 3 if keras_version is None else keras_version
        spec = GRUSpec(
            w.weight_ih.shape[1],
            w.weight_hh.shape[1],
            "reverse" if go_backwards else "forward",
            reset_after=reset_after,
            gate_activations=(activation_from_keras(recurrent_activation, version, what="GRU.from_keras"),),
            candidate_activations=(activation_from_keras(activation, version, what="GRU.from_keras"),),
            batch_first=batch_first,
        )
        return cls([spec], [(w,)], flip_output=go_backwards, **options)

    @classmethod
    def from_gates(
        cls,
        *,
        reset: GateLike,
        update: GateLike,
        candidate: GateLike,
        update_gate: str = "keeps",
        reset_after: bool = False,
        gate_activation: str | Activation = "sigmoid",
        candidate_activation: str | Activation = "tanh",
        batch_first: bool = False,
        **options: Unpack[Options],
    ) -> Self:
        """Build a GRU from three gates, as a book writes them.

        reset, update, candidate: each is (W, U) or (W, U, b) with W (H, I), U (H, H) and b (H,), or a `Gate`, such as
            the result of `Gate.concat`.
        update_gate: "keeps" for h' = u * h + (1 - u) * n, "replaces" for h' = (1 - u) * h + u * n.
        reset_after: n = g(W x + b + r * (U h)) instead of n = g(W x + U (r * h) + b).
        gate_activation, candidate_activation: the name of a kind of `Activation`, or an `Activation` with parameters.

        Raises `ShapeError` with the name of the gate, and `UnsupportedModelError` for an update gate that replaces with
        an activation for which 1 - f(x) is not f(-x).
        """
        spec, weights = stack_gates(
            {"reset": reset, "update": update, "candidate": candidate},
            update_gate=update_gate,
            reset_after=reset_after,
            gate_activation=gate_activation,
            candidate_activation=candidate_activation,
            batch_first=batch_first,
        )
        return cls([spec], [(weights,)], **options)

    @property
    def num_layers(self) -> int:
        return len(self.specs)

    @property
    def hidden_size(self) -> int:
        return self.specs[0].hidden_size

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        assert self.input_size is not None
        check_last(repr(self), x, self.input_size)
        if len(x.shape) == 2 and lengths is None:
            return self._emit_unbatched(graph, x)
        if len(x.shape) != 3:
            batch = "" if lengths is None else ", with lengths"
            raise ShapeError(f"{self!r}: input has shape {x.shape}{batch}, expected 3 axes, or 2 without a batch")
        y = x
        for k, (spec, each) in enumerate(zip(self.specs, self.weights, strict=True)):
            y = _emit_layer(graph, spec, each, y, lengths, k)
        return _emit_flip(graph, y, 1 if self.batch_first else 0) if self.flip_output else y

    def _emit_unbatched(self, graph: NetworkBuilder, x: Value) -> Value:
        axes = [0 if self.batch_first else 1]
        y = self.emit(graph, graph.apply("unsqueeze", x, axes=axes))
        return graph.apply("squeeze", y, axes=axes)

    def __call__(  # type: ignore[override]
        self, x: ArrayLike, h0: ArrayLike | None = None, lengths: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Run the stack. Returns y and h_n, as torch.nn.GRU does.

        x: (T, N, I), or (N, T, I) with batch_first, or (T, I) without a batch.
        h0: (L * D, N, H), or (L * D, H) without a batch. None means zeros.
        lengths: (N,) integers from 0 to T, in any order. y is zero after the end of a row, the reverse direction starts
            at the last valid step, and a row of length zero keeps its h0.

        Returns y (T, N, D * H), (N, T, D * H) or (T, D * H), and h_n with the shape of h0. Raises `ShapeError`.
        """
        array = self._input(x)
        if array.ndim not in (2, 3):
            raise ShapeError(f"GRU: x: got shape {array.shape}, expected 3 axes, or 2 without a batch")
        row = 0 if self.batch_first else 1
        batch = array if array.ndim == 3 else np.expand_dims(array, row)
        N, T = batch.shape[row], batch.shape[1 - row]
        feeds = {"x": batch}
        if h0 is not None:
            feeds.update(self._split_state(h0, N, batched=array.ndim == 3))
        if lengths is not None:
            feeds["lengths"] = as_lengths(lengths, N, T)
        outputs = self._runnable(3, lengths is not None, h0 is not None, True).run(feeds)
        states = [outputs[name] for name in self._state_names("h_n")]
        y, h_n = outputs["y"], states[0] if len(states) == 1 else np.concatenate(states)
        return (y, h_n) if array.ndim == 3 else (y.squeeze(row), h_n[:, 0])

    def _finish(self, outputs: tuple[Array, ...]) -> tuple[Array, Array]:
        y, *states = outputs
        return y, states[0] if len(states) == 1 else np.concatenate(states)

    def needs_last_frame(self) -> bool:
        return self.flip_output or any(spec.direction != "forward" for spec in self.specs)

    def _state_names(self, stem: str) -> list[str]:
        return [stem] if len(self.specs) == 1 else [f"{stem}_{k}" for k in range(len(self.specs))]

    def _split_state(self, h0: ArrayLike, N: int, *, batched: bool) -> dict[str, Array]:
        state = float_input("GRU: h0", h0, self.float_dtype)
        D = self.specs[0].num_directions
        rows = D * len(self.specs)
        expected = (rows, N, self.hidden_size) if batched else (rows, self.hidden_size)
        if state.shape != expected:
            raise ShapeError(f"GRU: h0: got shape {state.shape}, expected {expected}")
        state = state.reshape(rows, N, self.hidden_size)
        return {name: state[D * k : D * k + D] for k, name in enumerate(self._state_names("h0"))}

    def _summary(self) -> str:
        first = self.specs[0]
        words = [f"{first.input_size}, {first.hidden_size}"]
        words += [f"num_layers={self.num_layers}"] if self.num_layers > 1 else []
        words += [f"direction={first.direction!r}"] if first.direction != "forward" else []
        words += ["reset_after=False"] if not first.reset_after else []
        words += ["batch_first=True"] if first.batch_first else []
        return ", ".join(words)


def _owned(weights: GRUWeights) -> GRUWeights:
    """Return the weights with copies of the arrays that the caller can still change."""
    kept: dict[str, Any] = {k: a if a is None else owned(np.asarray(a)) for k, a in vars(weights).items()}
    return replace(weights, **kept)


def _emit_layer(
    graph: NetworkBuilder, spec: GRUSpec, each: Sequence[GRUWeights], x: Value, lengths: Value | None, layer: int
) -> Value:
    h0 = graph.state(spec.num_directions, x, 0 if spec.batch_first else 1, spec.hidden_size)
    inputs: list[Value | None] = [x, h0, lengths, None]
    for d, w in enumerate(each):
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            array = getattr(w, part)
            name = f"{part}_l{layer}{'_reverse' if d else ''}"
            inputs.append(None if array is None else graph.constant(array, name))
    index = len(graph.nodes)
    y, h_n = graph.add_many("gru", inputs, [f"gru.{index}", f"h_n.{index}"], {"spec": spec.to_dict()})
    graph.next_state(h0, h_n)
    return y


def _emit_flip(graph: NetworkBuilder, y: Value, axis: int) -> Value:
    bounds = {"starts": -1, "ends": np.iinfo(np.int64).min, "axes": axis, "steps": -1}
    return graph.apply("slice", y, *(graph.integers([value], name) for name, value in bounds.items()))


def _check_kinds(specs: object, weights: object) -> None:
    """Raise `SpecError` for other types: a user may pass sizes, from which torch.nn.GRU is made."""
    if (
        not isinstance(specs, Sequence)
        or not isinstance(weights, Sequence)
        or not all(isinstance(spec, GRUSpec) for spec in specs)
        or not all(isinstance(each, Sequence) and all(isinstance(w, GRUWeights) for w in each) for each in weights)
    ):
        raise SpecError(
            "GRU: expected a GRUSpec for each layer, and for each layer the GRUWeights of its directions; from_torch,"
            " from_onnx, from_keras and from_gates make a GRU of the arrays alone"
        )


def _check_stack(specs: tuple[GRUSpec, ...], weights: tuple[tuple[GRUWeights, ...], ...]) -> None:
    if not specs or len(specs) != len(weights):
        raise SpecError(
            f"GRU: got {len(specs)} spec(s), and weights for {len(weights)} layer(s), expected equally many"
        )
    for k, (spec, each) in enumerate(zip(specs, weights, strict=True)):
        check_weights(spec, each, what=f"GRU layer {k}")
        before = specs[max(k - 1, 0)]
        for name, got, expected in (
            ("input_size", spec.input_size, before.output_size if k else spec.input_size),
            ("hidden_size", spec.hidden_size, specs[0].hidden_size),
            ("number of directions", spec.num_directions, specs[0].num_directions),
            ("batch_first", spec.batch_first, specs[0].batch_first),
        ):
            if got != expected:
                raise SpecError(f"GRU layer {k}: {name} is {got}, expected {expected}")
