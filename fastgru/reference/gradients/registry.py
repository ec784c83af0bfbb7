"""Make a function the gradient of an operator; and the common gradient of all operators that move elements."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar

import numpy as np

from fastgru.families import homes
from fastgru.graph import Array, Node
from fastgru.modules import Families
from fastgru.reference.operator import OPS, is_floating

__all__ = ["GRADIENTS", "Gradients", "gradient", "has_gradient", "pull_back", "summed_to"]

Gradients: TypeAlias = Sequence[Array | None]
Function = TypeVar("Function", bound=Callable[..., Gradients])

_gradients: Final[dict[str, Callable[..., Gradients]]] = {}
_family: Final = Families("fastgru.reference.gradients", _gradients, homes("fastgru.reference.gradients"))
GRADIENTS: Final[Mapping[str, Callable[..., Gradients]]] = _family


def gradient(name: str) -> Callable[[Function], Function]:
    """Make a function the gradient of the operator `name`. The function itself is not changed."""

    def register(function: Function) -> Function:
        entry: Callable[..., Gradients] = function
        _family.enter(name, entry, function)
        return function

    return register


def has_gradient(op: str) -> bool:
    """Return whether `pull_back` takes a node of this operator."""
    return op in OPS and (op in GRADIENTS or OPS[op].facts.moves is not None)


def pull_back(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array], ups: Sequence[Array]) -> Gradients:
    """Return dE by each input of `node`, None for one that is absent or no float, from dE by each of its outputs.

    inputs, outputs: those of the node in one floating-point dtype, as its definition takes and returns them. Raises
    `KeyError` for an operator without a gradient.
    """
    if node.op in GRADIENTS:
        found = GRADIENTS[node.op](ups, inputs, outputs, **node.attrs)
    else:
        found = _put_back(node, inputs, ups)
    return [
        None if a is None or x is None or not is_floating(x.dtype) else np.asarray(a, x.dtype)
        for x, a in zip(inputs, found, strict=False)
    ]


def _put_back(node: Node, inputs: Sequence[Array | None], ups: Sequence[Array]) -> Gradients:
    """Return the gradients of an operator that moves elements. It is run on positions, to find where each came from."""
    facts = OPS[node.op].facts
    if facts.moves is None:
        raise KeyError(node.op)
    numbered, count = list(inputs), 0
    places: dict[int, tuple[int, Array]] = {}
    for i in range(len(inputs))[facts.moves]:
        if (x := inputs[i]) is not None:
            numbered[i] = np.arange(count, count + x.size).reshape(x.shape)
            places[i] = count, x
            count += x.size
    sums = np.zeros(count, np.result_type(*ups))
    for moved, up in zip(OPS[node.op](numbered, node.attrs), ups, strict=False):
        np.add.at(sums, moved.reshape(-1), up.reshape(-1))
    found: list[Array | None] = [None] * len(inputs)
    for i, (start, x) in places.items():
        found[i] = sums[start : start + x.size].reshape(x.shape)
    return found


def summed_to(up: Array, shape: tuple[int, ...]) -> Array:
    """Return the gradient by an array of `shape` that was broadcast to the shape of `up`: `up` summed to `shape`."""
    ahead = up.ndim - len(shape)
    stretched = [ahead + i for i, n in enumerate(shape) if n == 1]
    return np.asarray(up.sum(axis=(*range(ahead), *stretched)).reshape(shape))
