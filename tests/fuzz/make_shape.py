"""Operators that move elements, and arithmetic on shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from graph_builder import Builder, RejectError, Size, Value
from graph_registry import generates

FAR = (1 << 31, (1 << 63) - 1)


def any_value(b: Builder, ranks: tuple[int, int] = (0, 5), **more: Any) -> Value:
    return b.value(b.pick("ffffib"), ranks, **more)


def length(b: Builder, x: Value, axis: int) -> Value:
    """The size of an axis as a vector of one, in one of the ways in which exporters write it."""
    if b.version("Shape") >= 15 and b.chance(0.3):
        return b.add("Shape", [x], start=axis, end=axis + 1)
    shape = b.add("Shape", [x])
    if b.chance(0.5):
        if b.version("Slice") >= 10:
            return b.add("Slice", [shape, b.ints([axis]), b.ints([axis + 1])])
        return b.add("Slice", [shape], starts=[axis], ends=[axis + 1])
    if b.chance(0.5):
        return b.add("Gather", [shape, b.ints([axis])], axis=0)
    return unsqueezed(b, b.add("Gather", [shape, b.ints(axis)], axis=0), [0])


def unsqueezed(b: Builder, x: Value, axes: list[int]) -> Value:
    if b.version("Unsqueeze") >= 13:
        return b.add("Unsqueeze", [x, b.ints(axes)], exact="moves")
    return b.add("Unsqueeze", [x], exact="moves", axes=axes)


def shape_vector(b: Builder, sizes: list[Size], source: Value) -> Value:
    """A shape: numbers where they are fixed, taken from `source` where they are free."""
    if all(n == m for n, m in sizes):
        return b.ints([n for n, _ in sizes])
    parts = []
    for size in sizes:
        if size[0] == size[1] and b.chance(0.8):
            parts.append(b.ints([size[0]]))
        elif size in source.sizes:
            parts.append(length(b, source, source.sizes.index(size)))
        else:
            raise RejectError("no axis of this size")
    return b.add("Concat", parts, axis=0) if len(parts) > 1 else parts[0]


@generates("Reshape")
def reshape(b: Builder, op: str) -> object:
    x = any_value(b, (1, 5), where=lambda v: all(a.size for a in v.arrays))
    sizes: list[Size] = []
    copied: list[bool] = []
    i = 0
    while i < x.rank:
        group = x.sizes[i : i + b.integer(1, 2)]
        n, m = (int(np.prod([s[k] for s in group])) for k in (0, 1))
        copied.append(len(group) == 1 and len(sizes) == i)
        factors = [f for f in range(2, n) if n % f == 0] if n == m and b.chance(0.5) else []
        if factors:
            f = int(b.pick(factors))
            sizes += [(f, f), (n // f, n // f)]
            copied[-1:] = [False, False]
        else:
            sizes.append((n, m))
        i += len(group)
    if b.chance(0.3):
        at = b.integer(0, len(sizes))
        sizes.insert(at, (1, 1))
        copied = [*copied[:at], False, *(False for _ in copied[at:])]
    hard = [k for k, (n, m) in enumerate(sizes) if n != m and not copied[k]]
    if len(hard) <= 1 and b.chance(0.75):
        wild = hard[0] if hard else b.integer(-1, len(sizes) - 1)
        target = [
            -1 if k == wild else 0 if copied[k] and (n != m or b.chance(0.3)) else n for k, (n, m) in enumerate(sizes)
        ]
        return b.add(op, [x, b.ints(target)], exact="moves")
    merged = [k for k in hard if sizes[k] not in x.sizes]
    if len(merged) > 1:
        raise RejectError("two sizes that are no axes")
    wild = [*merged, *hard, -1][0]
    made = [b.ints([-1]) if k == wild else shape_vector(b, [s], x) for k, s in enumerate(sizes)]
    return b.add(op, [x, b.add("Concat", made, axis=0)], exact="moves")


@generates("Transpose")
def transpose(b: Builder, op: str) -> object:
    x = any_value(b)
    perm = b.rng.sample(range(x.rank), x.rank)
    return b.add(op, [x], exact="moves", perm=perm if perm and b.chance(0.9) else None)


@generates("Flatten")
def flatten(b: Builder, op: str) -> object:
    x = any_value(b) if b.version(op) >= 9 else b.value()
    if x.rank == 0:
        return b.add(op, [x], exact="moves", axis=0)
    return b.add(op, [x], exact="moves", axis=b.pick([None, b.axis(x.rank, x.rank), x.rank]))


@generates("Squeeze")
def squeeze(b: Builder, op: str) -> object:
    x = any_value(b, where=lambda v: (1, 1) in v.sizes)
    ones = [i for i, s in enumerate(x.sizes) if s == (1, 1)]
    axes = [b.axis([i], x.rank) for i in ones if b.chance(0.6)] or [ones[0]]
    if b.chance(0.15) and x.fixed:  # or the number of axes would not be known
        return b.add(op, [x], exact="moves")
    return b.add(op, [x, b.ints(axes)] if b.version(op) >= 13 else [x], exact="moves",
                 axes=None if b.version(op) >= 13 else axes)  # fmt: skip


@generates("Unsqueeze")
def unsqueeze(b: Builder, op: str) -> object:
    x = any_value(b, (0, 4))
    count = b.integer(1, 2)
    axes = b.rng.sample(range(x.rank + count), count)
    if b.opset >= 11:
        axes = [a - x.rank - count if b.chance(0.4) else a for a in axes]
    else:
        axes.sort()
    return unsqueezed(b, x, axes)


@generates("Expand")
def expand(b: Builder, op: str) -> object:
    x = any_value(b, (0, 4))
    wanted = [b.size() if s == (1, 1) and b.chance(0.6) else s for s in x.sizes]
    lead = [b.size() for _ in range(b.integer(0, 1))]
    target = [(1, 1) if s == t and b.chance(0.3) else t for s, t in zip(x.sizes, wanted, strict=True)]
    free = {s for s in target + lead if s[0] != s[1]}
    source = x
    if not free <= set(x.sizes):
        found = [v for v in b.pool if free <= set(v.sizes)]
        source = b.pick(found)
    return b.add(op, [x, shape_vector(b, lead + target, source)], exact="moves")


@generates("Tile")
def tile(b: Builder, op: str) -> object:
    x = any_value(b, (1, 4))
    return b.add(op, [x, b.ints([b.pick([1, 1, 2, 3]) for _ in range(x.rank)])], exact="moves")


@generates("Concat")
def concat(b: Builder, op: str) -> object:
    x = any_value(b, (1, 5))
    axis = b.integer(0, x.rank - 1)

    def joins(v: Value) -> bool:
        rest = (v.sizes[:axis] + v.sizes[axis + 1 :]) == (x.sizes[:axis] + x.sizes[axis + 1 :])
        return v.rank == x.rank and v.dtype == x.dtype and rest

    values = [x]
    for _ in range(b.integer(0, 3)):
        found = [v for v in b.pool if joins(v)]
        if b.chance(0.7):
            values.append(b.pick(found))
        else:
            sizes = list(x.sizes)
            if b.chance(0.6):
                size = b.integer(1, 5)
                sizes[axis] = (size, size)
            values.append(b.fresh(sizes, x.dtype))
    b.rng.shuffle(values)
    return b.add(op, values, exact="moves", axis=b.axis([axis], x.rank))


@generates("Split")
def split(b: Builder, op: str) -> object:
    x = any_value(b, (1, 5), where=lambda v: any(n == m and n > 1 for n, m in v.sizes))
    axis = b.pick([i for i, (n, m) in enumerate(x.sizes) if n == m and n > 1])
    size = x.sizes[axis][0]
    version, named = b.version(op), b.axis([axis], x.rank)
    if version >= 18 and b.chance(0.3):
        parts = b.integer(2, min(size, 4))
        return b.add(op, [x], parts, exact="moves", axis=named, num_outputs=parts)
    if b.chance(0.3):
        parts = b.pick([p for p in range(2, size + 1) if size % p == 0 and p <= 8])
        return b.add(op, [x], parts, exact="moves", axis=named, num_outputs=parts if version >= 18 else None)
    cuts = sorted(b.integer(0, size) for _ in range(b.integer(1, 3)))
    sizes = np.diff([0, *cuts, size]).tolist()
    inputs = [x, b.ints(sizes)] if version >= 13 else [x]
    return b.add(op, inputs, len(sizes), exact="moves", axis=named, split=None if version >= 13 else sizes)


@generates("Slice")
def slice_(b: Builder, op: str) -> object:
    x = any_value(b, (1, 5))
    axes = sorted(b.rng.sample(range(x.rank), b.integer(1, min(x.rank, 3))))
    starts, ends, steps = [], [], []
    for axis in axes:
        size = min(x.sizes[axis])
        if b.version(op) >= 10 and b.chance(0.3):
            start, end, step = b.pick([(-1, -FAR[1], -1), (size - 1, 0, -1), (-2, -FAR[0], -2), (FAR[1], -FAR[1], -1)])
        else:
            start = b.pick([0, 0, 1, -1, -2, size // 2, 100, -100])
            end = b.pick([size, -1, FAR[0] - 1, FAR[1], size // 2 + 1, -100])
            step = b.pick([1, 1, 1, 2, 3]) if b.version(op) >= 10 else 1
        starts.append(start), ends.append(end), steps.append(step)
    names = [b.axis([a], x.rank) for a in axes]
    if b.version(op) < 10:
        return b.add(op, [x], exact="moves", starts=starts, ends=ends, axes=axes)
    kind = np.int32 if b.chance(0.2) and max(map(abs, starts + ends)) < 1 << 31 else np.int64
    operands = [b.ints(starts, kind), b.ints(ends, kind)]
    if axes != list(range(len(axes))) or names != axes or any(s != 1 for s in steps) or b.chance(0.7):
        operands.append(b.ints(names, kind))
        if any(s != 1 for s in steps) or b.chance(0.3):
            operands.append(b.ints(steps, kind))
    return b.add(op, [x, *operands], exact="moves")


@generates("Pad")
def pad(b: Builder, op: str) -> object:
    x = b.value(
        "i" if b.version(op) >= 11 and b.chance(0.15) else "f", (1, 4), where=lambda v: all(a.size for a in v.arrays)
    )
    modes = ["constant", "constant", "edge", "reflect"] + (["wrap"] if b.version(op) >= 19 else [])
    mode = b.pick(modes)
    sizes = [min(s) for s in x.sizes]
    begins, ends = [], []
    for n in sizes:
        most = 3 if mode in ("constant", "edge") else n - 1
        low = -1 if mode == "constant" and n > 3 else 0
        begins.append(b.integer(low, min(3, most)) if b.chance(0.6) else 0)
        ends.append(b.integer(low, min(3, most)) if b.chance(0.6) else 0)
    named = None if mode == "constant" and b.chance(0.5) else mode
    if b.version(op) < 11:
        value = b.pick([None, 0.5]) if mode == "constant" else None
        return b.add(op, [x], exact="moves", mode=named, pads=begins + ends, value=value)
    value = b.constant(np.array(b.pick([0, 1, -2]), x.dtype)) if b.chance(0.5) else None
    axes = None
    if b.version(op) >= 18 and b.chance(0.4):
        chosen = b.rng.sample(range(x.rank), b.integer(1, x.rank))
        begins, ends = [begins[a] for a in chosen], [ends[a] for a in chosen]
        axes = b.ints([b.axis([a], x.rank) for a in chosen])
    return b.add(op, [x, b.ints(begins + ends), value, axes], exact="moves", mode=named)


@generates("CenterCropPad")
def center_crop_pad(b: Builder, op: str) -> object:
    x = b.value(ranks=(1, 4))
    axes = b.rng.sample(range(x.rank), b.integer(1, x.rank))
    sizes = [max(1, min(x.sizes[a]) + b.integer(-2, 3)) for a in axes]
    return b.add(op, [x, b.ints(sizes)], exact="moves", axes=[b.axis([a], x.rank) for a in axes])


@generates("Identity", "Dropout")
def handed_on(b: Builder, op: str) -> object:
    x = any_value(b) if op == "Identity" else b.value()
    if op == "Dropout" and b.version(op) >= 12 and b.chance(0.4):
        return b.add(op, [x], 2, exact="moves")
    return b.add(op, [x], exact="moves", ratio=0.25 if op == "Dropout" and b.version(op) < 12 else None)
