"""The findings of `inspect` about a file, as plain data for JSON."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, Unpack

import numpy as np

from fastgru.cli.configured import configured_grus
from fastgru.cli.guesses import guess_grus
from fastgru.cli.pasted import code_for
from fastgru.errors import AmbiguousStateDictError, FastGRUError, UnsupportedModelError, WeightsAloneError
from fastgru.graph import Graph, Node, TensorSpec, every_node, inlined
from fastgru.importers.architecture import drafted
from fastgru.importers.files import FORMATS, detect_format
from fastgru.importers.weights import FoundGRU, Weights, find_grus, read_weights
from fastgru.load import Reading, load, load_graph, options_for
from fastgru.reference.evaluate import with_plain_weights
from fastgru.reference.foreign import OUTSIDE, describe_nodes
from fastgru.reference.python import describe_functions
from fastgru.spec import Activation, GRUSpec

__all__ = ["examine", "profile"]

# Layers whose `from_torch` needs only a prefix. The call for a GRU is `FoundGRU.recipe`.
_PLAIN: Final = ("BatchNorm1d", "Embedding", "LayerNorm", "Linear", "PReLU")
_WEIGHTS_ONLY: Final = ("npz", "torch-legacy", "torch-zip")
# Formats that hold either a whole model or only weights: the descriptions of both.
_EITHER: Final[Mapping[str, tuple[str, str]]] = {
    "hdf5": ("a Keras model in an HDF5 file", "weights in an HDF5 file"),
    "json": ("a model in RTNeural's JSON", "a state dict in JSON"),
    "safetensors": ("a model that this package saved, as safetensors", "a state dict in safetensors"),
}


def examine(file: Path, *, precision: str | None = None, **options: Unpack[Reading]) -> dict[str, Any]:
    """Return the kind "model", "weights", "choices" or "unknown", with what is known about the file.

    `unsupported` says why a model does not load. `weights` tells the precision of each node's weights, if `precision`
    is one of weights. The options are those of `fastgru.load`; allow_unread has no effect on a file of weights alone.
    Raises the errors of the readers for damaged files, and `UnsupportedModelError` for an option that does not apply.
    """
    kind = detect_format(file)
    given = options_for(kind, file, options)
    architecture = given.get("architecture")
    found: dict[str, Any] = {
        "file": str(file),
        "format": kind,
        "description": FORMATS[kind],
        "bytes": file.stat().st_size,
        "kind": "unknown",
        "meta": {},
        "unsupported": "",
    }
    key = given.get("key")
    if kind in _WEIGHTS_ONLY and architecture is None:
        return {**found, **_of_weights(file, key)}
    model, weights = _EITHER.get(kind, (FORMATS[kind],) * 2)
    if architecture is not None:
        model = f"weights, {FORMATS[kind]}, of the network that {architecture.name} describes"
    try:
        graph = load_graph(file, **options)
        return {**found, **_of_graph(graph, precision), "description": model}
    except (WeightsAloneError, AmbiguousStateDictError):
        return {**found, **_of_weights(file, key), "description": weights}
    except UnsupportedModelError as error:
        return {**found, **_inside(file, kind), "unsupported": str(error)}


def _inside(file: Path, kind: str) -> dict[str, Any]:
    """Return the weights of a model that does not load, if they can be read without it."""
    try:
        return _of_weights(file, None) if kind in _EITHER or kind == "keras" else {}
    except FastGRUError:
        return {}


def profile(file: Path, *, precision: str | None, **options: Unpack[Reading]) -> list[dict[str, Any]]:
    """Return the node, the kernel and the seconds of every instruction of a run on random numbers, in order.

    Raises the errors of `fastgru.load` and of the model.
    """
    model = load(file, precision=precision, **options)
    random = np.random.default_rng(0)
    inputs = {}
    for spec in model.inputs:
        if spec.shape is None:
            raise UnsupportedModelError(f"--profile: the file does not say how many axes input {spec.name!r} has")
        shape = tuple(1 if n is None else n for n in spec.shape)
        if spec.dtype.startswith("float"):
            inputs[spec.name] = random.standard_normal(shape).astype(spec.dtype)
        else:
            inputs[spec.name] = np.ones(shape, spec.dtype)  # 1 is a valid position or length even in the smallest axis
    return [
        {"node": t.label, "kernel": t.handler, "seconds": t.seconds, "times": t.count} for t in model.profile(inputs)
    ]


def _of_graph(graph: Graph, precision: str | None) -> dict[str, Any]:
    unsupported = _unsupported(graph)
    plain = with_plain_weights(graph)
    lowp = (precision or "float32") not in ("float32", "float64") or (precision is None and graph.precisions)
    states = {**graph.states, **{target: source for source, target in graph.states.items()}}
    return {
        "kind": "model",
        "name": graph.name,
        "meta": dict(graph.meta),
        "inputs": [_tensor(spec, states) for spec in graph.inputs],
        "outputs": [_tensor(spec, states) for spec in graph.outputs],
        "states": dict(graph.states),
        "grus": [_gru(node, plain) for node in inlined(graph.nodes) if node.op == "gru"],
        "operators": dict(Counter(node.op for node in every_node(graph.nodes))),
        "nodes": [
            {"op": n.op, "name": n.name, "inputs": list(n.inputs), "outputs": list(n.outputs)}
            for n in every_node(graph.nodes)
        ],
        "parameters": graph.num_parameters,
        "unsupported": unsupported,
        "precision": precision or ("as saved" if graph.precisions else "float32"),
        "weights": _weights(graph, precision) if lowp and not unsupported else [],
        "reference_nodes": list(describe_nodes(graph)),
        "python_layers": list(describe_functions(graph)),
        "constant_bytes": sum(int(a.nbytes) for a in graph.constants.values()),
    }


def _unsupported(graph: Graph) -> str:
    from fastgru.engine.plan import check_supported

    ours = replace(graph, nodes=tuple(node for node in graph.nodes if node.op not in OUTSIDE))
    try:
        check_supported(ours)
    except UnsupportedModelError as error:
        return str(error)
    return ""


def _weights(graph: Graph, precision: str | None) -> list[dict[str, str]]:
    from fastgru.model import Model

    try:
        chosen = Model(graph, precision=precision).weight_precisions
    except UnsupportedModelError as error:  # the model runs, but its precisions are not known before a run
        return [{"op": "-", "node": "-", "precision": "-", "why": str(error)}]
    return [{"op": c.op, "node": name, "precision": c.precision, "why": c.why} for name, c in chosen.items()]


def _tensor(spec: TensorSpec, states: Mapping[str, str]) -> dict[str, Any]:
    names = [*spec.dims, *(None for _ in range(len(spec.shape or ()) - len(spec.dims)))]
    shape = None if spec.shape is None else list(spec.shape)
    return {"name": spec.name, "dtype": spec.dtype, "shape": shape, "dims": names, "state": states.get(spec.name)}


def _gru(node: Node, graph: Graph) -> dict[str, Any]:
    spec = GRUSpec.from_dict(node.attrs["spec"])
    optional = zip(("initial state", "lengths", "mask"), node.inputs[1:4], strict=False)
    weights = [graph.constants[name] for name in node.inputs[4:] if name in graph.constants]
    return {
        "name": node.name or node.outputs[0],
        "input_size": spec.input_size,
        "hidden_size": spec.hidden_size,
        "direction": spec.direction,
        "reset": "after" if spec.reset_after else "before",
        "gates": [_shown(a) for a in dict.fromkeys(spec.gate_activations)],
        "candidates": [_shown(a) for a in dict.fromkeys(spec.candidate_activations)],
        "clip": spec.clip,
        "layout": "(N, T, .)" if spec.batch_first else "(T, N, .)",
        "reads": [what for what, name in optional if name],
        "bias": any(node.inputs[i] for i in range(6, len(node.inputs)) if i % 4 in (2, 3)),
        "parameters": sum(int(a.size) for a in weights),
    }


def _shown(activation: Activation) -> str:
    numbers = [f"{v:g}" for v in (activation.alpha, activation.beta) if v]
    return f"{activation.kind}({', '.join(numbers)})" if numbers else activation.kind


def _of_weights(file: Path, key: str | None) -> dict[str, Any]:
    try:
        weights = read_weights(file, key=key)
    except AmbiguousStateDictError as error:
        return {
            "kind": "choices",
            "unsupported": str(error),
            "choices": [
                {"key": choice, "tensors": len(shapes), "grus": [str(gru) for gru in find_grus(shapes)]}
                for choice, shapes in zip(error.choices, error.shapes, strict=False)
            ],
        }
    specs = weights.specs
    grus = find_grus(weights)
    guesses = [] if grus else guess_grus(specs, configured_grus(file))
    offers = _offers(weights, grus) if grus else [("gru", guess["recipe"], "") for guess in guesses]
    return {
        "kind": "weights",
        "key": weights.key,
        "others": list(weights.others),
        "passed_over": list(weights.passed_over),
        "tensors": [{"name": name, "dtype": dtype, "shape": list(shape)} for name, (dtype, shape) in specs.items()],
        "parameters": sum(int(np.prod(shape)) for dtype, shape in specs.values() if "float" in dtype),
        "grus": [{**asdict(gru), "recipe": gru.recipe} for gru in grus],
        "guesses": guesses,
        "code": code_for(str(file), weights.key if weights.others else None, offers) if offers else "",
    }


def _offers(weights: Weights, grus: Sequence[FoundGRU]) -> list[tuple[str, str, str]]:
    """Return (prefix, the call that makes the layer, a remark) for each recognised layer, in the order of the file."""
    recipes = {gru.prefix: gru.recipe for gru in grus}
    offers = []
    for prefix, layer, remark in drafted(weights):
        if prefix in recipes:
            offers.append((prefix, recipes.pop(prefix), ""))
        elif layer in _PLAIN:
            # A matrix without a bias can be either layer. Its name decides, and the remark names the other layer.
            either = layer == "Linear" and "Embedding" in remark
            if either and "emb" in prefix.lower():
                layer, either = "Embedding", False
            called = f"fastgru.{layer}.from_torch(weights, prefix={json.dumps(prefix, ensure_ascii=False)})"
            offers.append((prefix, called, "or fastgru.Embedding" if either else ""))
    return offers + [(prefix, recipe, "") for prefix, recipe in recipes.items()]
