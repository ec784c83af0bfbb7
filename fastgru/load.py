"""From a file to a model: what the bytes are decides which importer reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.graph import Graph
from fastgru.sources import Source, source_name
from fastgru.spec import RECURRENT

if TYPE_CHECKING:
    from fastgru.model import Model

__all__ = ["load", "load_graph", "options_for"]

_WITH_WEIGHTS = frozenset({"batch_norm", "embedding", "layer_norm", "linear", "matmul", "prelu", *RECURRENT})


def load(
    source: Source,
    *,
    precision: str | Mapping[str, str] = "float32",
    threads: int = 1,
    allow_unread: bool = False,
    linear_before_reset: int | None = None,
    outputs: list[str] | None = None,
    fallback: str | None = None,
) -> Model:
    """Read a trained model and make it ready to run.

    source: a path, or the bytes of a file: ONNX, Keras (.keras, .h5), RTNeural's JSON, or what `Model.save` wrote.
    precision: "float32" or "float64"; or "bfloat16" or "int8" for smaller weights, with all else in float32; or a
        mapping that gives single nodes, by name or output, one of these, and "*" the others.
    threads: cores a call may use.
    allow_unread: accept tensors of the file that nothing reads.
    linear_before_reset: for ONNX, overrides the attribute of every GRU (0 or 1).
    outputs: for Keras, names of inner layers to return besides the model's own outputs.
    fallback: for ONNX, "reference" to have nodes that are not implemented carried out by onnx's own reference
        implementation, slow and correct (`Model.reference_nodes` lists them); None to refuse them.

    Raises `UnsupportedModelError` naming all that cannot be run and the way round, `InvalidModelError` for a damaged
    file, `UnreadTensorsError` for tensors left over, `FileNotFoundError`.
    """
    graph = load_graph(
        source, allow_unread=allow_unread, linear_before_reset=linear_before_reset, outputs=outputs, fallback=fallback
    )
    from fastgru.model import Model

    return Model(graph, precision=precision, threads=threads)


def load_graph(
    source: Source,
    *,
    allow_unread: bool = False,
    linear_before_reset: int | None = None,
    outputs: list[str] | None = None,
    fallback: str | None = None,
) -> Graph:
    """Read a model into plain data, without any kernel; arguments and errors as for `load`."""
    graph = _read(
        source, allow_unread=allow_unread, linear_before_reset=linear_before_reset, outputs=outputs, fallback=fallback
    )
    for node in graph.nodes:
        for name in node.inputs if node.op in _WITH_WEIGHTS else ():
            array = graph.constants.get(name)
            if array is not None and not (array.dtype.kind in "iub" or np.isfinite(array).all()):
                bad = int(array.size - np.count_nonzero(np.isfinite(array)))
                raise InvalidModelError(
                    f"{source_name(source)}: {node}: {bad} of the {array.size} values of {name!r} are NaN or infinite,"
                    " which no training leaves in a model that works: a damaged file?"
                )
    return graph


def options_for(
    kind: str,
    source: Source,
    *,
    linear_before_reset: int | None = None,
    outputs: list[str] | None = None,
    fallback: str | None = None,
) -> dict[str, Any]:
    """Those options that are given, for the reader of a format; `UnsupportedModelError` where it has no use for one."""
    if fallback not in (None, "reference"):
        raise UnsupportedModelError(f"fallback is {fallback!r}, expected None or 'reference'")
    options: dict[str, Any] = {}
    for name, value, owners in (
        ("linear_before_reset", linear_before_reset, ("onnx",)),
        ("outputs", outputs, ("hdf5", "keras")),
        ("fallback", fallback, ("onnx", "safetensors")),
    ):
        if value is None:
            continue
        if kind not in owners:
            raise UnsupportedModelError(
                f"{source_name(source)}: {name}= has no meaning for this file ({kind}), only for {' and '.join(owners)}"
            )
        options[name] = value
    return options


def _read(
    source: Source,
    *,
    allow_unread: bool,
    linear_before_reset: int | None,
    outputs: list[str] | None,
    fallback: str | None,
) -> Graph:
    from fastgru.importers.files import detect_format

    kind = detect_format(source)
    options = options_for(kind, source, linear_before_reset=linear_before_reset, outputs=outputs, fallback=fallback)
    if kind == "onnx":
        from fastgru.importers.onnx import read_onnx

        return read_onnx(source, allow_unread=allow_unread, **options)
    if kind in ("hdf5", "keras"):
        from fastgru.importers.keras import read_keras

        return read_keras(source, allow_unread=allow_unread, **options)
    if kind == "json":
        from fastgru.importers.rtneural import is_rtneural, read_rtneural
        from fastgru.jsontext import load_json

        if is_rtneural(load_json(source)):
            return read_rtneural(source, allow_unread=allow_unread)
    if kind == "safetensors":
        from fastgru.graphfile import is_graph_file, read_graph
        from fastgru.tensorfile import read_tensor_file

        if is_graph_file(read_tensor_file(source)):
            return _permitted(read_graph(source, allow_unread=allow_unread), source, fallback)
    from fastgru.importers.weights import refuse_state_dict

    refuse_state_dict(source)
    raise AssertionError(kind)


def _permitted(graph: Graph, source: Source, fallback: str | None) -> Graph:
    """The graph of a file of our own; `UnsupportedModelError` where it falls back on nodes and nobody asked for it."""
    from fastgru.reference.foreign import FOREIGN, describe_foreign

    foreign = [describe_foreign(node) for node in graph.nodes if node.op == FOREIGN]
    if foreign and fallback is None:
        raise UnsupportedModelError(
            f"{source_name(source)}: not implemented: {', '.join(foreign[:20])}; the model was saved with"
            ' fallback="reference": load it with that, too'
        )
    return graph
