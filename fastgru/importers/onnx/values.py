"""Values of the graph under construction, and what is known of them: dtype and rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fastgru.errors import InvalidModelError
from fastgru.reference.einsum import parse_equation

__all__ = ["MAX_RANK", "Kind", "Size", "Value", "infer"]

Array = NDArray[Any]
Size = int | str | None

MAX_RANK = 32  # what every NumPy holds


@dataclass(frozen=True)
class Kind:
    """dtype (a name of `graph.DTYPES`) and rank of a value; None for what is not known."""

    dtype: str | None = None
    rank: int | None = None


@dataclass(eq=False)
class Value:
    """One tensor: `array` where it is constant, else an input or a node's output.

    `tainted` marks what comes from a node that could not be converted: nothing is said of its readers.
    `sizes` of its axes and `elements` of a vector of integers: see `fastgru.importers.onnx.sizes`.
    """

    kind: Kind
    hint: str
    array: Array | None = None
    tainted: bool = False
    sizes: tuple[Size, ...] | None = None
    elements: tuple[Size, ...] | None = None

    @property
    def dtype(self) -> str | None:
        return self.kind.dtype

    @property
    def rank(self) -> int | None:
        return self.kind.rank

    @classmethod
    def constant(cls, array: Array, hint: str) -> Value:
        return cls(Kind(array.dtype.name, array.ndim), hint, array)


def infer(op: str, inputs: Sequence[Value | None], attrs: dict[str, Any], outputs: int) -> list[Kind]:
    """What is known of the outputs of a node of `fastgru.reference.OPS`."""
    first = next((v.kind for v in inputs if v is not None), Kind())
    rank = _rank(op, inputs, attrs, first.rank)
    if rank is not None and rank > MAX_RANK:
        raise InvalidModelError(f"a tensor of {rank} axes, expected at most {MAX_RANK}")
    kinds = [Kind(_dtype(op, inputs, attrs, first.dtype), rank)] * outputs
    if op == "dynamic_quantize":
        kinds = [Kind("uint8", rank), Kind(first.dtype, 0), Kind("uint8", 0)][:outputs]
    return [kinds[0], Kind("int64", rank)] if op == "topk" and outputs == 2 else kinds


def _dtype(op: str, inputs: Sequence[Value | None], attrs: dict[str, Any], first: str | None) -> str | None:
    match op:
        case "compare" | "logical":
            return "bool"
        case "unary" if attrs["kind"] in ("isinf", "isnan"):
            return "bool"
        case "shape" | "arg" | "nonzero":
            return "int64"
        case "cast" | "quantize":
            return str(attrs["to"])
        case "dequantize":
            return None if inputs[1] is None else inputs[1].dtype
        case "matmul_integer" | "conv_integer":
            return "int32"
        case "constant_of_shape":
            return str(attrs["dtype"])
        case "where" | "embedding":
            return None if inputs[1] is None else inputs[1].dtype
        case _:
            return first


def _rank(op: str, inputs: Sequence[Value | None], attrs: dict[str, Any], first: int | None) -> int | None:
    match op:
        case "binary" | "compare" | "logical" | "where" | "prelu":
            return _widest(inputs)
        case "gru" | "lstm" | "rnn":
            return 3
        case "matmul" | "matmul_integer":
            return _matmul(first, None if inputs[1] is None else inputs[1].rank)
        case "reshape" | "expand" | "constant_of_shape":
            return _from_shape(op, inputs, first)
        case "squeeze":
            return _squeezed(first, inputs[0], attrs["axes"])
        case "unsqueeze":
            return None if first is None else first + len(attrs["axes"])
        case "flatten":
            return 2
        case "gather":
            index = None if inputs[1] is None else inputs[1].rank
            return None if first is None or index is None else first - 1 + index
        case "gather_nd":
            return _gathered(first, inputs[1], attrs.get("batch_dims", 0))
        case "einsum":
            ranks = [v.rank for v in inputs if v is not None]
            if any(r is None for r in ranks):
                return None
            return len(parse_equation(attrs["equation"], [r for r in ranks if r is not None])[1])
        case "nonzero":
            return 2
        case "stft":
            return 4
        case "gather_elements":
            return first
        case "embedding":
            return None if first is None else first + 1
        case "shape" | "range":
            return 1
        case "reduce" | "arg":
            if attrs["keepdims"] or first is None:
                return first
            axes = [attrs["axis"]] if op == "arg" else attrs["axes"]
            return first - len({a % first for a in axes}) if axes and first else 0
        case _:
            return first


def _widest(inputs: Sequence[Value | None]) -> int | None:
    ranks = [v.rank for v in inputs if v is not None]
    return None if None in ranks or not ranks else max(r for r in ranks if r is not None)


def _squeezed(first: int | None, x: Value | None, axes: Sequence[int]) -> int | None:
    """Without axes, every axis of one: known where every size is."""
    if first is None or x is None or axes:
        return None if first is None else first - len(set(axes))
    sizes = x.sizes or ()
    return sum(size != 1 for size in sizes) if len(sizes) == first and all(isinstance(s, int) for s in sizes) else None


def _gathered(first: int | None, indices: Value | None, lead: int) -> int | None:
    """Axes of the indices but the last, and of the input those that the last does not point into."""
    if first is None or indices is None or not indices.rank:
        return None
    sizes = indices.sizes if indices.array is None else indices.array.shape
    depth = sizes[-1] if sizes else None
    return indices.rank - 1 + first - lead - depth if isinstance(depth, int) and lead + depth <= first else None


def _matmul(a: int | None, b: int | None) -> int | None:
    if a is None or b is None:
        return None
    return max(a, b, 2) - (a == 1) - (b == 1)


def _from_shape(op: str, inputs: Sequence[Value | None], first: int | None) -> int | None:
    """The rank that a vector of sizes gives, known where its length is."""
    count = _length(inputs[0] if op == "constant_of_shape" else inputs[1])
    if op != "expand" or count is None:
        return count
    return None if first is None else max(first, count)


def _length(vector: Value | None) -> int | None:
    """The number of elements of a vector, None where it is not known."""
    if vector is None:
        return None
    if vector.array is not None:
        return int(vector.array.size)
    if vector.elements is not None:
        return len(vector.elements)
    size = vector.sizes[0] if vector.sizes is not None and len(vector.sizes) == 1 else None
    return size if isinstance(size, int) else None
