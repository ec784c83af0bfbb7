"""The effect of the state before a step on the state after it: the Jacobian dh_t/dh_{t-1}, and products of Jacobians.

    dh_T/dh_0 = dh_T/dh_{T-1} dh_{T-1}/dh_{T-2} ... dh_1/dh_0

If these products shrink, a network forgets, and its gradients vanish. If they grow, its gradients explode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgru.arrays import Array
from fastgru.errors import ShapeError, StateError, UnsupportedModelError
from fastgru.graph import Graph
from fastgru.layers import Layer
from fastgru.learn.backward import backward, forward
from fastgru.learn.losses import check_finite
from fastgru.learn.network import Network, as_floats, graph_of
from fastgru.spec import RECURRENT, spec_of

__all__ = ["jacobians", "product"]


def jacobians(
    net: Network, x: ArrayLike, h0: Mapping[str, ArrayLike] | None = None, *, dtype: str = "float64"
) -> Array:
    """Return the Jacobians dh_t/dh_{t-1} of every step t and row n, as an array (T, N, S, S).

    Element [t, n, i, j] is the derivative of unit i of the state after step t with respect to unit j of the state
    before. S counts the units of all states of the network, in the order of the layers.

    net: a layer, a `Sequential`, a model or a graph. All its recurrent layers go forward.
    x: a batch of sequences, as for a call of the network.
    h0: the initial states (D, N, H) by name. States that are missing begin with zeros.
    dtype: the dtype of the computation, "float64" or "float32".

    Raises `StateError` for a network without a state, `UnsupportedModelError` for a layer that goes backward or a node
    without a gradient, and `ShapeError` if x or h0 does not fit.
    """
    graph = graph_of(net, rank=net.default_rank if isinstance(net, Layer) else None, initial_state=True)
    batch_first = _check_forward(graph)
    given = as_floats("x", x, dtype)
    check_finite("x", given)
    (name, *others) = [spec.name for spec in graph.inputs if spec.name not in graph.states]
    if others:
        raise ShapeError(
            f"jacobians: the network has the inputs {name}, {', '.join(others)} besides its states, expected one input"
        )
    rank = next(len(spec.shape) for spec in graph.inputs if spec.name == name and spec.shape is not None)
    if given.ndim != rank:
        raise ShapeError(f"x: got shape {given.shape}, expected {rank} axes")
    frames = given.swapaxes(0, 1) if batch_first else given
    T, N = frames.shape[:2]
    states = _initial(graph, h0 or {}, N, dtype)
    steps = []
    for t in range(T):
        frame = frames[t : t + 1].swapaxes(0, 1) if batch_first else frames[t : t + 1]
        made, states = _step(graph, name, frame, states, dtype, axis=0 if batch_first else 1)
        steps.append(made)
    size = sum(a.shape[0] * a.shape[2] for a in states.values())
    return np.stack(steps) if steps else np.zeros((0, N, size, size), dtype)


def product(jacobians: Array, start: int = 0, stop: int | None = None) -> Array:
    """Return dh_stop/dh_start (N, S, S), the product of the Jacobians of the steps from `start` to `stop` - 1.

    jacobians: (T, N, S, S), as `jacobians` returns them. Raises `ShapeError` for another number of axes.
    stop: None means T.
    """
    if jacobians.ndim != 4:
        raise ShapeError(f"jacobians: got shape {jacobians.shape}, expected (T, N, S, S)")
    _, N, S, _ = jacobians.shape
    whole = np.broadcast_to(np.eye(S, dtype=jacobians.dtype), (N, S, S)).copy()
    for step in jacobians[start:stop]:
        whole = step @ whole
    return whole


def _check_forward(graph: Graph) -> bool:
    """Return whether the batch is the first axis. Raises for a graph without states or with a backward layer."""
    nodes = [node for node in graph.nodes if node.op in RECURRENT]
    if not graph.states or not nodes:
        raise StateError(
            "the network has no Jacobian, because it has no recurrent layer whose state is an input and an output"
        )
    specs = [spec_of(node.op, node.attrs) for node in nodes]
    for node, spec in zip(nodes, specs, strict=True):
        if spec.direction != "forward":
            raise UnsupportedModelError(
                f"{node}: its direction is {spec.direction!r}, expected 'forward'; a layer that goes backward has no"
                " Jacobian from step to step"
            )
    return specs[0].batch_first


def _initial(graph: Graph, h0: Mapping[str, Any], N: int, dtype: str) -> dict[str, Array]:
    """Return the initial states by the names of their inputs, (D, N, H) each. Raises `ShapeError`."""
    if unknown := sorted(set(h0) - set(graph.states)):
        raise ShapeError(f"h0: got {', '.join(unknown)}, expected states of the network: {', '.join(graph.states)}")
    found = {}
    for spec in graph.inputs:
        if spec.name not in graph.states:
            continue
        shape = tuple(N if n is None else n for n in spec.shape or ())
        a = as_floats(spec.name, h0[spec.name], dtype) if spec.name in h0 else np.zeros(shape, dtype)
        if a.shape != shape or len(shape) != 3:
            raise ShapeError(f"{spec.name}: got shape {a.shape}, expected {shape}")
        check_finite(spec.name, a)
        found[spec.name] = a
    return found


def _step(
    graph: Graph, name: str, frame: Array, states: Mapping[str, Array], dtype: str, *, axis: int
) -> tuple[Array, dict[str, Array]]:
    """Return the Jacobian (N, S, S) of one step, and the states after it.

    Each row is repeated for each of the S units, so that one backward pass gives the slopes of all units by all others.
    """
    N = frame.shape[axis]
    sizes = {key: a.shape[0] * a.shape[2] for key, a in states.items()}
    S = sum(sizes.values())
    wide = {key: np.repeat(a, S, axis=1) for key, a in states.items()}
    values = forward(graph, {name: np.repeat(frame, S, axis=axis), **wide}, dtype)
    ups, first = {}, 0
    for key, a in states.items():
        seed = np.zeros((N, S, a.shape[0], a.shape[2]), dtype)
        units = np.arange(sizes[key])
        seed.reshape(N, S, -1)[:, first + units, units] = 1
        ups[graph.states[key]] = seed.reshape(N * S, a.shape[0], a.shape[2]).swapaxes(0, 1)
        first += sizes[key]
    found = backward(graph, values, ups)
    taken = [found.get(key, np.zeros_like(wide[key])).swapaxes(0, 1).reshape(N, S, sizes[key]) for key in states]
    after = {key: values[graph.states[key]][:, ::S].astype(dtype) for key in states}
    return np.concatenate(taken, axis=2), after
