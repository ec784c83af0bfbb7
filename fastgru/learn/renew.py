"""Make a network with other weights: the result of a fit is a new network, and the original one does not change."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np

from fastgru.arrays import Array
from fastgru.graph import Graph
from fastgru.layers import GRU, GRUCell, Layer, Sequential
from fastgru.learn.network import Network
from fastgru.model import Model

__all__ = ["renewed"]


def renewed(net: Network, weights: Mapping[str, Array]) -> Network:
    """Return `net` with `weights` in place of the constants of its graph with these names. All dtypes are kept."""
    if isinstance(net, Layer):
        return _layer(net, weights, "")
    graph = net if isinstance(net, Graph) else net.graph
    constants = {n: np.asarray(weights[n], a.dtype) if n in weights else a for n, a in graph.constants.items()}
    made = replace(graph, constants=constants)
    if isinstance(net, Graph):
        return made
    return Model(made, precision=net.precision, threads=net.threads, spin_us=net.spin_us)


def _layer(layer: Layer, weights: Mapping[str, Array], scope: str) -> Layer:
    made = copy.copy(layer)
    made.__setstate__(layer.__getstate__())  # forget everything derived from the weights
    given: Any = made
    if isinstance(layer, Sequential):
        seen: dict[int, Layer] = {}
        for k, one in enumerate(layer.layers):
            seen.setdefault(id(one), _layer(one, weights, f"{scope}{k}."))
        given.layers = tuple(seen[id(one)] for one in layer.layers)
    elif isinstance(layer, GRU):
        given.weights = tuple(
            tuple(_arrays(w, weights, scope, f"_l{k}{'_reverse' if d else ''}") for d, w in enumerate(each))
            for k, each in enumerate(layer.weights)
        )
    elif isinstance(layer, GRUCell):
        given._gru = _layer(layer._gru, weights, scope)
        given.weights = cast(GRU, given._gru).weights[0][0]
    else:
        for name in ("weight", "bias"):
            if scope + name in weights:
                old = getattr(layer, name)
                setattr(given, name, np.array(weights[scope + name], old.dtype).reshape(old.shape))
    return made


def _arrays(own: Any, weights: Mapping[str, Array], scope: str, tail: str) -> Any:
    found = {}
    for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        if (name := f"{scope}{part}{tail}") in weights:
            found[part] = np.array(weights[name], getattr(own, part).dtype)
    return replace(own, **found)
