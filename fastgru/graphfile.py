"""fastgru's own model files: one safetensors file, with the graph as JSON in its `__metadata__`.

    __metadata__["fastgru.format"]   the version of the format: "1"; "2" if the graph has precisions; "3" if nodes
                                     have bodies; "4" if states begin with values other than zeros
    __metadata__["fastgru.graph"]    name, inputs, outputs, nodes, states, meta, constants (names, in order); from "2"
                                     on also precisions; from "3" on also attributes that are graphs: inputs, captured,
                                     outputs, nodes; in "4" also starts (names of states, in order)
    tensors                          the constants and the values with which states begin, under their own names

The file contains no code and nothing packed for a CPU, so any safetensors reader opens it. A reader accepts exactly
the fields it knows; a new field needs another FORMAT.
"""

import json
import os
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, Final

from fastgru.errors import InvalidModelError, UnreadTensorsError, UnsupportedModelError
from fastgru.graph import MOST_DEPTH, Array, Graph, Node, Subgraph, TensorSpec, every_node
from fastgru.jsontext import parse_json
from fastgru.sources import Source, source_name
from fastgru.tensorfile import TensorFile, read_tensor_file, tensor_file_chunks

__all__ = [
    "FORMAT",
    "graph_from_tensor_file",
    "graph_to_bytes",
    "is_graph_file",
    "read_graph",
    "write_graph",
    "write_whole",
]

FORMAT: Final = "1"
LOWP_FORMAT: Final = "2"
BODY_FORMAT: Final = "3"
START_FORMAT: Final = "4"
FORMAT_KEY: Final = "fastgru.format"
GRAPH_KEY: Final = "fastgru.graph"
MAX_ATTR_DEPTH: Final = 16

_FIELDS: Final = ("name", "inputs", "outputs", "nodes", "states", "meta", "constants")
_LATER_FIELDS: Final = (*_FIELDS, "precisions")
_FORMATS: Final = {
    FORMAT: _FIELDS, LOWP_FORMAT: _LATER_FIELDS, BODY_FORMAT: _LATER_FIELDS, START_FORMAT: (*_LATER_FIELDS, "starts"),
}  # fmt: skip
# Suffixes of other formats, which `save` refuses to write.
_SUFFIXES: Final = frozenset({
    ".bin", ".ckpt", ".gguf", ".h5", ".hdf5", ".joblib", ".json", ".keras", ".mlmodel", ".npy", ".npz", ".onnx", ".pb",
    ".pickle", ".pkl", ".pt", ".pth", ".safetensors", ".tflite", ".yaml", ".yml",
})  # fmt: skip
_BODY_FIELDS: Final = ("inputs", "captured", "outputs", "nodes")


def graph_to_bytes(graph: Graph) -> bytes:
    """Return the file of `graph` as bytes; the same graph gives the same bytes.

    Raises `InvalidModelError` if the graph is not valid or an attribute is not plain, `UnsupportedModelError` if a
    constant has a dtype that safetensors cannot hold.
    """
    return b"".join(tensor_file_chunks(*_contents(graph)))


def write_graph(graph: Graph, path: str | PathLike[str]) -> None:
    """Write `graph` to `path`, whole or not at all. Raises the errors of `graph_to_bytes` and `write_whole`."""
    write_whole(tensor_file_chunks(*_contents(graph)), path, ".safetensors")


def write_whole(chunks: Iterable[bytes], path: str | PathLike[str], suffix: str) -> None:
    """Write a file of these chunks, whole or not at all. An `OSError` names `path`. suffix: that of the format.

    Raises `UnsupportedModelError` if `path` is not a path or has the suffix of another format.
    """
    if not isinstance(path, str | bytes | PathLike):
        raise UnsupportedModelError(f"path: got {type(path).__name__}, expected the path of a file to write")
    given = os.path.splitext(os.fsdecode(path))[1].lower()
    if given != suffix and given in _SUFFIXES:
        raise UnsupportedModelError(
            f"{os.fsdecode(path)}: {given} is the name of another format; save writes .safetensors files, and to_onnx"
            " writes ONNX files"
        )
    try:
        _replace(chunks, path)
    except OSError as error:
        # The error names the temporary file, which the caller does not know.
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error


def _replace(chunks: Iterable[bytes], path: str | PathLike[str]) -> None:
    folder = os.path.dirname(os.path.abspath(os.fspath(path)))
    temporary = os.path.join(folder, f".fastgru-{os.urandom(8).hex()}.tmp")
    file = open(temporary, "xb")  # noqa: SIM115
    try:
        with file:
            for chunk in chunks:
                file.write(chunk)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_graph(source: Source, *, allow_unread: bool = False) -> Graph:
    """Read the graph in `source`, with its constants as `read_tensor_file` returns them.

    allow_unread: accept tensors that the graph does not name.

    Raises `InvalidModelError` for a damaged file or another kind of file, `UnsupportedModelError` for an unknown
    version, `UnreadTensorsError` for tensors that the graph does not name.
    """
    return graph_from_tensor_file(read_tensor_file(source), name=source_name(source), allow_unread=allow_unread)


def is_graph_file(file: TensorFile) -> bool:
    """Return True if a safetensors file says that it holds a graph, of any version."""
    return FORMAT_KEY in file.metadata


def graph_from_tensor_file(file: TensorFile, *, name: str, allow_unread: bool = False) -> Graph:
    """Return the graph of a safetensors file that is already open. Raises the errors of `read_graph`."""
    if not is_graph_file(file):
        raise InvalidModelError(f"{name}: the safetensors file has tensors, but no graph ({FORMAT_KEY})")
    version = file.metadata[FORMAT_KEY]
    if version not in _FORMATS:
        raise UnsupportedModelError(
            f"{name}: {FORMAT_KEY} is {version[:40]!r}, expected {', '.join(map(repr, _FORMATS))}: use a"
            " newer release, or convert the original again"
        )
    what = f"{name}: {GRAPH_KEY}"
    data = parse_json(file.metadata.get(GRAPH_KEY, ""), what=what)
    name_, inputs, outputs, nodes, states, meta, constants, *rest = _fields(data, _FORMATS[version], what)
    names = [_text(c, what) for c in _list(constants, what)]
    begun = [_text(c, what) for c in _list(rest[1], what)] if len(rest) > 1 else []
    wanted = [*names, *begun]
    if len(set(wanted)) != len(wanted):
        raise InvalidModelError(f"{what}: a constant is listed twice")
    if missing := [c for c in wanted if c not in file.tensors]:
        raise InvalidModelError(f"{name}: the tensors {', '.join(map(repr, missing[:10]))} are missing")
    if not allow_unread and (unread := sorted(set(file.tensors) - set(wanted))):
        listed = ", ".join(map(repr, unread[:20])) + (f" and {len(unread) - 20} more" if len(unread) > 20 else "")
        raise UnreadTensorsError(
            f"{name}: {len(unread)} tensor(s) are not in the graph: {listed}; allow_unread=True accepts them"
        )
    return Graph(
        inputs=tuple(_tensor_spec(spec, what) for spec in _list(inputs, what)),
        outputs=tuple(_tensor_spec(spec, what) for spec in _list(outputs, what)),
        nodes=_nodes(nodes, what, bodies=version in (BODY_FORMAT, START_FORMAT)),
        constants={c: file.tensors[c] for c in names},
        states=_texts(states, what),
        name=_text(name_, what),
        meta=_texts(meta, what),
        precisions=_texts(rest[0], what) if rest else {},
        starts={c: file.tensors[c] for c in begun},
    ).validate()


def _contents(graph: Graph) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors and the metadata of the graph's file."""
    graph.validate()
    for node in every_node(graph.nodes):
        plain = {key: value for key, value in node.attrs.items() if not isinstance(value, Subgraph)}
        _check_plain(plain, f"{node}: attributes")
    version = BODY_FORMAT if any(n.bodies for n in graph.nodes) else LOWP_FORMAT if graph.precisions else FORMAT
    version = START_FORMAT if graph.starts else version
    data = {
        "name": graph.name,
        "inputs": [vars(spec) for spec in graph.inputs],
        "outputs": [vars(spec) for spec in graph.outputs],
        "nodes": _nodes_data(graph.nodes),
        "states": dict(graph.states),
        "meta": dict(graph.meta),
        "constants": list(graph.constants),
        **({} if version == FORMAT else {"precisions": dict(graph.precisions)}),
        **({"starts": list(graph.starts)} if graph.starts else {}),
    }
    texts = {FORMAT_KEY: version, GRAPH_KEY: json.dumps(data, ensure_ascii=False, separators=(",", ":"))}
    return {**graph.constants, **graph.starts}, texts


def _nodes_data(nodes: Iterable[Node]) -> list[dict[str, Any]]:
    return [
        {"op": n.op, "inputs": n.inputs, "outputs": n.outputs, "attrs": _attrs_data(n.attrs), "name": n.name}
        for n in nodes
    ]


def _attrs_data(attrs: Mapping[str, Any]) -> dict[str, Any]:
    def data(value: Any) -> Any:
        if not isinstance(value, Subgraph):
            return value
        return {key: getattr(value, key) for key in _BODY_FIELDS[:3]} | {"nodes": _nodes_data(value.nodes)}

    return {key: data(value) for key, value in attrs.items()}


def _check_plain(value: Any, what: str, depth: int = 0) -> None:
    if depth > MAX_ATTR_DEPTH:
        raise InvalidModelError(f"{what}: the value is nested more than {MAX_ATTR_DEPTH} deep")
    if isinstance(value, dict):
        for key, entry in value.items():
            if type(key) is not str:
                raise InvalidModelError(f"{what}: the key {key!r} is not a text")
            _check_plain(entry, f"{what} {key!r:.80}", depth + 1)
    elif isinstance(value, list | tuple):
        for entry in value:
            _check_plain(entry, what, depth + 1)
    elif not (value is None or type(value) in (bool, int, float, str)):
        raise InvalidModelError(f"{what}: got {type(value).__name__}, which is not plain data")


def _tensor_spec(data: Any, what: str) -> TensorSpec:
    name, dtype, shape, dims = _fields(data, ("name", "dtype", "shape", "dims"), f"{what}: input or output")
    what = f"{what}: {_text(name, what)[:80]!r}"
    sizes = None if shape is None else tuple(_list(shape, what))
    try:
        return TensorSpec(name, _text(dtype, what), sizes, tuple(_list(dims, what)))
    except InvalidModelError as error:
        raise InvalidModelError(f"{what}: {error}") from None


def _nodes(data: Any, what: str, *, bodies: bool, depth: int = 0) -> tuple[Node, ...]:
    if depth > MOST_DEPTH:
        raise InvalidModelError(f"{what}: its subgraphs are nested more than {MOST_DEPTH} deep")
    return tuple(_node(node, what, bodies=bodies, depth=depth) for node in _list(data, what))


def _node(data: Any, what: str, *, bodies: bool, depth: int) -> Node:
    op, inputs, outputs, attrs, name = _fields(data, ("op", "inputs", "outputs", "attrs", "name"), f"{what}: node")
    what = f"{what}: node {_text(name, what)[:80]!r}"
    if not isinstance(attrs, dict):
        raise InvalidModelError(f"{what}: attributes: got {type(attrs).__name__}, expected an object")
    is_body = {
        key: bodies and isinstance(entry, dict) and set(entry) == set(_BODY_FIELDS) for key, entry in attrs.items()
    }
    _check_plain({key: entry for key, entry in attrs.items() if not is_body[key]}, f"{what}: attributes")
    attrs = {key: _body(entry, what, depth) if is_body[key] else entry for key, entry in attrs.items()}
    ends = [tuple(_text(value, what) for value in _list(values, what)) for values in (inputs, outputs)]
    return Node(_text(op, what), ends[0], ends[1], attrs, name)


def _body(data: Mapping[str, Any], what: str, depth: int) -> Subgraph:
    inputs, captured, outputs = (
        tuple(_text(value, what) for value in _list(data[key], what)) for key in _BODY_FIELDS[:3]
    )
    return Subgraph(inputs, captured, outputs, _nodes(data["nodes"], what, bodies=True, depth=depth + 1))


def _fields(data: Any, names: tuple[str, ...], what: str) -> list[Any]:
    if not isinstance(data, dict) or set(data) != set(names):
        came = ", ".join(sorted(data))[:200] if isinstance(data, dict) else type(data).__name__
        raise InvalidModelError(f"{what}: got {came or 'nothing'}, expected exactly {', '.join(names)}")
    return [data[name] for name in names]


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidModelError(f"{what}: got {type(value).__name__}, expected a list")
    return value


def _text(value: Any, what: str) -> str:
    if type(value) is not str:
        raise InvalidModelError(f"{what}: got {type(value).__name__}, expected a text")
    return value


def _texts(value: Any, what: str) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise InvalidModelError(f"{what}: got {type(value).__name__}, expected an object")
    return {key: _text(entry, what) for key, entry in value.items()}
