"""Reads an ONNX file into a `Graph`."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

from google.protobuf.message import DecodeError

from fastgru.errors import (
    InvalidModelError,
    SpecError,
    SuspiciousModelWarning,
    UnreadTensorsError,
    UnsupportedModelError,
)
from fastgru.graph import Graph, TensorSpec
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder, Refused, Scope
from fastgru.importers.onnx.convert import SORTED, Converter
from fastgru.importers.onnx.external import ExternalData
from fastgru.importers.onnx.functions import Functions
from fastgru.importers.onnx.part import cut
from fastgru.importers.onnx.proto import GraphProto, ModelProto, TensorProto, check_text, main_domain
from fastgru.importers.onnx.registry import NEWEST_OPSET, OLDEST_OPSET
from fastgru.importers.onnx.structure import in_order, live_nodes
from fastgru.importers.onnx.tensors import output_spec, read_tensor, tensor_spec
from fastgru.importers.part import Inputs
from fastgru.importers.states import pair_states
from fastgru.modules import importing
from fastgru.sources import Content, Source, opened

__all__ = ["read_onnx"]

_PROTOBUF_LIMIT: Final = (1 << 31) - 1
_SHOWN_TENSORS: Final = 20
_SHOWN_TEXT: Final = 500


def read_onnx(
    source: Source,
    *,
    linear_before_reset: int | None = None,
    allow_unread: bool = False,
    fallback: str | None = None,
    inputs: Inputs | None = None,
    outputs: Sequence[str] | None = None,
) -> Graph:
    """Return the graph of an ONNX model (opsets 7 to 28), with constants folded.

    source: a path, or the file's bytes. External data is read only from the folder of the path.
    linear_before_reset: 0 or 1 to override the attribute of every GRU of the file, for an exporter that wrote a wrong
        value; None to use the file's value.
    allow_unread: accept initializers that no output depends on; by default they are an error that lists them.
    fallback: "reference" to let onnx's own reference implementation run nodes that are not implemented, if it was
        proved right for them (`fastgru.reference.audited`); None to refuse such nodes.
    inputs, outputs: names of tensors that become the inputs and outputs of the graph, instead of the model's own; for
        inputs also a dict from name to shape, or to None if the file has the shape. Initializers that the part does not
        need are no error.

    Warns `SuspiciousModelWarning` if a GRU of a PyTorch export has linear_before_reset=0, because no PyTorch GRU
    computes that (microsoft/onnxscript issue 2852).
    Raises `UnsupportedModelError` naming every operator of the file that is not implemented, `InvalidModelError` for
    a damaged or contradictory file, `UnreadTensorsError`.
    """
    if linear_before_reset is not None and (isinstance(linear_before_reset, bool) or linear_before_reset not in (0, 1)):
        raise SpecError(f"linear_before_reset is {linear_before_reset!r}, expected 0, 1 or None")
    if fallback not in (None, "reference"):
        raise UnsupportedModelError(f"fallback is {fallback!r}, expected None or 'reference'")
    with opened(source, limit=_PROTOBUF_LIMIT) as content:
        what, path = content.name, content.path
        model = parse_model(content)
    build = OnnxGraphBuilder()
    try:
        check_text(model)
        options = {
            "linear_before_reset": linear_before_reset,
            "producer": model.producer_name,
            "fallback": fallback == "reference",
        }
        with closing(ExternalData(path)) as external:
            if inputs is not None or outputs is not None:
                allow_unread = True
                cut(model, inputs, outputs, lambda part: _read_outputs(part, what, external, options))
            graph = _read(model, build, what, external, options, allow_unread)
    except (InvalidModelError, UnsupportedModelError) as error:
        if str(error).startswith(what):
            raise
        raise type(error)(f"{what}: {error}") from None
    except (MemoryError, OverflowError, RecursionError, UnicodeError) as error:
        raise InvalidModelError(f"{what}: {type(error).__name__}: {error}") from None
    for message in build.warnings:
        warnings.warn(f"{what}: {message}", SuspiciousModelWarning, stacklevel=2)
    return graph


def parse_model(content: Content) -> ModelProto:
    """Return the file's message; raise `InvalidModelError` if the file is not an ONNX model or has no graph."""
    model, what = ModelProto(), content.name
    try:
        model.ParseFromString(content.tobytes())
        if not model.HasField("graph"):
            raise InvalidModelError(f"{what}: the message has no graph, expected an ONNX model")
    except (DecodeError, RecursionError, UnicodeError, ValueError) as error:
        if isinstance(error, InvalidModelError):
            raise
        raise InvalidModelError(f"{what}: the file is not an ONNX model, or is damaged ({error})") from None
    return model


def _read(
    model: ModelProto,
    build: OnnxGraphBuilder,
    what: str,
    external: ExternalData,
    options: Mapping[str, Any],
    allow_unread: bool,
) -> Graph:
    graph = model.graph
    opsets = _opsets(model)
    initializers = _initializers(graph, build, external)
    sparse = {t.values.name for t in graph.sparse_initializer}
    given = [info for info in graph.input if info.name not in initializers and info.name not in sparse]
    _check_unique([info.name for info in graph.input], "input")
    _check_named([info.name for info in graph.output], "output")
    ordered, moved = in_order(graph, {*initializers, *sparse, *(info.name for info in given)})
    if moved:
        build.warnings.append(SORTED)
    if any("Sequence" in node.op_type for node in ordered):
        with importing:
            from fastgru.importers.onnx.lists import without_lists

        ordered = without_lists(ordered, {info.name for info in graph.output})
    nodes, wanted = live_nodes(graph, ordered)

    specs = {info.name: tensor_spec(info) for info in given}
    inputs = {name: build.input(name, spec.dtype, spec.shape, spec.dims) for name, spec in specs.items()}
    scope = Scope(opsets, dict(inputs), initializers)
    converter = Converter(build, Functions(model.functions), options, lambda body: _initializers(body, build, external))
    if sparse & wanted:
        converter.refusals.add_fault(
            f"sparse initializer {', '.join(map(repr, sorted(sparse & wanted)))} is not implemented; store it dense"
        )
    for name in sparse:
        scope.values[name] = Refused(name)
    converter.run(nodes, scope)
    converter.refusals.raise_if_any(what)
    outputs = {info.name: scope.get(info.name, "output") for info in graph.output}
    if not allow_unread:
        _check_unread(({*initializers, *sparse} - wanted) | converter.unread, what)

    dims = {dim for spec in specs.values() for dim in spec.dims if dim}
    declared = {info.name: output_spec(info, outputs[info.name], build.warnings, dims) for info in graph.output}
    made = build.graph(inputs, outputs, names=scope.values.items(), declared={**declared, **specs})
    states = pair_states(made.inputs, made.outputs)
    return replace(made, states=states, name=graph.name, meta=_meta(model, opsets)).validate()


def _read_outputs(
    model: ModelProto, what: str, external: ExternalData, options: Mapping[str, Any]
) -> tuple[TensorSpec, ...]:
    """Return the specs of a model's outputs."""
    return _read(model, OnnxGraphBuilder(), what, external, options, True).outputs


def _meta(model: ModelProto, opsets: Mapping[str, int]) -> dict[str, str]:
    """Return the metadata of the file for `Graph.meta`."""
    texts = {
        "format": "onnx",
        "ir_version": str(model.ir_version),
        "opset": ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in sorted(opsets.items())),
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "domain": model.domain,
        "description": model.doc_string,
    }
    texts |= {f"metadata.{entry.key}": entry.value for entry in model.metadata_props}
    return {key: text[:_SHOWN_TEXT] for key, text in texts.items() if text}


def _opsets(model: ModelProto) -> dict[str, int]:
    opsets = {main_domain(entry.domain): entry.version for entry in model.opset_import}
    for function in model.functions:
        for entry in function.opset_import:
            if main_domain(entry.domain) == "":
                _check_opset(entry.version, f"function {function.name!r}")
    if "" not in opsets and any(main_domain(node.domain) == "" for node in model.graph.node):
        raise InvalidModelError("opset_import of the model does not name an opset of ai.onnx")
    if "" in opsets:
        _check_opset(opsets[""], "the model")
    return opsets


def _check_opset(version: int, who: str) -> None:
    if not OLDEST_OPSET <= version <= NEWEST_OPSET:
        raise UnsupportedModelError(
            f"{who} has opset {version}, expected {OLDEST_OPSET} to {NEWEST_OPSET};"
            " convert it with onnx.version_converter, or export it with another opset_version"
        )


def _initializers(graph: GraphProto, build: OnnxGraphBuilder, external: ExternalData) -> dict[str, Callable[[], Value]]:
    def reader(proto: TensorProto) -> Callable[[], Value]:
        def read() -> Value:
            array = read_tensor(proto, f"initializer {proto.name!r}", external)
            build.folding.grant(array.nbytes)
            return build.constant(array, proto.name)

        return read

    _check_named([proto.name for proto in graph.initializer], "initializer")
    tensors: dict[str, TensorProto] = {}
    for proto in graph.initializer:
        if tensors.setdefault(proto.name, proto) != proto:
            raise InvalidModelError(f"initializer {proto.name!r} occurs twice, with different contents")
    return {name: reader(proto) for name, proto in tensors.items()}


def _check_named(names: list[str], what: str) -> None:
    if not all(names):
        raise InvalidModelError(f"an {what} has no name")


def _check_unique(names: list[str], what: str) -> None:
    _check_named(names, what)
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidModelError(f"{what} {name!r} occurs twice")
        seen.add(name)


def _check_unread(names: set[str], what: str) -> None:
    if names:
        shown = ", ".join(repr(name) for name in sorted(names)[:_SHOWN_TENSORS])
        more = f" and {len(names) - _SHOWN_TENSORS} more" if len(names) > _SHOWN_TENSORS else ""
        raise UnreadTensorsError(
            f"{what}: no output depends on {len(names)} initializer(s): {shown}{more}; allow_unread=True accepts them"
        )
