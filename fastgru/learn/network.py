"""A network as a graph for learning: the names of its weights, its inputs and output, and its time axis."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Graph, Node
from fastgru.layers import Layer
from fastgru.model import Model
from fastgru.reference.facts import ValueFacts, infer_graph
from fastgru.reference.operator import is_floating
from fastgru.spec import RECURRENT, spec_of

__all__ = ["Network", "feeds_of", "graph_of", "output_of", "time_axis_of", "weight_names"]

Network: TypeAlias = Layer | Model | Graph


def graph_of(net: Network, *, rank: int | None = None, lengths: bool = False, initial_state: bool = False) -> Graph:
    """Return the graph of a network. rank: the rank of the input of layers.

    Raises `UnsupportedModelError` for weights of low precision, and if a model or graph gets `lengths`; `TypeError` for
    an object that is no network.
    """
    precision = getattr(net, "precision", "float32")
    if isinstance(net, Layer):
        graph = net.to_graph(rank=rank, lengths=lengths, initial_state=initial_state)
    elif isinstance(net, Model | Graph):
        graph = net if isinstance(net, Graph) else net.graph
        if lengths:
            raise UnsupportedModelError(
                "lengths: only layers take this argument; give a model its lengths among the inputs, by name, and mask="
                " for the places that count in the loss"
            )
    else:
        raise TypeError(f"net is {type(net).__name__}, expected a layer, a Sequential, a model or a graph")
    if graph.precisions or precision not in ("float32", "float64"):
        low = precision if precision not in ("float32", "float64") else ", ".join(sorted({*graph.precisions.values()}))
        raise UnsupportedModelError(
            f"{type(net).__name__}: its weights are {low}, which has no gradient; load the original model with"
            " precision='float32', adapt it, and quantise the result"
        )
    return graph


def weight_names(graph: Graph) -> tuple[str, ...]:
    """Return the names of the constants that can be trained: the floating-point arrays.

    Statistics of a batch_norm, and scalars, do not count.
    """
    kept = {name for node in graph.nodes if node.op == "batch_norm" for name in node.inputs[3:]}
    arrays = {name: a for name, a in graph.constants.items() if is_floating(a.dtype) and np.ndim(a)}
    return tuple(name for name in arrays if name not in kept)


def feeds_of(graph: Graph, x: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of the graph by name, from `x`, an array for the first of them or a mapping, and `more`."""
    if isinstance(x, Mapping):
        return {**x, **more}
    first = next((spec.name for spec in graph.inputs if spec.name not in graph.states), None)
    if first is None:
        raise ShapeError("x: got an array, but the network has no input besides its states")
    return {first: x, **more}


def output_of(graph: Graph, name: str | None) -> str:
    """Return the output `name`, or the only one that is no state. Raises `ShapeError`."""
    states = set(graph.states.values())
    if name is not None:
        if name not in {spec.name for spec in graph.outputs}:
            names = ", ".join(spec.name for spec in graph.outputs)
            raise ShapeError(f"output is {name!r}, expected an output of the network: {names}")
        return name
    found = [spec.name for spec in graph.outputs if spec.name not in states]
    plain = [name for name in found if name not in _last_states(graph.nodes)] or found
    if len(plain) != 1:
        if not found:
            raise ShapeError("the network has no output besides its states, and a loss needs one")
        raise ShapeError(f"the network has the outputs {', '.join(found)}; name the one for the loss with output=")
    return plain[0]


def _last_states(nodes: tuple[Node, ...]) -> set[str]:
    """Return the outputs of recurrent layers but the first: their last states."""
    return {name for node in nodes if node.op in RECURRENT for name in node.outputs[1:] if name}


def time_axis_of(graph: Graph, value: str, arrays: Mapping[str, Array]) -> int | None:
    """Return the axis of a value along which the recurrent layers go, None if there is no such axis or layer.

    arrays: the inputs. First every axis of an input counts as free; if that tells nothing, the sizes of the arrays do.
    """
    free = {spec.name: (None,) * arrays[spec.name].ndim for spec in graph.inputs if spec.name in arrays}
    opened = [
        replace(spec, shape=free[spec.name], dims=spec.dims if any(spec.dims) else ()) if spec.name in free else spec
        for spec in graph.inputs
    ]
    sized = [
        replace(spec, shape=arrays[spec.name].shape, dims=()) if spec.name in free else spec for spec in graph.inputs
    ]
    for inputs in (opened, sized):
        known = infer_graph(replace(graph, inputs=tuple(inputs)))
        for node in graph.nodes:
            if node.op not in RECURRENT:
                continue
            frames, found = (known.get(name, ValueFacts()).sizes for name in (node.inputs[0], value))
            if frames is None or found is None:
                continue
            time = frames[1 if spec_of(node.op, node.attrs).batch_first else 0]
            if time is not None and found.count(time) == 1:
                return found.index(time)
    return None


def as_floats(name: str, value: Any, dtype: str) -> Array:
    """Return `value` as an array, in `dtype` if it is floating-point. Raises `ShapeError` if it is no array."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ShapeError(f"{name}: got {type(value).__name__}, expected an array of numbers") from None
    return array.astype(dtype) if is_floating(array.dtype) else array
