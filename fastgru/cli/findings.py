"""What `inspect` finds in a file, as plain data that JSON can hold."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Unpack

import numpy as np

from fastgru.errors import FastGRUError, UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.importers.files import FORMATS, detect_format
from fastgru.load import Reading, load, load_graph, options_for
from fastgru.reference.evaluate import with_plain_weights
from fastgru.reference.foreign import FOREIGN, describe_foreign
from fastgru.spec import Activation, GRUSpec

__all__ = ["examine", "profile"]

_WEIGHTS_ONLY: Final = ("npz", "torch-legacy", "torch-zip")
# Formats that hold a whole model or weights alone: what to call the one and the other.
_EITHER: Final[Mapping[str, tuple[str, str]]] = {
    "hdf5": ("a Keras model in an HDF5 file", "weights in an HDF5 file"),
    "json": ("a model in RTNeural's JSON", "a state dict in JSON"),
    "safetensors": ("a model that this package saved, as safetensors", "a state dict in safetensors"),
}


def examine(file: Path, *, precision: str | None = None, **options: Unpack[Reading]) -> dict[str, Any]:
    """kind "model", "weights" or "unknown" with what is known of it; `unsupported` says why a model does not load.

    The options are those of `fastgru.load`; to weights alone, of which nothing has to be read, allow_unread is all one.
    `weights` tells what each node's weights would be in, where the precision is one of weights.
    Raises what the readers raise for damaged files, `UnsupportedModelError` for an option that the file has no use for.
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
    if kind in _WEIGHTS_ONLY and architecture is None:
        return {**found, **_of_weights(file)}
    model, weights = _EITHER.get(kind, (FORMATS[kind],) * 2)
    if architecture is not None:
        model = f"weights, {FORMATS[kind]}, of the network that {architecture.name} describes"
    try:
        graph = load_graph(file, **options)
        return {**found, **_of_graph(graph, precision), "description": model}
    except UnsupportedModelError as error:
        if kind in _EITHER and not given.keys() - {"allow_unread"}:
            try:
                return {**found, **_of_weights(file), "description": weights}
            except FastGRUError:
                pass
        return {**found, "unsupported": str(error)}


def profile(file: Path, *, precision: str | None, **options: Unpack[Reading]) -> list[dict[str, Any]]:
    """node, kernel and seconds of every instruction of a run on random numbers, in order.

    Raises what `fastgru.load` and the model raise.
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
            inputs[spec.name] = np.ones(shape, spec.dtype)  # a position, or a length, of the smallest axis
    return [{"node": t.label, "kernel": t.handler, "seconds": t.seconds} for t in model.profile(inputs)]


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
        "grus": [_gru(node, plain) for node in graph.nodes if node.op == "gru"],
        "operators": dict(Counter(node.op for node in graph.nodes)),
        "nodes": [
            {"op": n.op, "name": n.name, "inputs": list(n.inputs), "outputs": list(n.outputs)} for n in graph.nodes
        ],
        "parameters": graph.num_parameters,
        "unsupported": unsupported,
        "precision": precision or ("as saved" if graph.precisions else "float32"),
        "weights": _weights(graph, precision) if lowp and not unsupported else [],
        "reference_nodes": [describe_foreign(node) for node in graph.nodes if node.op == FOREIGN],
        "constant_bytes": sum(int(a.nbytes) for a in graph.constants.values()),
    }


def _unsupported(graph: Graph) -> str:
    from fastgru.engine.plan import check_supported

    ours = replace(graph, nodes=tuple(node for node in graph.nodes if node.op != FOREIGN))
    try:
        check_supported(ours)
    except UnsupportedModelError as error:
        return str(error)
    return ""


def _weights(graph: Graph, precision: str | None) -> list[dict[str, str]]:
    from fastgru.model import Model

    chosen = Model(graph, precision=precision).weight_precisions
    return [{"op": c.op, "node": name, "precision": c.precision, "why": c.why} for name, c in chosen.items()]


def _tensor(spec: TensorSpec, states: Mapping[str, str]) -> dict[str, Any]:
    names = (*spec.dims, *(None for _ in range(len(spec.shape or ()) - len(spec.dims))))
    sizes = [name or "?" if size is None else str(size) for name, size in zip(names, spec.shape or (), strict=True)]
    shape = "any" if spec.shape is None else f"({', '.join(sizes)})"
    return {"name": spec.name, "dtype": spec.dtype, "shape": shape, "state": states.get(spec.name)}


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


def _of_weights(file: Path) -> dict[str, Any]:
    from fastgru.importers.weights import find_grus, read_weights

    weights = read_weights(file)
    specs = weights.specs
    grus = find_grus(weights)
    return {
        "kind": "weights",
        "tensors": [{"name": name, "dtype": dtype, "shape": list(shape)} for name, (dtype, shape) in specs.items()],
        "parameters": sum(int(np.prod(shape)) for dtype, shape in specs.values() if "float" in dtype),
        "grus": [{**asdict(gru), "recipe": gru.recipe} for gru in grus],
        "guesses": [] if grus else _guess_grus(specs),
    }


def _guess_grus(specs: Mapping[str, tuple[str, tuple[int, ...]]]) -> list[dict[str, Any]]:
    """GRUs in a state dict whose names say nothing, told by the shapes of tensors that follow one another.

    For each pair of tensors that fits: input_size, hidden_size, the names, and a call that makes a layer of them.
    Keras: kernel (I, 3H), recurrent kernel (H, 3H), bias (2, 3H) or (3H,). Torch's layout under other names: (3H, I),
    (3H, H), (3H,), (3H,). Shapes tell neither the order of the gates nor the activations: these are proposals.
    """
    names = list(specs)
    shapes = {name: shape for name, (_, shape) in specs.items()}
    found = []
    for i, (w, r) in enumerate(pairwise(names)):
        if len(shapes[w]) != 2 or len(shapes[r]) != 2:
            continue
        rows, columns = shapes[r]
        following = [name for name in names[i + 2 : i + 4] if len(shapes[name]) in (1, 2)]
        if columns == 3 * rows and shapes[w][1] == columns:
            found.append(_keras(w, r, following, shapes, H=rows))
        elif rows == 3 * columns and shapes[w][0] == rows:
            found.append(_torch(w, r, following, shapes, H=columns))
    return found


def _keras(w: str, r: str, following: list[str], shapes: Mapping[str, tuple[int, ...]], *, H: int) -> dict[str, Any]:
    bias = following[:1] if following and shapes[following[0]] in ((3 * H,), (2, 3 * H)) else []
    before = bool(bias) and shapes[bias[0]] == (3 * H,)
    arguments = ", ".join(f"weights[{name!r}]" for name in (w, r, *bias))
    return {
        "names": [w, r, *bias],
        "input_size": shapes[w][0],
        "hidden_size": H,
        "recipe": f"fastgru.GRU.from_keras({arguments}{', reset_after=False' if before else ''})",
    }


def _torch(w: str, r: str, following: list[str], shapes: Mapping[str, tuple[int, ...]], *, H: int) -> dict[str, Any]:
    biases = following if len(following) == 2 and all(shapes[name] == (3 * H,) for name in following) else []
    keys = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    entries = ", ".join(f'"{key}": weights[{name!r}]' for key, name in zip(keys, (w, r, *biases), strict=False))
    return {
        "names": [w, r, *biases],
        "input_size": shapes[w][1],
        "hidden_size": H,
        "recipe": f"fastgru.GRU.from_torch({{{entries}}})",
    }
