"""Verifies files that hold only weights: each GRU in the file becomes a graph, with torch's own GRU as opponent."""

import importlib
import importlib.util
from collections.abc import Mapping

import numpy as np

from fastgru.graph import Array, Graph
from fastgru.importers.weights import FoundGRU, Weights, find_grus
from fastgru.layers import GRU
from fastgru.verify.runtimes import Runtime

__all__ = ["graphs_of", "torch_gru"]


def graphs_of(weights: Weights) -> list[tuple[FoundGRU, Graph]]:
    """Return each torch.nn.GRU among the weights as a graph with x (T, N, I) and the initial states."""
    return [
        (found, GRU.from_torch(weights, prefix=found.prefix).to_graph(initial_state=True))
        for found in find_grus(weights)
        if not found.cell
    ]


def torch_gru(found: FoundGRU, weights: Weights, graph: Graph) -> Runtime | str:
    """Return torch.nn.GRU with these weights, or the reason why it cannot be used."""
    if importlib.util.find_spec("torch") is None:
        return "not installed"
    torch = importlib.import_module("torch")
    module = torch.nn.GRU(
        found.input_size,
        found.hidden_size,
        found.num_layers,
        bias=found.bias,
        bidirectional=found.bidirectional,
        dtype=torch.float32,
    )
    start = f"{found.prefix}." if found.prefix else ""
    arrays = {name: np.array(weights[start + name], np.float32) for name, _ in module.named_parameters()}
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    states = list(graph.states)

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        h0 = np.concatenate([inputs[name] for name in states])
        with torch.no_grad():
            y, h_n = module(torch.from_numpy(inputs["x"]), torch.from_numpy(h0))
        parts = np.split(h_n.numpy(), len(states))
        return {"y": y.numpy(), **{graph.states[name]: part for name, part in zip(states, parts, strict=True)}}

    return Runtime(f"torch {torch.__version__.split('+')[0]}", run)
