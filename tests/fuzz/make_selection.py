"""Operators that pick, count, order and write at positions; reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
from graph_builder import Builder, RejectError, Value
from graph_registry import generates
from make_shape import any_value


def positions(b: Builder, shape_of: Any, size: int, *, negative: bool) -> Value:
    """Indices below `size`, in a constant or an input."""
    if size < 1:
        raise RejectError("nothing to point at")
    kind = np.int32 if b.chance(0.25) else np.int64
    return b.fresh(shape_of, kind, -size if negative and b.opset >= 11 and b.chance(0.5) else 0, size - 1)


@generates("Gather")
def gather(b: Builder, op: str) -> object:
    x = any_value(b, (1, 4), where=lambda v: all(a.size for a in v.arrays))
    axis = b.integer(0, x.rank - 1)
    shape = [b.size() for _ in range(b.integer(0, 2))]
    index = positions(b, shape, min(x.sizes[axis]), negative=True)
    return b.add(
        op,
        [x, index],
        exact="moves",
        axis=b.pick([None, b.axis([axis], x.rank)]) if axis == 0 else b.axis([axis], x.rank),
    )


@generates("GatherElements")
def gather_elements(b: Builder, op: str) -> object:
    x = any_value(b, (1, 4), where=lambda v: all(a.size for a in v.arrays))
    axis = b.integer(0, x.rank - 1)
    sizes = [b.size() if i == axis else s for i, s in enumerate(x.sizes)]
    return b.add(
        op, [x, positions(b, sizes, min(x.sizes[axis]), negative=True)], exact="moves", axis=b.axis([axis], x.rank)
    )


def tuples(b: Builder, x: Value, lead: int, depth: int, sizes: list[Any]) -> Value:
    """Index tuples (*sizes, depth) into the axes of x from `lead` on."""
    limits = [min(x.sizes[lead + i]) for i in range(depth)]
    if min(limits) < 1:
        raise RejectError("nothing to point at")
    fixed = [n for n, m in sizes if n == m]
    if len(fixed) != len(sizes):
        raise RejectError("free sizes")
    low = [-n if b.chance(0.3) else 0 for n in limits]
    array = np.stack([b.numbers.integers(a, n, fixed) for a, n in zip(low, limits, strict=True)], axis=-1)
    return b.constant(array.astype(np.int64))


@generates("GatherND")
def gather_nd(b: Builder, op: str) -> object:
    x = b.value(b.pick("ffi"), (1, 4))
    lead = b.integer(0, x.rank - 1) if b.version(op) >= 12 and b.chance(0.4) else 0
    if any(n != m for n, m in x.sizes[:lead]):
        lead = 0
    depth = b.integer(1, x.rank - lead)
    sizes = [*x.sizes[:lead], *((n, n) for n in (b.integer(1, 4) for _ in range(b.integer(0, 2))))]
    index = tuples(b, x, lead, depth, sizes)
    return b.add(op, [x, index], exact="moves", batch_dims=lead or None)


def reduction(b: Builder, op: str) -> str | None:
    version = b.version(op)
    if version < 16 or b.chance(0.4):
        return None
    return str(b.pick(["none", "add", "mul"] + (["max", "min"] if version >= 18 else [])))


@generates("Scatter", "ScatterElements")
def scatter_elements(b: Builder, op: str) -> object:
    if op == "Scatter" and b.opset >= 11:
        raise RejectError("gone with opset 11")
    x = b.value(b.pick("fffi"), (1, 4), where=lambda v: all(a.size for a in v.arrays))
    axis = b.integer(0, x.rank - 1)
    size = min(x.sizes[axis])
    sizes = [(b.integer(1, min(s)),) * 2 if i == axis or b.chance(0.4) else s for i, s in enumerate(x.sizes)]
    kind = reduction(b, op)
    if kind in (None, "none"):  # no position twice: which one wins is nobody's promise
        shapes = [tuple(s[k] for s in sizes) for k in (0, 1)]
        if shapes[0] != shapes[1]:
            raise RejectError("free sizes")
        order = np.argsort(b.numbers.random((*(n for i, n in enumerate(shapes[0]) if i != axis), size)), axis=-1)
        order = np.moveaxis(order[..., : shapes[0][axis]], -1, axis)
        if b.opset >= 11 and b.chance(0.4):
            order = np.where(b.numbers.random(order.shape) < 0.5, order - size, order)
        index = b.constant(order.astype(np.int64))
    else:
        index = positions(b, sizes, size, negative=True)
    updates = b.fresh(sizes, x.dtype)
    exact = "moves" if kind in (None, "none", "max", "min") else "ring"
    return b.add(op, [x, index, updates], exact=exact, axis=b.axis([axis], x.rank), reduction=kind)


@generates("ScatterND")
def scatter_nd(b: Builder, op: str) -> object:
    x = b.value(b.pick("fffi"), (1, 4), where=lambda v: all(a.size for a in v.arrays))
    depth = b.integer(1, x.rank)
    kind = reduction(b, op)
    limits = [min(s) for s in x.sizes[:depth]]
    count = b.integer(1, min(6, int(np.prod(limits))))
    if kind in (None, "none"):
        flat = b.numbers.permutation(int(np.prod(limits)))[:count]
    else:
        flat = b.numbers.integers(0, int(np.prod(limits)), count)
    index = np.stack(np.unravel_index(flat, limits), axis=-1).astype(np.int64)
    sizes = [(count, count), *x.sizes[depth:]]
    if count % 2 == 0 and b.chance(0.3):
        index, sizes = index.reshape(2, count // 2, depth), [(2, 2), (count // 2, count // 2), *x.sizes[depth:]]
    exact = "moves" if kind in (None, "none", "max", "min") else "ring"
    return b.add(op, [x, b.constant(index), b.fresh(sizes, x.dtype)], exact=exact, reduction=kind)


@generates("Compress")
def compress(b: Builder, op: str) -> object:
    x = any_value(b, (1, 4))
    if b.chance(0.3) and x.fixed:
        count = x.arrays[0].size
        return b.add(op, [x, b.constant(b.numbers.random(b.integer(0, count)) < 0.5)], exact="moves")
    axis = b.pick([i for i in range(x.rank) if min(x.sizes[i])])
    condition = b.numbers.random(b.integer(1, min(x.sizes[axis]))) < 0.6
    return b.add(op, [x, b.constant(condition)], exact="moves", axis=b.axis([axis], x.rank))


@generates("OneHot")
def one_hot(b: Builder, op: str) -> object:
    depth = b.integer(1, 6)
    # Before version 11 ONNX's text and ONNX Runtime differ on what is negative.
    index = b.value("i", (0, 3), low=-depth - 1 if b.version(op) >= 11 else 0, high=depth)
    kind = b.pick([b.float, b.float, np.dtype(np.int64)])
    count = b.ints(depth if b.chance(0.5) else [depth])
    values = b.constant(np.array([0, 1] if b.chance(0.5) else [-1, 2], kind))
    return b.add(
        op,
        [index, count, values],
        exact="moves",
        axis=b.pick([None, b.integer(0, index.rank), -1, -2 if index.rank else -1]),
    )


@generates("NonZero")
def nonzero(b: Builder, op: str) -> object:
    shape = [b.integer(1, 4) for _ in range(b.integer(1, 3))]
    return b.add(op, [b.constant(b.numbers.integers(-1, 2, shape).astype(b.pick([b.float, np.int64])))])


@generates("Unique")
def unique(b: Builder, op: str) -> object:
    shape = [b.integer(1, 5) for _ in range(b.integer(1, 3))]
    x = b.constant(b.numbers.integers(-2, 3, shape).astype(b.pick([b.float, np.int64])))
    axis = b.pick([None, b.axis(len(shape), len(shape))])
    # onnx's reference, the oracle of version 28, keeps the order of elements where it is asked for that of slices.
    in_order = b.pick([None, 1] if b.version(op) >= 28 and axis is not None else [None, 0, 1])
    return b.add(op, [x], 4, exact="moves", axis=axis, sorted=in_order)


@generates("ReverseSequence")
def reverse_sequence(b: Builder, op: str) -> object:
    time, batch = b.pick([(0, 1), (1, 0)])
    x = b.value(b.pick("ffi"), (2, 4), where=lambda v: min(v.sizes[time]) > 0)
    lengths = b.fresh([x.sizes[batch]], np.int64, 1, min(x.sizes[time]))
    return b.add(op, [x, lengths], exact="moves", time_axis=time, batch_axis=batch)


@generates("CumSum", "CumProd")
def running(b: Builder, op: str) -> object:
    x = b.value("i" if b.chance(0.15) else "f", (1, 4))
    axis = b.ints(b.axis(x.rank, x.rank), np.int32 if b.chance(0.3) else np.int64)
    return b.add(op, [x, axis], exact="ring", exclusive=b.pick([None, 0, 1]), reverse=b.pick([None, 0, 1]))


@generates("TopK")
def topk(b: Builder, op: str) -> object:
    x = b.value("i" if b.version(op) >= 11 and b.chance(0.15) else "f", (1, 4), exact=True,
                where=lambda v: all(a.size for a in v.arrays))  # fmt: skip
    axis = b.integer(0, x.rank - 1)
    k = b.integer(1, min(x.sizes[axis]))
    if b.version(op) < 10:
        return b.add(op, [x], 2, exact="moves", axis=axis, k=k)
    attrs = {"largest": b.pick([None, 0, 1]), "sorted": 1} if b.version(op) >= 11 else {}
    return b.add(op, [x, b.ints([k])], 2, exact="moves", axis=b.axis([axis], x.rank), **attrs)


@generates("ArgMax", "ArgMin")
def arg(b: Builder, op: str) -> object:
    x = b.value("i" if b.chance(0.15) else "f", (1, 4), exact=True, where=lambda v: all(a.size for a in v.arrays))
    last = b.pick([None, 0, 1]) if b.version(op) >= 12 else None
    axis = b.pick([None, b.axis(x.rank, x.rank)])
    return b.add(op, [x], axis=axis, keepdims=b.pick([None, 0, 1]), select_last_index=last)


@generates("Hardmax")
def hardmax(b: Builder, op: str) -> object:
    x = b.value(ranks=(1 if b.version(op) >= 13 else 2, 4), exact=True, where=lambda v: all(a.size for a in v.arrays))
    return b.add(op, [x], exact="moves", axis=b.pick([None, b.axis(x.rank, x.rank)]))


REDUCTIONS = {
    "ReduceL1": None, "ReduceL2": None, "ReduceLogSum": (0.1, 20), "ReduceLogSumExp": (-20, 20), "ReduceMax": None,
    "ReduceMean": None, "ReduceMin": None, "ReduceProd": (-3, 3), "ReduceSum": None, "ReduceSumSquare": None,
}  # fmt: skip


@generates(*REDUCTIONS)
def reduce(b: Builder, op: str) -> object:
    domain = REDUCTIONS[op]
    bounds = {} if domain is None else {"low": domain[0], "high": domain[1]}
    kind = "i" if op in ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd") and b.chance(0.2) else "f"
    if op in ("ReduceMax", "ReduceMin") and b.version(op) >= 20 and b.chance(0.15):
        kind, bounds = "b", {}
    x = b.value(kind, (0, 5), where=lambda v: all(a.size for a in v.arrays), **bounds)
    since = 13 if op == "ReduceSum" else 18
    axes = [b.axis([a], x.rank) for a in b.rng.sample(range(x.rank), b.integer(0, x.rank))]
    exact = {"ReduceMax": "moves", "ReduceMin": "moves"}.get(
        op, "ring" if op in ("ReduceSum", "ReduceProd", "ReduceL1", "ReduceSumSquare") else "no"
    )
    keep = b.pick([None, 0, 1])
    if b.version(op) >= since:
        given = b.ints(axes, np.int64) if axes or b.chance(0.3) else None
        return b.add(op, [x, given], exact=exact, keepdims=keep, noop_with_empty_axes=b.pick([None, 0, 1]))
    return b.add(op, [x], exact=exact, keepdims=keep, axes=axes or None)
