"""What is known of sizes before any input came: of axes, and of small vectors of integers that are made of them.

A size is a number, the name of a free dimension, or None. Two axes of one name have one size whenever the model runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastgru.importers.onnx.values import Size, Value

__all__ = ["element_sizes", "elements_of", "sizes_from", "sizes_of"]

Sizes = tuple[Size, ...]

_SAME: Final = frozenset({
    "activation", "batch_norm", "cast", "clip", "cumsum", "dequantize", "layer_norm", "log_softmax",
    "quantize", "reverse_sequence", "softmax", "unary",
})  # fmt: skip
_BROADCAST: Final = frozenset({"binary", "compare", "logical", "where"})


def sizes_of(value: Value | None) -> Sizes | None:
    """The size of each axis, None where the number of axes is not known."""
    if value is None:
        return None
    if value.array is not None:
        return tuple(value.array.shape)
    if value.sizes is not None:
        return value.sizes
    return None if value.rank is None else (None,) * value.rank


def elements_of(value: Value | None) -> Sizes | None:
    """The elements of a vector or a scalar of integers, as far as they are known."""
    if value is None:
        return None
    if value.array is not None:
        small = value.array.dtype.kind in "iu" and value.array.ndim < 2 and value.array.size <= 64
        return tuple(int(v) for v in value.array.reshape(-1)) if small else None
    return value.elements


def element_sizes(op: str, inputs: Sequence[Value | None], attrs: Mapping[str, Any]) -> Sizes | None:
    """The elements of the output of a node that does arithmetic on shapes."""
    first = elements_of(inputs[0]) if inputs else None
    match op:
        case "shape":
            sizes = sizes_of(inputs[0])
            return None if sizes is None else sizes[attrs.get("start", 0) : attrs.get("end")]
        case "gather" if first is not None and attrs["axis"] == 0 and inputs[0] is not None and inputs[0].rank == 1:
            where = elements_of(inputs[1])
            if where is None or not all(isinstance(i, int) and -len(first) <= i < len(first) for i in where):
                return None
            return tuple(first[i] for i in where if isinstance(i, int))
        case "slice" if first is not None:
            parts = [elements_of(v) for v in inputs[1:]]
            if any(p is None or len(p) != 1 or not isinstance(p[0], int) for p in parts):
                return None
            start, end, *rest = (p[0] for p in parts if p is not None and isinstance(p[0], int))
            return first[start:end] if rest in ([], [0], [0, 1]) else None
        case "squeeze" | "unsqueeze" | "cast" | "reshape":
            return first if len(first or ()) == 1 or op == "cast" else None
        case "concat":
            every = [elements_of(v) for v in inputs]
            return None if None in every else tuple(n for part in every if part is not None for n in part)
    return None


def sizes_from(op: str, inputs: Sequence[Value | None], attrs: Mapping[str, Any], output: int) -> Sizes | None:
    """The sizes of an output of a node; None for nothing known."""
    x = sizes_of(inputs[0]) if inputs else None
    if op == "shape":
        return None if x is None else (len(x[attrs.get("start", 0) : attrs.get("end")]),)
    if op in _BROADCAST:
        return _broadcast([sizes_of(v) for v in inputs if v is not None])
    if op in ("expand", "constant_of_shape"):
        wanted = elements_of(inputs[1] if op == "expand" else inputs[0])
        if op == "constant_of_shape" or wanted is None:
            return wanted
        return _broadcast([x, wanted])
    if x is None:
        return None
    match op:
        case _ if op in _SAME:
            return x
        case "transpose":
            return tuple(x[i] for i in attrs["perm"]) if len(attrs["perm"]) == len(x) else None
        case "linear":
            weight = sizes_of(inputs[1])
            return (*x[:-1], weight[0]) if weight else None
        case "unsqueeze":
            rank = len(x) + len(attrs["axes"])
            axes, rest = {a % rank for a in attrs["axes"]}, iter(x)
            return tuple(1 if i in axes else next(rest, None) for i in range(rank))
        case "squeeze" if attrs["axes"] or all(isinstance(n, int) for n in x):
            axes = {a % len(x) for a in attrs["axes"]} if x else set()
            axes = axes or {i for i, n in enumerate(x) if n == 1}
            return tuple(n for i, n in enumerate(x) if i not in axes)
        case "gather":
            index = sizes_of(inputs[1])
            if index is None or not -len(x) <= attrs["axis"] < len(x):
                return None
            at = attrs["axis"] % len(x)
            return (*x[:at], *index, *x[at + 1 :])
        case "split" if -len(x) <= attrs["axis"] < len(x):
            at = attrs["axis"] % len(x)
            given = attrs.get("sizes")
            return (*x[:at], given[output] if given else None, *x[at + 1 :])
        case "concat" if -len(x) <= attrs["axis"] < len(x):
            at = attrs["axis"] % len(x)
            every = [sizes_of(v) for v in inputs]
            parts = [s[at] for s in every if s is not None and len(s) == len(x)]
            whole = sum(p for p in parts if isinstance(p, int)) if all(isinstance(p, int) for p in parts) else None
            return (*x[:at], whole if len(parts) == len(every) else None, *x[at + 1 :])
        case "gru":
            from fastgru.spec import GRUSpec

            spec = GRUSpec.from_dict(attrs["spec"])
            if output == 0:
                return (*x[:2], spec.output_size)
            return (spec.num_directions, x[0 if spec.batch_first else 1], spec.hidden_size)
    return None


def _broadcast(shapes: Sequence[Sizes | None]) -> Sizes | None:
    if any(s is None for s in shapes):
        return None
    known = [s for s in shapes if s is not None]
    rank = max(len(s) for s in known)
    result: list[Size] = []
    for i in range(rank):
        column = {s[i - rank + len(s)] for s in known if i - rank + len(s) >= 0} - {1}
        numbers = [n for n in column if isinstance(n, int)]
        result.append(1 if not column else next(iter(column)) if len(column) == 1 else numbers[0] if numbers else None)
    return tuple(result)
