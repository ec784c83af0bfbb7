"""Gradients of reductions along axes, such as sums and means."""

from collections.abc import Sequence

import numpy as np

from fastgru.errors import UnsupportedModelError
from fastgru.graph import Array
from fastgru.reference.gradients.registry import Gradients, gradient

__all__ = ["reduce"]


@gradient("reduce")
def reduce(
    ups: Sequence[Array],
    inputs: Sequence[Array],
    outputs: Sequence[Array],
    *,
    kind: str,
    axes: Sequence[int],
    keepdims: bool,
) -> Gradients:
    """dx = dy for a sum and dy / count for a mean. Elements that are equal to a maximum or minimum share dy.

    The length of a vector of zeros ("l2") has the gradient 0, as in torch.
    """
    (dy,), (x,), (y,) = ups, inputs, outputs
    along = tuple(axis % x.ndim for axis in axes) or tuple(range(x.ndim))
    if not keepdims:
        dy, y = np.expand_dims(dy, along), np.expand_dims(y, along)
    count = int(np.prod([x.shape[axis] for axis in along]))
    match kind:
        case "sum":
            return [np.broadcast_to(dy, x.shape)]
        case "mean":
            return [np.broadcast_to(dy / count, x.shape)]
        case "max" | "min":
            reached = x == y
            return [dy * reached / reached.sum(axis=along, keepdims=True)]
        case "l1":
            return [dy * np.sign(x)]
        case "l2":
            return [dy * x / np.where(y == 0, 1, y)]
        case "sum_square":
            return [2 * dy * x]
        case "log_sum":
            return [dy / np.exp(y) + np.zeros_like(x)]
        case "log_sum_exp":
            return [dy * np.exp(x - y)]
        case "prod":
            raise UnsupportedModelError(
                "the gradient of a product of elements is not implemented; multiply them in pairs"
            )
    return [None]
