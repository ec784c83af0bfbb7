"""Loops: nodes that run a graph again and again.

One operator stands for ONNX's Loop and Scan. Its inputs are `limit`, `condition`, the initial states, the sequences,
and the other values that the body reads from the graph around it. In each iteration, the body takes the number of the
iteration, the states, a slice of each sequence, and the other values. It returns whether to go on, the next states, and
the values to stack. A body whose first output is "" always goes on. A state keeps its shape and dtype.

A loop over sequences ends after their last step at the latest. The iterations of a loop without sequences, and of all
loops inside another, are counted together, and more than `max_iterations` of them are an error.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final

import numpy as np

from fastgru.errors import InvalidModelError, ShapeError
from fastgru.graph import Array, Subgraph
from fastgru.reference.attributes import Axes, Count, Size
from fastgru.reference.bodies import check_body, no_dims, number, run_body, weights_inside
from fastgru.reference.dims import Bodies, Facts
from fastgru.reference.operand import ValueFacts
from fastgru.reference.operator import operator
from fastgru.reference.sizes import Size as Extent

__all__ = ["MAX_ITERATIONS", "iterations", "loop"]

Inputs = Sequence[ValueFacts | None]

MAX_ITERATIONS: Final = 100_000

_FIRST: Final = 2  # the first input after limit and condition
# The iterations of the outermost running loop and of the loops inside it.
_count: ContextVar[list[int] | None] = ContextVar("_count", default=None)


def _agree(
    *, body: Subgraph, states: int, axes: Sequence[int], backward: Sequence[bool], output_axes: Sequence[int],
    output_backward: Sequence[bool], **_: Any,
) -> None:  # fmt: skip
    if len(axes) != len(backward) or len(output_axes) != len(output_backward):
        raise InvalidModelError(
            f"got {len(axes)} axes and {len(backward)} directions of sequences, and {len(output_axes)} axes and"
            f" {len(output_backward)} directions of stacked outputs, expected as many axes as directions"
        )
    if len(body.inputs) != 1 + states + len(axes) or len(body.outputs) != 1 + states + len(output_axes):
        raise InvalidModelError(
            f"the body has {len(body.inputs)} inputs and {len(body.outputs)} outputs, which do not fit {states} states,"
            f" {len(axes)} sequences and {len(output_axes)} stacked outputs"
        )
    if "" in body.outputs[1:]:
        raise InvalidModelError("only the first output of a body may be absent")
    check_body(body)


def _given_to_loop(inputs: Inputs, attrs: Mapping[str, Any]) -> dict[str, list[ValueFacts]]:
    """Return the facts of the body's inputs: the iteration, the states, whose elements are unknown, and the slices."""
    values, K, axes = [v or ValueFacts() for v in inputs[_FIRST:]], attrs["states"], attrs["axes"]
    states = [ValueFacts(v.dtype, v.sizes) for v in values[:K]]
    slices = [
        ValueFacts(v.dtype, None if v.sizes is None else tuple(np.delete(np.array(v.sizes, object), axis)))
        for v, axis in zip(values[K:], axes, strict=False)
    ]
    return {"body": [ValueFacts("int64", ()), *states, *slices]}


def iterations(inputs: Inputs, attrs: Mapping[str, Any]) -> Extent:
    """Return how many iterations there are, None if that is not known before the loop runs."""
    limit, condition, *values = inputs
    if condition is not None or attrs["body"].outputs[0]:
        return None
    sizes = [] if limit is None else [max(n, 0) if isinstance(n, int) else n for n in limit.elements or (None,)]
    for value, axis in zip(values[attrs["states"] :], attrs["axes"], strict=False):
        sizes.append(None if value is None or value.sizes is None else value.sizes[axis])
    return sizes[0] if len(set(sizes)) == 1 else None


def _found_of_loop(
    inputs: Inputs, attrs: Mapping[str, Any], bodies: Mapping[str, Sequence[ValueFacts]]
) -> list[ValueFacts]:
    K, trips = attrs["states"], iterations(inputs, attrs)
    first = [v or ValueFacts() for v in inputs[_FIRST : _FIRST + K]]
    later = bodies["body"][1 : 1 + K]
    found = [
        ValueFacts(a.dtype or b.dtype, b.sizes if a.sizes is None else a.sizes)
        for a, b in zip(first, later, strict=True)
    ]
    for value, axis in zip(bodies["body"][1 + K :], attrs["output_axes"], strict=True):
        sizes = value.sizes
        if sizes is not None:
            at = axis % (len(sizes) + 1)
            sizes = (*sizes[:at], trips, *sizes[at:])
        found.append(ValueFacts(value.dtype, sizes))
    return found


@operator(
    "loop",
    Facts(no_dims, None, weights=weights_inside, bodies=Bodies(_given_to_loop, _found_of_loop, iterations)),
    converts=True,
    agree=_agree,
)
def loop(
    limit: Array | None = None, condition: Array | None = None, *values: Array, body: Subgraph, states: Size,
    axes: Axes, backward: Sequence[bool], output_axes: Axes, output_backward: Sequence[bool],
    max_iterations: Count = MAX_ITERATIONS,
) -> tuple[Array, ...]:  # fmt: skip
    """The states after the last iteration, then the values that are stacked along `output_axes`.

    axes, backward: along which axis each sequence is read, and whether from its end. output_backward: whether the last
    iteration comes first.
    """
    if len(values) < states + len(axes):
        raise ShapeError(
            f"got {len(values)} inputs for {states} states and {len(axes)} sequences, expected one for each"
        )
    carried, sequences = list(values[:states]), values[states : states + len(axes)]
    rest, rows = values[states + len(axes) :], list[tuple[Array, ...]]()
    lengths = {x.shape[axis] for x, axis in zip(sequences, axes, strict=True)}
    if len(lengths) > 1:
        raise ShapeError(f"the sequences have {sorted(lengths)} steps, expected the same number")
    trips = min([*lengths, *([] if limit is None else [max(number(limit, "limit", "i"), 0)])], default=None)
    outer = _count.get()
    counts = outer is not None or not sequences
    count = [0] if outer is None else outer
    reset = _count.set(count)
    try:
        goes_on = condition is None or bool(number(condition, "condition", "b"))
        while goes_on and (trips is None or len(rows) < trips):
            count[0] += counts
            if count[0] > max_iterations:
                raise ShapeError(
                    f"a loop, with the loops inside it, takes more than {max_iterations} iterations: load the model"
                    " with a larger max_iterations"
                )
            going, carried, stacked = _iteration(
                body, len(rows), carried, _slices(sequences, axes, backward, len(rows)), rest
            )
            goes_on = going is None or bool(number(going, "whether a loop goes on", "b"))
            rows.append(stacked)
        if not rows and output_axes:  # an extra iteration on zeros tells the shapes
            zeros = [np.zeros(np.delete(x.shape, axis), x.dtype) for x, axis in zip(sequences, axes, strict=True)]
            rows = [_iteration(body, 0, carried, zeros, rest)[2]]
            empty = [np.zeros((0, *a.shape), a.dtype) for a in rows[0]]
        else:
            empty = [np.stack(column) for column in zip(*rows, strict=True)]
    finally:
        _count.reset(reset)
    made = [
        np.moveaxis(a[::-1] if back else a, 0, axis)
        for a, axis, back in zip(empty, output_axes, output_backward, strict=True)
    ]
    return (*carried, *made)


def _slices(sequences: Sequence[Array], axes: Sequence[int], backward: Sequence[bool], i: int) -> list[Array]:
    return [np.take(x, -1 - i if back else i, axis) for x, axis, back in zip(sequences, axes, backward, strict=True)]


def _iteration(
    body: Subgraph, number: int, states: Sequence[Array], slices: Sequence[Array], rest: Sequence[Array]
) -> tuple[Array | None, list[Array], tuple[Array, ...]]:
    """Return whether the loop goes on, the next states, and the values to stack."""
    going, *found = run_body(body, [np.array(number, np.int64), *states, *slices], rest)
    following = found[: len(states)]
    for i, (before, after) in enumerate(zip(states, following, strict=True)):
        if before.shape != after.shape or before.dtype != after.dtype:
            raise ShapeError(
                f"state {i} of a loop ({body.inputs[1 + i]!r}) is {before.dtype} {before.shape} before an iteration and"
                f" {after.dtype} {after.shape} after it; a state keeps its shape: give it its full size from the start"
            )
    return going, following, tuple(found[len(states) :])
