"""The loss of a network, and its gradients by every weight and every input, by the definitions.

E is the sum over the steps of E_t. dE/dW is the sum of the gradients of the E_t, each of which goes back from its step
through all steps before it. The gradients of each E_t can be returned as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from fastgru.arrays import Array
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Graph
from fastgru.layers import Layer
from fastgru.learn.backward import backward, forward
from fastgru.learn.losses import Loss, check_finite, check_targets, loss_named
from fastgru.learn.network import Network, as_floats, feeds_of, graph_of, output_of, time_axis_of, weight_names
from fastgru.records import dataclass

__all__ = ["Gradients", "Options", "gradients"]


class Options(TypedDict, total=False):
    """The keyword options of `gradients` that have defaults.

    reduction: "sum" (the default) adds the losses of all places that count; "mean" divides by the number of places.
    output: the name of the output that the loss is computed from. Needed only if the network has several.
    time_axis: the axis of time in the output. Needed only if it does not follow from the network.
    dtype: the dtype of the computation, "float64" (the default) or "float32".
    """

    reduction: str
    output: str
    time_axis: int
    dtype: str


class _Asked(NamedTuple):
    reduction: str = "sum"
    output: str | None = None
    time_axis: int | None = None
    dtype: str = "float64"


@dataclass(frozen=True)
class Gradients:
    """The result of `gradients`.

    loss: E, the loss of all steps.
    steps: E_t, the loss of each step, (T,). It has one entry if the output has no time axis.
    output: the output that the loss was computed from.
    weights, inputs: the gradient of E with respect to each weight and each floating-point input, by name. Each has the
        shape of its weight or input. Weights that E does not depend on have gradients of zero.
    by_step: for each step, the pair (weights, inputs) with the gradients of E_t alone. Empty without `by_step=True`.
    """

    loss: float
    steps: Array
    output: Array
    weights: Mapping[str, Array]
    inputs: Mapping[str, Array]
    by_step: tuple[tuple[Mapping[str, Array], Mapping[str, Array]], ...] = ()


def gradients(
    net: Network,
    x: ArrayLike | Mapping[str, ArrayLike],
    targets: ArrayLike,
    *,
    loss: str | Loss = "cross_entropy",
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    by_step: bool = False,
    **options: Unpack[Options],
) -> Gradients:
    """Compute the loss E of a network, and the gradients of E with respect to every weight and floating-point input.

    E is the sum of the losses E_t of the steps. The gradients are computed by the definitions in NumPy.

    net: a layer, a `Sequential`, a `Model` or a `Graph`, with weights in float32 or float64. The weights of layers have
        the names of a PyTorch state dict ("1.weight_ih_l0"); those of a model have the names in its file.
    x: an array as for a call of the network, or a mapping with every input by name. In a mapping, a layer takes its
        initial state (D, N, H) as "h0"; a network with several recurrent layers takes "h0_0", "h0_1"...
    targets: for a cross entropy, classes (integers with the shape of the output without its last axis) or distributions
        (floats with the shape of the output). For an error, floats with the shape of the output.
    loss: "cross_entropy", "cross_entropy_of_logs", "cross_entropy_of_probabilities", "squared_error",
        "absolute_error", or a function like these: (y, targets) -> (E, dE/dy).
    mask: bool, with the shape of the output without its last axis. Only places that are True count in the loss.
    lengths: (N,) integers, for layers only. Row n has the steps 0 to lengths[n] - 1. Steps after them are not read
        and do not count.
    by_step: also compute the gradients of each E_t alone, which takes T times as long.
    reduction: "sum", or "mean" to divide by the number of places that count.
    output: the name of the output that the loss is computed from. Needed only if the network has several.
    time_axis: the axis of time in the output. Needed only if it does not follow from the network.
    dtype: the dtype of the computation, "float64" or "float32".

    Raises `ShapeError` if an array does not fit, if a target is out of range, or if an input is NaN or infinite;
    `UnsupportedModelError` for a node without a gradient, for weights of low precision, and for another dtype;
    `TypeError` for an unknown option.
    """
    asked = _checked(options)
    function = loss_named(loss)
    graph, feeds = _bind(net, x, lengths, asked.dtype)
    values = forward(graph, feeds, asked.dtype)
    name = output_of(graph, asked.output)
    y = values[name]
    if y.ndim == 0 or y.dtype.kind != "f":
        raise ShapeError(f"output {name!r}: got {y.dtype} {y.shape}, expected floats with at least one axis")
    time = time_axis_of(graph, name, {k: np.asarray(a) for k, a in feeds.items()})
    if asked.time_axis is not None:
        if asked.time_axis not in range(y.ndim - 1):
            raise ShapeError(
                f"time_axis is {asked.time_axis!r}, expected one of the first {y.ndim - 1} axes of {y.shape}"
            )
        time = asked.time_axis
    time = None if time is None or time >= y.ndim - 1 else time
    counted = _counted(y.shape[:-1], mask, lengths, net, time)
    each, slope = _taken(function, y, check_targets(function, targets, y.shape, counted), counted)
    scale = 1.0 if asked.reduction == "sum" or not counted.any() else 1 / int(counted.sum())
    each, slope = each * scale, slope * scale
    steps = each.sum(keepdims=True).reshape(1) if time is None else each.sum(axis=_others(each.ndim, time))

    def parts(up: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        found = backward(graph, values, {name: up})
        weights = {k: found.get(k, np.zeros_like(values[k])) for k in weight_names(graph)}
        floats = [s.name for s in graph.inputs if values[s.name].dtype.kind == "f"]
        return weights, {k: found.get(k, np.zeros_like(values[k])) for k in floats}

    weights, inputs = parts(slope)
    apart: tuple[Any, ...] = ()
    if by_step:
        apart = tuple(parts(slope if time is None else _only(slope, time, t)) for t in range(len(steps)))
    return Gradients(float(steps.sum()), steps, y, weights, inputs, apart)


def _checked(options: Mapping[str, Any]) -> _Asked:
    """Return the options with their defaults. Raises `TypeError` for an unknown one.

    Raises `ShapeError` for another reduction, and `UnsupportedModelError` for another dtype.
    """
    if unknown := sorted(set(options) - set(_Asked._fields)):
        raise TypeError(f"gradients has no option {', '.join(unknown)}; its options are {', '.join(_Asked._fields)}")
    asked = _Asked(**options)
    if asked.reduction not in ("sum", "mean"):
        raise ShapeError(f"reduction is {asked.reduction!r}, expected 'sum' or 'mean'")
    if asked.dtype not in ("float64", "float32"):
        raise UnsupportedModelError(f"dtype is {asked.dtype!r}, expected 'float64' or 'float32'")
    return asked


def _bind(net: Network, x: Any, lengths: Any, dtype: str) -> tuple[Graph, dict[str, Array]]:
    """Return the graph of the network for this x, and its inputs by name. Raises `ShapeError` if one is not finite."""
    more = {} if lengths is None else {"lengths": np.asarray(lengths)}
    named = isinstance(x, Mapping)
    main = x.get("x") if named else x
    if named and isinstance(net, Layer) and main is None:
        raise ShapeError(f"x: got a mapping with {', '.join(x) or 'no input'}, expected x among its inputs")
    rank = None if main is None else as_floats("x", main, dtype).ndim
    if isinstance(net, Layer):
        graph = graph_of(net, rank=rank, lengths=lengths is not None, initial_state=named and len(x) > 1)
    else:
        graph = graph_of(net, lengths=lengths is not None)
    feeds = {name: as_floats(name, a, dtype) for name, a in feeds_of(graph, x, more).items()}
    if lengths is not None and rank is not None:
        feeds["x"] = _cut(net, feeds["x"], more["lengths"])
    for name, a in feeds.items():
        check_finite(name, a)
    return graph, feeds


def _cut(net: Network, x: Array, lengths: Array) -> Array:
    """Return x with zeros after the last step of each row. Raises `ShapeError` for lengths that do not fit."""
    first = bool(getattr(net, "batch_first", False))
    T, N = x.shape[:2][::-1] if first else x.shape[:2]
    if lengths.shape != (N,) or lengths.dtype.kind not in "iu" or (N and not 0 <= lengths.min() <= lengths.max() <= T):
        raise ShapeError(f"lengths: got {lengths.tolist()}, expected {N} integers from 0 to {T}")
    within = np.arange(T)[:, None] < lengths
    within = within.T if first else within
    return np.where(within.reshape(*within.shape, *[1] * (x.ndim - 2)), x, np.zeros((), x.dtype))


def _counted(shape: tuple[int, ...], mask: Any, lengths: Any, net: Network, time: int | None) -> Array:
    """Return which places count in the loss, as an array of bools."""
    counted = np.ones(shape, bool)
    if mask is not None:
        given = np.asarray(mask)
        if given.shape != shape or given.dtype != np.bool_:
            raise ShapeError(f"mask: got {given.dtype} {given.shape}, expected bool {shape}")
        counted &= given
    if lengths is not None and time is not None:
        row = 0 if getattr(net, "batch_first", False) else 1
        along = [1] * len(shape)
        along[time] = shape[time]
        rows = [1] * len(shape)
        rows[row] = shape[row]
        counted &= np.arange(shape[time]).reshape(along) < np.asarray(lengths).reshape(rows)
    return counted


def _taken(function: Loss, y: Array, targets: Array, counted: Array) -> tuple[Array, Array]:
    """Return E of each place, and dE/dy, with zeros for places that do not count.

    Raises `ShapeError` if the function returns other shapes.
    """
    each, slope = (np.asarray(a) for a in function(y, targets))
    if each.shape != counted.shape or slope.shape != y.shape:
        raise ShapeError(
            f"loss: the function returned E {each.shape} and dE/dy {slope.shape} for outputs {y.shape}, expected"
            f" {counted.shape} and {y.shape}"
        )
    return np.where(counted, each, 0), np.where(counted[..., None], slope, 0)


def _others(rank: int, axis: int) -> tuple[int, ...]:
    return tuple(i for i in range(rank) if i != axis)


def _only(slope: Array, axis: int, t: int) -> Array:
    """Return `slope` at step t, and zeros at all others."""
    kept = np.zeros_like(slope)
    at: tuple[Any, ...] = (*[slice(None)] * axis, t)
    kept[at] = slope[at]
    return kept
