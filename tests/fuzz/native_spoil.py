"""Files of the package's own form spoiled in their graph, which is JSON, and in their tensors."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.graph import DTYPES, Graph
from fastgru.graphfile import FORMAT_KEY, GRAPH_KEY, graph_to_bytes
from fastgru.reference import OPS
from fastgru.reference.operator import numpy_dtype
from fastgru.tensorfile import read_tensor_file, tensor_file_chunks

__all__ = ["spoiled_bytes"]

Array = NDArray[Any]

WHOLE = (0, 1, -1, 2, -2, 3, 5, 7, 64, 255, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 63,
         -(1 << 63), 10**30)  # fmt: skip
FRACTIONS = (0.0, -0.0, 0.5, -1.5, 0.9, 1.0, 1e-30, 1e30, 1e308, float("inf"), float("-inf"), float("nan"))
ENDS = ("inputs", "inputs", "inputs", "outputs")
TEXTS = ("", "none", "max", "sum", "add", "same_upper", "same_lower", "linear", "nearest", "reflect", "wrap", "int8",
         "float64", "bfloat16", "tanh", "sigmoid", "carry", "ij,jk->ik", "ii", "...i->...")  # fmt: skip


def spoiled_bytes(graph: Graph, rng: random.Random) -> bytes:
    """The file of `graph` with up to three changes."""
    file = read_tensor_file(graph_to_bytes(graph))
    data = json.loads(file.metadata[GRAPH_KEY])
    tensors = dict(file.tensors)
    version = file.metadata[FORMAT_KEY]
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3))):
        with suppress(AttributeError, LookupError, TypeError):  # an earlier change may leave a later one no place
            rng.choice(WAYS)(data, tensors, rng)
        if isinstance(data, dict) and "precisions" in data:
            version = "2"
    return b"".join(tensor_file_chunks(tensors, {FORMAT_KEY: version, GRAPH_KEY: json.dumps(data)}))


def _odd(value: Any, rng: random.Random) -> Any:
    """Something else: of the same kind most of the time."""
    if rng.random() < 0.25:
        return rng.choice((None, True, False, "text", [], {}, [value], {"a": value}, *WHOLE[:6], *FRACTIONS[:6]))
    match value:
        case bool():
            return not value
        case int():
            return rng.choice((*WHOLE, value + 1, value - 1, -value, 2 * value, value + 0.5, float(value)))
        case float():
            return rng.choice((*FRACTIONS, -value, 2 * value, 3))
        case str():
            return rng.choice((*TEXTS, *DTYPES, value + "x", value[:-1]))
        case list():
            return _odd_list(value, rng)
        case dict() if value:
            key = rng.choice(list(value))
            return {**value, key: _odd(value[key], rng)} if rng.random() < 0.8 else {**value, f"{key}x": value[key]}
    return rng.choice((0, 1, [0], [1, 1], "sum", 0.5))


def _odd_list(value: list[Any], rng: random.Random) -> list[Any]:
    changed = list(value)
    at = rng.randrange(len(value)) if value else 0
    way = rng.random()
    if value and way < 0.6:
        changed[at] = _odd(value[at], rng)
    elif value and way < 0.75:
        del changed[at]
    elif way < 0.85:
        changed.insert(at, rng.choice((*value, *WHOLE)))
    elif way < 0.9:
        rng.shuffle(changed)
    else:
        changed *= rng.choice((2, 5))
    return changed


def _attribute(data: Any, tensors: dict[str, Array], rng: random.Random) -> None:
    nodes = [n for n in _nodes(data) if n["attrs"]]
    if not nodes:
        return _node(data, tensors, rng)
    attrs = rng.choice(nodes)["attrs"]
    name = rng.choice(list(attrs))
    if rng.random() < 0.85:
        attrs[name] = _odd(attrs[name], rng)
    elif rng.random() < 0.5:
        del attrs[name]
    else:
        attrs[rng.choice(_names())] = _odd(attrs[name], rng)
    return None


def _names() -> list[str]:
    return sorted({name for operator in OPS.values() for name in operator.schema.kinds})


def _node(data: Any, tensors: dict[str, Array], rng: random.Random) -> None:
    nodes = list(_nodes(data))
    if not nodes:
        return
    node = rng.choice(nodes)
    match rng.randrange(5):
        case 0:
            node["op"] = rng.choice((*OPS, "foreign", "", "nonesuch"))
        case 1:
            data["nodes"] = _odd_list(data["nodes"], rng)
        case 2:
            node["attrs"] = dict(rng.choice(nodes)["attrs"])
        case 3:
            node[rng.choice(list(node))] = _odd(node[rng.choice(list(node))], rng)
        case 4:
            data["nodes"].append(json.loads(json.dumps(node)))
            data["nodes"][-1]["outputs"] = [f"{name}'" for name in node["outputs"]]
            data["nodes"][-1]["inputs"] = [rng.choice((name, *node["outputs"])) for name in node["inputs"]]
            data["outputs"] += [
                {"name": f"{n}'", "dtype": "float32", "shape": None, "dims": []} for n in node["outputs"]
            ]


def _edge(data: Any, tensors: dict[str, Array], rng: random.Random) -> None:
    """What a node reads or makes comes from elsewhere, is missing, or one more."""
    nodes = list(_nodes(data))
    if not nodes:
        return
    node = rng.choice(nodes)
    known = [
        *tensors,
        *(spec["name"] for spec in _specs(data)),
        *(n for one in nodes for n in one["outputs"]),
        "",
    ]
    ends = node[rng.choice(ENDS)]
    at = rng.randrange(len(ends)) if ends else 0
    match rng.randrange(4):
        case 0 | 1 if ends:
            ends[at] = rng.choice(known)
        case 2 if ends:
            del ends[at]
        case _:
            ends.insert(at, rng.choice(known))


def _input(data: Any, tensors: dict[str, Array], rng: random.Random) -> None:
    specs = list(_specs(data))
    if not specs:
        return
    spec = rng.choice(specs)
    match rng.randrange(5):
        case 0:
            spec["dtype"] = rng.choice((*DTYPES, "complex64", ""))
        case 1 if isinstance(spec.get("shape"), list):
            spec["shape"] = _odd_list(spec["shape"], rng)
        case 2:
            spec["shape"] = rng.choice((None, [], [None], [None, None, None], [1 << 20, 1 << 20], [2, 3]))
        case 3:
            spec["dims"] = ["n"] * (len(spec["shape"]) if isinstance(spec.get("shape"), list) else 1)
        case _:
            name = rng.choice(list(spec))
            spec[name] = _odd(spec[name], rng)


def _rest(data: Any, tensors: dict[str, Array], rng: random.Random) -> None:
    specs = [s["name"] for s in _specs(data)]
    match rng.randrange(5):
        case 0:
            data["states"] = {rng.choice(specs): rng.choice(specs)} if specs else {}
        case 1:
            made = [name for node in _nodes(data) for name in node["outputs"]]
            data["precisions"] = {name: rng.choice(("int8", "bfloat16", "float32", "none")) for name in made[:2]}
        case 2:
            data["constants"] = _odd_list(data["constants"], rng) if isinstance(data["constants"], list) else []
        case 3:
            data["outputs"] = _odd_list(data["outputs"], rng) if isinstance(data["outputs"], list) else []
        case _:
            key = rng.choice(list(data))
            data[key] = _odd(data[key], rng)


def _tensor(data: Any, tensors: dict[str, Array], rng: random.Random) -> None:
    if not tensors:
        return _attribute(data, tensors, rng)
    name = rng.choice(list(tensors))
    array = np.array(tensors[name])
    with np.errstate(all="ignore"):
        match rng.randrange(8):
            case 0:
                array = array.astype(numpy_dtype(rng.choice(DTYPES)))
            case 1:
                array = array[None]
            case 2:
                array = array.reshape(-1)[: max(0, array.size - 1)]
            case 3:
                array = array.reshape(-1)[:0]
            case 4:
                array = array.T
            case 5:
                array = np.concatenate([array.reshape(-1)] * 2)
            case _ if array.size:
                flat = array.reshape(-1)
                at = rng.randrange(flat.size)
                if array.dtype.kind in "iu":
                    limits = np.iinfo(array.dtype)
                    near = int(flat[at])
                    odd = rng.choice((*WHOLE, near + 1, near - 1, -near))
                    flat[at] = max(int(limits.min), min(int(limits.max), odd))
                else:
                    flat[at] = rng.choice(FRACTIONS)
    tensors[name] = np.ascontiguousarray(array).reshape(array.shape)
    return None


def _nodes(data: Any) -> Iterator[Any]:
    for node in data["nodes"] if isinstance(data.get("nodes"), list) else ():
        if isinstance(node, dict) and isinstance(node.get("attrs"), dict) and all(_texts(node.get(e)) for e in ENDS):
            yield node


def _specs(data: Any) -> Iterator[Any]:
    for key in ("inputs", "outputs"):
        for spec in data[key] if isinstance(data.get(key), list) else ():
            if isinstance(spec, Mapping) and isinstance(spec.get("name"), str):
                yield spec


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


WAYS = (_attribute, _attribute, _attribute, _attribute, _node, _edge, _edge, _input, _input, _rest, _tensor, _tensor)
