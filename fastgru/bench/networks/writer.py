"""Writes ONNX files of networks as PyTorch's exporter does: its nodes around a GRU, its axes, its opset.

Activations have the batch first, (N, T, ...). Weights are drawn as in PyTorch, uniform in +-1/sqrt(fan in).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from fastgru.bench.onnx_gru import onnx_bytes
from fastgru.records import dataclass

__all__ = ["GRULayer", "Linear", "Writer"]

_OPSET, _IR_VERSION = 20, 10
_SLIDE: Final[Mapping[str, Any]] = {"auto_pad": "NOTSET", "dilations": (1, 1)}


@dataclass(frozen=True)
class Linear:
    """Names of a weight (O, I), of the same weight as (I, O), and of a bias (O,)."""

    weight: str
    transposed: str
    bias: str


@dataclass(frozen=True)
class GRULayer:
    """Names of the weights of a GRU node, its H, and its number of directions D."""

    weights: tuple[str, str, str]
    H: int
    D: int


class Writer:
    """Collects nodes and constants; `model` returns the file. Every value is known by its name."""

    def __init__(self, name: str, seed: int) -> None:
        self._name = name
        self._rng = np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._constants: dict[str, NDArray[Any]] = {}
        self._inputs: list[Any] = []

    def input(self, name: str, *shape: int, dtype: Any = np.float32) -> str:
        self._inputs.append(_declared(name, shape, dtype))
        return name

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self._constants)}"
        self._constants[name] = np.asarray(array, dtype)
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def weight(self, *shape: int, fan: float) -> str:
        return self.constant(self._rng.uniform(-(fan**-0.5), fan**-0.5, shape))

    def node(self, op: str, *inputs: str, to: str | None = None, **attrs: Any) -> str:
        """Add a node and return the name of its only output, which is `to` if that is given."""
        return self.nodes(op, *inputs, to=[to or f"v{len(self._nodes)}"], **attrs)[0]

    def nodes(self, op: str, *inputs: str, to: Sequence[str], **attrs: Any) -> Sequence[str]:
        """Add a node with several outputs, all of which are named."""
        self._nodes.append(helper.make_node(op, list(inputs), list(to), name=f"node_{len(self._nodes)}", **attrs))
        return to

    def fresh(self, count: int) -> list[str]:
        """Return names for the outputs of the next node."""
        return [f"v{len(self._nodes)}_{i}" for i in range(count)]

    def linear(self, I: int, O: int, *, gain: float = 1.0) -> Linear:
        weight, bias = self.weight(O, I, fan=I / gain**2), self.weight(O, fan=I)
        return Linear(weight, self.constant(self._constants[weight].T), bias)

    def rows(self, x: str, layer: Linear, to: str | None = None) -> str:
        """Add a layer over x (N, I)."""
        return self.node("Gemm", x, layer.weight, layer.bias, to=to, alpha=1.0, beta=1.0, transA=0, transB=1)

    def frames(self, x: str, layer: Linear) -> str:
        """Add a layer over x (N, T, I)."""
        return self.node("Add", self.node("MatMul", x, layer.transposed), layer.bias)

    def gru_layer(self, I: int, H: int, D: int = 1) -> GRULayer:
        shapes = ((D, 3 * H, I), (D, 3 * H, H), (D, 6 * H))
        W, R, B = (self.weight(*shape, fan=H) for shape in shapes)
        return GRULayer((W, R, B), H, D)

    def gru(
        self, x: str, layers: Sequence[GRULayer], N: int, *, h0: str | None = None, hn: str | None = None
    ) -> tuple[str, str]:
        """Add GRUs: x (N, T, I) -> y (N, T, D * H), and the last state of the last layer, named `hn` if given."""
        y, last = self.node("Transpose", x, perm=(1, 0, 2)), ""
        for layer in layers:
            start = h0 or self.constant(np.zeros((layer.D, N, layer.H)))
            raw, last = self.nodes(
                "GRU", y, *layer.weights, "", start, to=[self.fresh(1)[0], hn or self.fresh(2)[1]],
                direction="bidirectional" if layer.D == 2 else "forward", hidden_size=layer.H, layout=0,
                linear_before_reset=1,
            )  # fmt: skip
            transposed = self.node("Transpose", raw, perm=(0, 2, 1, 3))
            y = self.node("Reshape", transposed, self.ints(0, 0, -1), allowzero=0)
        return self.node("Transpose", y, perm=(1, 0, 2)), last

    def cell_layer(self, I: int, H: int) -> tuple[Linear, Linear]:
        """Add the weights of a GRU cell: those of its input and those of its state."""
        return self.linear(I, 3 * H), self.linear(H, 3 * H)

    def cell(self, x: str, h: str, layers: tuple[Linear, Linear], to: str | None = None) -> str:
        """Add a GRU cell over x (N, I) and h (N, H), written out node by node."""
        given, carried = (
            self.nodes("Split", self.rows(v, layer), to=self.fresh(3), axis=1, num_outputs=3)
            for v, layer in zip((x, h), layers, strict=True)
        )
        r, z = (self.node("Sigmoid", self.node("Add", carried[i], given[i])) for i in (0, 1))
        n = self.node("Tanh", self.node("Add", given[2], self.node("Mul", carried[2], r)))
        return self.node("Add", self.node("Mul", self.node("Sub", h, n), z), n, to=to)

    def conv(self, x: str, C: int, O: int, kernel: tuple[int, int], group: int = 1, **attrs: Any) -> str:
        """Add a convolution. Strides and pads are attributes."""
        fan = C // group * kernel[0] * kernel[1]
        weights = self.weight(O, C // group, *kernel, fan=fan), self.weight(O, fan=fan)
        return self.node("Conv", x, *weights, group=group, kernel_shape=kernel, **_SLIDE, **attrs)

    def conv_transpose(self, x: str, C: int, O: int, kernel: tuple[int, int], **attrs: Any) -> str:
        fan = O * kernel[0] * kernel[1]
        weights = self.weight(C, O, *kernel, fan=fan), self.weight(O, fan=fan)
        more: dict[str, Any] = {"group": 1, "kernel_shape": kernel, "output_padding": (0, 0)}
        return self.node("ConvTranspose", x, *weights, **more, **_SLIDE, **attrs)

    def model(self, *, integers: Collection[str] = (), **outputs: Sequence[int]) -> bytes:
        """Return the file, with every size fixed. outputs: the shape of each, by name. integers: outputs in int64."""
        used = {name for node in self._nodes for name in node.input}
        constants = [numpy_helper.from_array(a, name) for name, a in self._constants.items() if name in used]
        declared = [_declared(n, shape, np.int64 if n in integers else np.float32) for n, shape in outputs.items()]
        graph = helper.make_graph(self._nodes, self._name, self._inputs, declared, constants)
        return onnx_bytes(graph, _OPSET, _IR_VERSION)


def _declared(name: str, shape: Sequence[int], dtype: Any) -> Any:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
