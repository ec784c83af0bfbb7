"""Decides which exception of onnxruntime is raised for a model that cannot be run."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from onnx import GraphProto, ModelProto, defs

from fastgru.compat.onnxruntime.errors import Fail, InvalidArgument, InvalidGraph, OrtNotImplemented
from fastgru.errors import FastGRUError, InvalidModelError, SpecError, UnsupportedModelError

__all__ = ["translated"]

# Domains whose operators onnxruntime implements, but the onnx package has no schemas for.
_CONTRIB = ("com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc", "com.microsoft.experimental")


@contextmanager
def translated(proto: ModelProto) -> Iterator[None]:
    """Convert errors of the importer and the engine into the exceptions that onnxruntime raises for this model."""
    try:
        yield
    except (Fail, InvalidArgument, InvalidGraph, OrtNotImplemented):
        raise
    except UnsupportedModelError as error:
        raise _unsupported(proto)(str(error)) from error
    except InvalidModelError as error:
        raise _invalid(proto.graph)(str(error)) from error
    except (SpecError, FastGRUError) as error:
        raise Fail(str(error)) from error


def _unsupported(proto: ModelProto) -> type[Fail | InvalidGraph | OrtNotImplemented]:
    """Return the exception for a model with something that is not implemented.

    `InvalidGraph` if ONNX does not know an operator or attribute either, `Fail` for an operator of an imported domain
    that onnxruntime does not know, `OrtNotImplemented` otherwise.
    """
    imported = {entry.domain if entry.domain != "ai.onnx" else "": entry.version for entry in proto.opset_import}
    local = {(function.domain, function.name) for function in proto.functions}
    for node in proto.graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        if (node.domain, node.op_type) in local or domain in _CONTRIB:
            continue
        if domain not in imported:
            return InvalidGraph
        newest = min(imported[domain], defs.onnx_opset_version()) if domain == "" else imported[domain]
        if not defs.has(node.op_type, max_inclusive_version=newest, domain=domain):
            return InvalidGraph if domain in ("", "ai.onnx.ml") else Fail
        schema = defs.get_schema(node.op_type, max_inclusive_version=newest, domain=domain)
        if {attribute.name for attribute in node.attribute} - schema.attributes.keys():
            return InvalidGraph
    return OrtNotImplemented


def _invalid(graph: GraphProto) -> type[Fail | InvalidArgument | InvalidGraph]:
    """Return the exception for an invalid graph.

    `Fail` for names that are defined twice, for cycles, and for outputs that no node computes; `InvalidArgument` for an
    input of a node that nothing defines; `InvalidGraph` for a fault of a single node.
    """
    made = Counter(name for node in graph.node for name in node.output if name)
    given = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
    given |= {tensor.values.name for tensor in graph.sparse_initializer}
    if max(made.values(), default=0) > 1 or given & set(made) or len({i.name for i in graph.input}) < len(graph.input):
        return Fail
    if any(name and name not in made and name not in given for node in graph.node for name in node.input):
        return InvalidArgument
    if any(info.name not in made and info.name not in given for info in graph.output) or _cyclic(graph):
        return Fail
    return InvalidGraph


def _cyclic(graph: GraphProto) -> bool:
    """Return True if some nodes wait for each other."""
    maker = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    waits = [{maker[name] for name in node.input if name in maker} for node in graph.node]
    readers: dict[int, list[int]] = {}
    for i, before in enumerate(waits):
        for j in before:
            readers.setdefault(j, []).append(i)
    ready = [i for i, before in enumerate(waits) if not before]
    for i in ready:
        for j in readers.get(i, ()):
            waits[j].discard(i)
            if not waits[j]:
                ready.append(j)
    return len(ready) < len(waits)
