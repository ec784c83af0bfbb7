"""Infer what is true of a node, or of every value of a graph, before it runs.

    infer(op, inputs, attrs, outputs)    -> ValueFacts of each output: dtype, sizes, elements
    infer_graph(graph)                   -> ValueFacts of every value, by name
    ties(op, inputs, attrs, outputs)     -> Ties: axes that are the same, and their roles ("N" batch, "T" time)
    dtypes(op, inputs, attrs, outputs)   -> names of the dtypes only, from those of the inputs
    weights(op, attrs, inputs)           -> {number of the input: the axis of the outputs in it, or None}
    sources(op, inputs)                  -> the inputs whose elements make up the outputs
    domains(op, inputs, attrs)           -> {number of the input: ("ids", "lengths" or "mask", size)}
    mixes(op, inputs, attrs)             -> {axis of the first input along which it mixes: whether it looks ahead}
    bound(node, arrays)                  -> an upper bound on the elements of the largest array that the node makes
    work(op, inputs, attrs)              -> Work: flops, bytes that are read and written
    flops(op, inputs, attrs, found)      -> the flops only, given what `infer` found of the outputs

`inputs` are `ValueFacts`, None for an absent one: `ValueFacts.of_array(a)`, `ValueFacts.of_spec(spec)`, results of
`infer`, or `ValueFacts(dtype, sizes)`. A size is a number, the name of a free dimension, a `Polynomial` of such names
(T + 2, N * T), or None if nothing is known. Sizes that are equal here are equal whenever the model runs. A free
dimension without a name is a size of its own (`free_axis`).

Nothing here raises for a node that cannot run. Nothing is known of such a node, and its definition reports the fault.
The facts of each operator stand beside its definition, in the terms of `fastgru.reference.dims`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from itertools import zip_longest
from typing import Any, Final, NamedTuple

import numpy as np

from fastgru.errors import FastGRUError
from fastgru.graph import DTYPES, Array, Graph, Node, Subgraph
from fastgru.reference.dims import Tie, broadcast, same
from fastgru.reference.operand import MOST_ELEMENTS, Dims, Operand, Place, UnknownError, ValueFacts
from fastgru.reference.operator import OPS, numpy_dtype
from fastgru.reference.python import PYTHON, facts_of_steps
from fastgru.reference.sizes import Size, add, extreme, multiply, public

__all__ = [
    "VIEWS",
    "Ties",
    "ValueFacts",
    "Work",
    "bound",
    "domains",
    "dtypes",
    "flops",
    "infer",
    "infer_graph",
    "mixes",
    "sources",
    "ties",
    "weights",
    "work",
]

Inputs = Sequence[ValueFacts | None]

# What a function of the facts may raise if inputs or attributes contradict each other.
_FAULTS: Final = (
    UnknownError, FastGRUError, ArithmeticError, AttributeError, LookupError, StopIteration, TypeError, ValueError,
)  # fmt: skip


class Ties(NamedTuple):
    """The relations between the axes of a node. A place is (number of the value, axis).

    same: (place in the inputs, place in the outputs) of one and the same axis.
    kin: as `same`, of an axis that became one of another size: time stays time if frames are cut off or stacked.
    roles: axes of inputs that are the same axis, with the role that the operator gives it: "N" (batch), "T" (time) or
        None.
    """

    same: tuple[tuple[Place, Place], ...] = ()
    kin: tuple[tuple[Place, Place], ...] = ()
    roles: tuple[Tie, ...] = ()


class Work(NamedTuple):
    """flops: a multiply-add counts as two. nbytes: of the inputs and outputs. Each may depend on free dimensions."""

    flops: Size
    nbytes: Size


def infer(op: str, inputs: Inputs, attrs: Mapping[str, Any], outputs: int = 1) -> tuple[ValueFacts, ...]:
    """Return what is known of the outputs of a node. outputs: how many outputs the node names."""
    if _has_bodies(op):
        return _through(op, inputs, attrs, outputs, {})
    if op == PYTHON and (told := facts_of_steps(attrs, inputs)) is not None:
        return (*told, *[ValueFacts()] * outputs)[:outputs]
    operands = _operands(inputs)
    kinds = dtypes(op, [None if v is None else v.dtype for v in inputs], attrs, outputs)
    found = [
        ValueFacts(dtype, None if axes is None else tuple([public(axis.size) for axis in axes]))
        for dtype, axes in zip(kinds, _dims(op, operands, attrs, outputs), strict=True)
    ]
    elements = _elements(op, operands, attrs, found[0]) if found else None
    return tuple(found) if elements is None else (replace(found[0], elements=elements), *found[1:])


def infer_graph(graph: Graph) -> dict[str, ValueFacts]:
    """Return what is known of every value of a graph, constants and values inside nodes included."""
    known = {spec.name: ValueFacts.of_spec(spec) for spec in graph.inputs}
    known.update((name, ValueFacts.of_array(np.asarray(a))) for name, a in graph.constants.items())
    _follow(graph.nodes, known)
    known.pop("", None)
    return known


def _follow(nodes: Iterable[Node], known: dict[str, ValueFacts]) -> None:
    for node in nodes:
        inputs = [known.get(n, ValueFacts()) if n else None for n in node.inputs]
        if node.bodies:
            found = _through(node.op, inputs, node.attrs, len(node.outputs), known)
        else:
            found = infer(node.op, inputs, node.attrs, len(node.outputs))
        known.update(zip(node.outputs, found, strict=True))


def _through(
    op: str, inputs: Inputs, attrs: Mapping[str, Any], outputs: int, known: dict[str, ValueFacts]
) -> tuple[ValueFacts, ...]:
    """Return the same as `infer`, for a node with bodies. What is known of the values inside is added to `known`."""
    found = _call(_carried_through, [op, inputs, attrs, known], {})
    return (*(found or ()), *[ValueFacts()] * outputs)[:outputs]


def _carried_through(
    op: str, inputs: Inputs, attrs: Mapping[str, Any], known: dict[str, ValueFacts]
) -> Sequence[ValueFacts]:
    rules = OPS[op].facts.bodies
    assert rules is not None
    results: dict[str, list[ValueFacts]] = {}
    for key, values in rules.given(inputs, attrs).items():
        body: Subgraph = attrs[key]
        outside = [v or ValueFacts() for v in inputs[len(inputs) - len(body.captured) :]] if body.captured else []
        inner = dict(zip((*body.inputs, *body.captured), (*values, *outside), strict=True))
        _follow(body.nodes, inner)
        results[key] = [inner.get(name, ValueFacts()) for name in body.outputs]
        for name, facts in inner.items():
            known.setdefault(name, facts)
    return rules.found(inputs, attrs, results)


def ties(op: str, inputs: Inputs, attrs: Mapping[str, Any], outputs: int = 1) -> Ties:
    """Return which axes are the same, as far as that is known."""
    every = [
        (j, i, dim)
        for j, dims in enumerate(_dims(op, _operands(inputs), attrs, outputs))
        for i, dim in enumerate(dims or ())
    ]
    function = OPS[op].facts.ties if op in OPS else None
    given = {i for i, v in enumerate(inputs) if v is not None}
    named = [] if function is None else _ask(function, inputs, attrs) or []
    roles = [(role, tuple(place for place in places if place[0] in given)) for role, places in named]
    return Ties(
        tuple((place, (j, i)) for j, i, dim in every for place in sorted(dim.same)),
        tuple((place, (j, i)) for j, i, dim in every for place in sorted(dim.kin)),
        tuple((role, places) for role, places in roles if places),
    )


def dtypes(op: str, inputs: Sequence[str | None], attrs: Mapping[str, Any], outputs: int = 1) -> tuple[str | None, ...]:
    """Return the dtypes of the outputs, None for an unknown one."""
    if op not in OPS:
        return (None,) * outputs
    if _has_bodies(op):
        return tuple(v.dtype for v in infer(op, [ValueFacts(dtype) for dtype in inputs], attrs, outputs))
    rule = OPS[op].facts.dtype
    if not isinstance(rule, tuple):
        return (_dtype(rule, inputs, attrs),) * outputs
    return tuple([_dtype(rule[i] if i < len(rule) else None, inputs, attrs) for i in range(outputs)])


def _dtype(rule: Any, inputs: Sequence[str | None], attrs: Mapping[str, Any]) -> str | None:
    if callable(rule):
        rule = _call(rule, (), attrs)
    if isinstance(rule, int):
        return inputs[rule] if 0 <= rule < len(inputs) else None
    return rule if rule in DTYPES else None


def weights(op: str, attrs: Mapping[str, Any], inputs: int) -> Mapping[int, int | None]:
    """Return {number of the input: the axis of the outputs in it}, for the inputs of a node that were trained.

    The axis is None if the input is no matrix, or one that is never quantised. inputs: how many the node has.
    """
    found = OPS[op].facts.weights if op in OPS else {}
    named = _call(found, [inputs], attrs) or {} if callable(found) else found
    return {i: axis for i, axis in named.items() if i < inputs}


def sources(op: str, inputs: Sequence[Any]) -> Sequence[Any]:
    """Return the inputs whose elements make up the outputs, none if the node computes new elements."""
    moves = OPS[op].facts.moves if op in OPS else None
    return () if moves is None else inputs[moves]


def domains(op: str, inputs: Inputs, attrs: Mapping[str, Any]) -> Mapping[int, tuple[str, Size]]:
    """Return {number of the input: (what its integers or bools mean, the size of the axis that they point into)}."""
    function = OPS[op].facts.domains if op in OPS else None
    found = {} if function is None else _ask(function, inputs, attrs) or {}
    return {i: (kind, public(size)) for i, (kind, size) in found.items() if i < len(inputs) and inputs[i] is not None}


def mixes(op: str, inputs: Inputs, attrs: Mapping[str, Any]) -> Mapping[int, bool] | None:
    """Return the axes of the first input along which an output depends on elements at other places than its own.

    The value tells whether an output depends on later elements. Axes that the output does not keep do not count.
    Returns None if an output may mix elements along any axis.
    """
    function = OPS[op].facts.mixes if op in OPS else None
    rank = (inputs[0].rank if inputs and inputs[0] is not None else 0) or 0
    found = None if function is None else _ask(function, inputs, attrs)
    return None if found is None else {axis % rank: ahead for axis, ahead in found.items() if -rank <= axis < rank}


# Operators whose outputs never have more elements than the first input.
VIEWS: Final = frozenset({"flatten", "reshape", "slice", "split", "squeeze", "transpose", "unsqueeze"})


def bound(node: Node, arrays: Sequence[Array | None]) -> int:
    """Return an upper bound on the elements of the largest array that a node makes.

    Shapes that do not fit raise nothing here, because the definition reports them.
    """
    facts = OPS[node.op].facts if node.op in OPS else None
    if facts is not None and facts.bound is None and (facts.dims in (same, broadcast) or node.op in VIEWS):
        return _stretched([a.shape for a in (arrays if facts.dims is broadcast else arrays[:1]) if a is not None])
    operands = _operands([None if a is None else ValueFacts.of_array(a) for a in arrays])
    most = None if facts is None or facts.bound is None else _call(facts.bound, operands, node.attrs)
    if most is None:
        sizes = [
            multiply(*(axis.size for axis in axes)) for axes in _dims(node.op, operands, node.attrs) if axes is not None
        ]
        most = max((n for n in sizes if isinstance(n, int)), default=None)
    return sum(a.size for a in arrays if a is not None) if most is None else int(most)


def _stretched(shapes: Sequence[tuple[int, ...]]) -> int:
    """Return the number of elements that arrays of these shapes broadcast to, 0 if they do not fit each other."""
    if not shapes or shapes.count(shapes[0]) == len(shapes):
        return math.prod(shapes[0]) if shapes else 0
    sizes = [{*column} - {1} for column in zip_longest(*(shape[::-1] for shape in shapes), fillvalue=1)]
    return math.prod(n for column in sizes for n in column) if all(len(column) < 2 for column in sizes) else 0


def work(op: str, inputs: Inputs, attrs: Mapping[str, Any], outputs: int = 1) -> Work:
    """Return the flops of a node and the bytes that it reads and writes, None for an unknown number."""
    known: dict[str, ValueFacts] = {}
    found = _through(op, inputs, attrs, outputs, known) if _has_bodies(op) else infer(op, inputs, attrs, outputs)
    nbytes = add(*(_nbytes(v) for v in (*inputs, *found) if v is not None))
    if _has_bodies(op):
        return Work(_call(_flops_inside, [op, inputs, attrs, known], {}), nbytes)
    return Work(flops(op, inputs, attrs, found), nbytes)


def flops(op: str, inputs: Inputs, attrs: Mapping[str, Any], found: Sequence[ValueFacts]) -> Size:
    """Return the flops of an operator without bodies. found: what is known of its outputs."""
    each = OPS[op].facts.flops if op in OPS else None
    if callable(each):
        return public(_ask(each, inputs, attrs))
    sizes = found[0].sizes if found else None
    return 0 if each == 0 else multiply(each, *([None] if sizes is None else sizes))


def _has_bodies(op: str) -> bool:
    return op in OPS and OPS[op].facts.bodies is not None


def _flops_inside(op: str, inputs: Inputs, attrs: Mapping[str, Any], known: Mapping[str, ValueFacts]) -> Size:
    """Return the flops of the body with the fewest, times the number of its runs."""
    rules = OPS[op].facts.bodies
    assert rules is not None
    bodies = [body for body in attrs.values() if isinstance(body, Subgraph)]
    sums = [add(*(_flops(node, known) for node in body.nodes)) for body in bodies]
    return multiply(rules.times(inputs, attrs), reduce(partial(extreme, greater=False), sums))


def _flops(node: Node, known: Mapping[str, ValueFacts]) -> Size:
    inputs = [known.get(name, ValueFacts()) if name else None for name in node.inputs]
    return work(node.op, inputs, node.attrs, len(node.outputs)).flops


def _nbytes(value: ValueFacts) -> Size:
    if value.dtype is None or value.sizes is None:
        return None
    return multiply(numpy_dtype(value.dtype).itemsize, *value.sizes)


def _dims(
    op: str, operands: Sequence[Operand | None], attrs: Mapping[str, Any], outputs: int | None = None
) -> list[Dims | None]:
    """Return the axes of each output. outputs: how many, None for all outputs of the operator."""
    found = _call(OPS[op].facts.dims, operands, attrs) if op in OPS else None
    every = list(found) if isinstance(found, tuple) else [found] * (1 if outputs is None else outputs)
    # An attribute of a kind that its annotation does not allow may have become a size.
    fit = [dims if dims is not None and all(isinstance(dim.size, Size) for dim in dims) else None for dims in every]
    return fit if outputs is None else [*fit, *[None] * outputs][:outputs]


def _elements(
    op: str, operands: Sequence[Operand | None], attrs: Mapping[str, Any], output: ValueFacts
) -> tuple[Size, ...] | None:
    function = OPS[op].facts.elements if op in OPS else None
    if function is None or output.rank not in (0, 1) or output.dtype is None:
        return None
    kind = numpy_dtype(output.dtype)
    found = _call(function, operands, attrs) if kind.kind in "iub" else None
    if found is None or len(found) > MOST_ELEMENTS or len(found) != multiply(*(output.sizes or ())):
        return None
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return tuple(None if isinstance(n, int) and not low <= n <= high else public(n) for n in found)


def _ask(function: Callable[..., Any], inputs: Inputs, attrs: Mapping[str, Any]) -> Any:
    """Return the result of a function of the facts for these inputs, None if it has none."""
    return _call(function, _operands(inputs), attrs)


def _operands(inputs: Inputs) -> list[Operand | None]:
    return [None if v is None else Operand(v, i) for i, v in enumerate(inputs)]


def _call(function: Callable[..., Any], arguments: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
    """Call the function. Return None if something that it needs is not known or does not fit."""
    try:
        return function(*arguments, **attrs)
    except _FAULTS:
        return None
