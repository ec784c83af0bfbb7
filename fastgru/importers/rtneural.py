"""RTNeural's layer JSON: {"in_shape": [...], "layers": [{"type", "activation", "shape", "weights"}, ...]}.

RTNeural runs a model frame by frame, so every layer gives one output for every step. Matrices are (I, O), as in Keras.
Its GRU resets after the matrix product: kernel (I, 3H), recurrent kernel (H, 3H), bias (2, 3H), z before r.
Source: RTNeural/model_loader.h and python/model_utils.py of RTNeural.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from fastgru.arrays import Array
from fastgru.conventions import from_keras_gates
from fastgru.errors import InvalidModelError, ShapeError, SpecError, UnreadTensorsError, UnsupportedModelError
from fastgru.graph import Graph
from fastgru.graphbuilder import GraphBuilder, Value
from fastgru.spec import GRUSpec

__all__ = ["graph_from_rtneural", "is_rtneural"]


_ACTIVATIONS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "elu": ("activation", {"kind": "elu", "alpha": 1.0, "beta": 0.0}),
    "relu": ("activation", {"kind": "relu", "alpha": 0.0, "beta": 0.0}),
    "sigmoid": ("activation", {"kind": "sigmoid", "alpha": 0.0, "beta": 0.0}),
    "softmax": ("softmax", {"axis": 2}),
    "tanh": ("activation", {"kind": "tanh", "alpha": 0.0, "beta": 0.0}),
}

# Keys that trainers and programs write beside the layers, and that do not affect the output.
_AROUND: Final = frozenset({
    "author", "comment", "date", "description", "epoch", "epochs", "esr", "in_shape", "input_batch", "layers",
    "license", "loss", "metadata", "name", "output_batch", "sample_rate", "samplerate", "title", "version",
})  # fmt: skip


def is_rtneural(data: Any) -> bool:
    """Return whether parsed JSON is a model in RTNeural's layer format."""
    return isinstance(data, Mapping) and "layers" in data and "in_shape" in data


def graph_from_rtneural(data: Any, *, name: str, allow_unread: bool = False) -> Graph:
    """Return the graph of a model in RTNeural's layer JSON: input "x" (N, T, I), output "y" (N, T, O), states zero.

    allow_unread: accept entries of "weights" that their layer does not use.

    Raises `UnsupportedModelError` that lists every layer that is not implemented; `InvalidModelError` if the file is
    damaged, its weights do not fit its layers, or its sizes contradict its "shape" entries; `UnreadTensorsError` for
    weights left over.
    """
    if not is_rtneural(data):
        raise InvalidModelError(f"{name}: expected a JSON object with 'in_shape' and 'layers'")
    # Programs that embed RTNeural add gains and skips: a key that is not 0, null or "" may change the sound.
    if odd := [key for key, v in data.items() if key not in _AROUND and v not in (0, None, "")]:
        raise UnsupportedModelError(
            f"{name}: the file sets {', '.join(repr(key) for key in odd[:8])}, which RTNeural's format does not define:"
            " apply it outside of the model and remove it from the file"
        )
    if not isinstance(data["layers"], list) or not data["layers"]:
        raise InvalidModelError(f"{name}: 'layers' must be a list with at least one layer")
    graph, size = GraphBuilder("float32"), _last_size(data["in_shape"], f"{name}: in_shape")
    x = graph.input("x", "float32", (None, None, size), ("batch", None, None))
    reading = _Reading(graph, x, size, allow_unread=allow_unread)
    faults = []
    for n, layer in enumerate(data["layers"]):
        try:
            reading.read(layer, n)
        except UnsupportedModelError as error:
            faults.append(str(error))
            if not reading.skip(layer, n):
                break
        except (InvalidModelError, ShapeError, SpecError, UnreadTensorsError) as error:
            if faults:  # the error may come from an unread layer, whose declared width may be wrong
                break
            kind = UnreadTensorsError if isinstance(error, UnreadTensorsError) else InvalidModelError
            raise kind(f"{name}: {error}") from None
    if faults:
        told = "\n  ".join(["not supported:", *faults]) if faults[1:] else faults[0]
        raise UnsupportedModelError(f"{name}: {told}\nExport the network to ONNX or .keras, and load that file.")
    if reading.value is x:
        raise InvalidModelError("layers: no layer computes anything from the input")
    made = graph.graph({"x": x}, {"y": reading.value})
    meta = {"format": "rtneural", "producer": "RTNeural"}
    return replace(made, constants=_exact(made.constants), meta=meta).validate()


class _Entry:
    """One entry of "layers"; each value is checked when it is read."""

    def __init__(self, data: Any, number: int) -> None:
        self.number = number
        if not isinstance(data, Mapping) or not isinstance(data.get("type"), str):
            raise InvalidModelError(f"layers[{number}] is {data!r:.60}, expected an object with a 'type'")
        self.type: str = data["type"]
        self._data = data
        activation, weights = data.get("activation", ""), data.get("weights", [])
        if not isinstance(activation, str) or not isinstance(weights, list):
            raise InvalidModelError(f"{self}: 'activation' must be a text and 'weights' a list")
        self.activation = activation
        self._weights = weights
        self._read: set[int] = set()

    def __str__(self) -> str:
        return f"layers[{self.number}] ({self.type[:40]})"

    @property
    def size(self) -> int:
        return _last_size(self._data.get("shape"), f"{self}: shape")

    @property
    def count(self) -> int:
        return len(self._weights)

    @property
    def epsilon(self) -> float:
        value = self._data.get("epsilon")
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e30:
            raise InvalidModelError(f"{self}: epsilon is {value!r:.60}, expected a number")
        return float(value)

    def array(self, index: int, shape: tuple[int, ...] | None) -> Array:
        """Return weights[index] as an array of `shape`; None allows any shape."""
        if index >= len(self._weights):
            raise InvalidModelError(f"{self}: weights[{index}] is missing, expected shape {shape}")
        self._read.add(index)
        try:
            array = np.asarray(self._weights[index])
        except (ValueError, OverflowError, RecursionError):
            raise InvalidModelError(
                f"{self}: weights[{index}] is not an array, because its rows have different lengths"
            ) from None
        if array.dtype.kind not in "fiu" or (shape is not None and array.shape != shape):
            raise InvalidModelError(
                f"{self}: weights[{index}] has shape {array.shape} and dtype {array.dtype}, expected numbers of {shape}"
            )
        return array.astype(np.float64)

    def check_all_read(self) -> None:
        if unread := sorted(set(range(len(self._weights))) - self._read):
            raise UnreadTensorsError(
                f"{self}: weights[{unread[0]}] of {len(self._weights)} is not read; allow_unread=True accepts this"
            )


class _Reading:
    def __init__(self, graph: GraphBuilder, x: Value, size: int, *, allow_unread: bool) -> None:
        self.value, self.size = x, size
        self._graph, self._allow_unread = graph, allow_unread
        self._readers: Mapping[str, Callable[[_Entry], None]] = {
            "activation": lambda layer: None,
            "batchnorm": self._batchnorm,
            "dense": self._dense,
            "gru": self._gru,
            "prelu": self._prelu,
            "time-distributed-dense": self._dense,
        }

    def read(self, data: Any, n: int) -> None:
        """Add one entry of "layers": its operation, then the activation that it names."""
        kind = data.get("type") if isinstance(data, Mapping) else None
        if isinstance(kind, str) and kind not in self._readers:
            raise UnsupportedModelError(
                f"layers[{n}] ({kind[:40]}): layers of this type are not implemented; implemented are"
                f" {', '.join(sorted(self._readers))}"
            )
        layer = _Entry(data, n)
        self._readers[layer.type](layer)
        if not self._allow_unread:
            layer.check_all_read()
        if layer.type != "gru" and layer.activation:
            if layer.activation not in _ACTIVATIONS:
                raise UnsupportedModelError(
                    f"{layer}: activation {layer.activation!r} is not one of {', '.join(sorted(_ACTIVATIONS))}"
                )
            op, attrs = _ACTIVATIONS[layer.activation]
            self._add(op, layer, (), attrs, suffix=f"_{layer.activation}")
        if layer.size != self.size:
            raise InvalidModelError(f"{layer}: its shape has {layer.size} outputs, but its weights have {self.size}")

    def skip(self, data: Any, n: int) -> bool:
        """Continue after a layer that cannot be read, with the width that it declares; return False without a width."""
        try:
            self.size = _last_size(data.get("shape"), f"layers[{n}]: shape")
        except (InvalidModelError, UnsupportedModelError):
            return False
        self.value = self._graph.input(f"behind_{n}", "float32", (None, None, self.size), ("batch", None, None))
        return True

    def _add(
        self, op: str, layer: _Entry, arrays: Sequence[Array | None], attrs: Mapping[str, Any], suffix: str = ""
    ) -> None:
        base = f"layers_{layer.number}_{layer.type}{suffix}"
        constants = [
            None if array is None else self._graph.constant(array, f"{base}/weights_{i}")
            for i, array in enumerate(arrays)
        ]
        if op == "gru":
            names = [base, f"{base}/h_n"]
            self.value, _ = self._graph.add_many(op, [self.value, None, None, None, *constants], names, attrs)
        else:
            self.value = self._graph.add(op, [self.value, *constants], base, attrs)

    def _dense(self, layer: _Entry) -> None:
        kernel = layer.array(0, (self.size, layer.size))
        bias = (layer.array(1, (layer.size,)),) if layer.count > 1 else ()
        self._add("linear", layer, (np.ascontiguousarray(kernel.T), *bias), {})
        self.size = layer.size

    def _gru(self, layer: _Entry) -> None:
        if layer.activation not in ("", "tanh"):
            raise UnsupportedModelError(
                f"{layer}: activation is {layer.activation!r}, expected 'tanh', the only one of RTNeural's GRU"
            )
        H = layer.size
        kernel, recurrent = layer.array(0, (self.size, 3 * H)), layer.array(1, (H, 3 * H))
        bias = layer.array(2, (2, 3 * H))
        w = from_keras_gates(kernel, recurrent, bias, reset_after=True, what=str(layer))
        spec = GRUSpec(self.size, H, reset_after=True, batch_first=True)
        self._add("gru", layer, (w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh), {"spec": spec.to_dict()})
        self.size = H

    def _prelu(self, layer: _Entry) -> None:
        slopes = layer.array(0, None)
        if slopes.ndim > 2 or slopes.shape[:-1] not in ((), (1,)) or slopes.shape[-1:] not in ((self.size,), (1,)):
            raise InvalidModelError(f"{layer}: weights[0] has shape {slopes.shape}, expected (1, {self.size})")
        self._add("prelu", layer, (slopes.reshape(-1),), {})

    def _batchnorm(self, layer: _Entry) -> None:
        arrays = [layer.array(i, (self.size,)) for i in range(layer.count)]
        if layer.count == 2:  # not affine: only mean and variance
            arrays = [np.ones(self.size), np.zeros(self.size), *arrays]
        if len(arrays) != 4:
            raise InvalidModelError(f"{layer}: got {layer.count} weights, expected 4, or 2 without gamma and beta")
        self._add("batch_norm", layer, tuple(arrays), {"axis": 2, "epsilon": layer.epsilon})


def _last_size(shape: Any, what: str) -> int:
    """Return the number of features of [null, null, features]."""
    if isinstance(shape, list) and len(shape) == 4:
        raise UnsupportedModelError(
            f"{what} is {shape!r:.60}: frames with two axes need convolutions, which are not supported"
        )
    size = shape[-1] if isinstance(shape, list) and len(shape) in (1, 2, 3) else None
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size < 1 << 31:
        raise InvalidModelError(
            f"{what} is {shape!r:.60}, expected up to three sizes that end in the number of features"
        )
    return size


def _exact(constants: Mapping[str, Array]) -> dict[str, Array]:
    """Return the constants in float32 if this is exact for all of them, as it is for models trained in Keras."""
    with np.errstate(over="ignore"):
        narrow = {name: array.astype(np.float32) for name, array in constants.items()}
    if all(np.array_equal(narrow[n], a, equal_nan=True) for n, a in constants.items()):
        return narrow
    return dict(constants)
