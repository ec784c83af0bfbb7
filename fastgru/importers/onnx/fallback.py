"""Keeps nodes that are not implemented, for onnx's own reference implementation to run."""

from collections.abc import Mapping, Sequence

from fastgru.errors import UnsupportedModelError
from fastgru.graph import DTYPES
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.attributes import collect_attributes, named
from fastgru.importers.onnx.builder import OnnxGraphBuilder, Site
from fastgru.importers.onnx.proto import NodeProto, TypeProto
from fastgru.importers.onnx.tensors import dtype_name
from fastgru.reference.facts import ValueFacts
from fastgru.reference.foreign import foreign_node
from fastgru.reference.operator import numpy_dtype

__all__ = ["keep"]


def keep(site: Site, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    """Add the node as a foreign node and return its outputs.

    Raises `UnsupportedModelError` if onnx's reference implementation is not trusted with the node (see
    `fastgru.reference.audited`).
    """
    own = NodeProto()
    own.CopyFrom(site.proto)
    resolved = collect_attributes(site.proto.attribute, site.what, site.scope.attributes)
    opsets = site.scope.opsets
    del own.attribute[:]
    own.attribute.extend(named(attribute, name) for name, attribute in resolved.items())
    node = foreign_node(
        own,
        list(own.input),
        list(own.output),
        opsets=opsets,
        dtypes=[None if v is None or v.dtype not in DTYPES else v.dtype for v in site.inputs],
        name=build.node_name,
    )
    outputs = _outputs(own, site.inputs, opsets, build.node_name)
    build.keep(node.op, site.inputs, outputs, dict(node.attrs))
    return outputs


def _outputs(
    proto: NodeProto, inputs: Sequence[Value | None], opsets: Mapping[str, int], hint: str
) -> tuple[Value, ...]:
    """Return the outputs, each with the dtype and sizes that onnx can infer."""
    from onnx import defs, helper, shape_inference

    known: dict[str, TypeProto] = {}
    for name, value in zip(proto.input, inputs, strict=True):
        if value is not None and value.dtype is not None:
            element = helper.np_dtype_to_tensor_dtype(numpy_dtype(value.dtype))
            known[name] = helper.make_tensor_type_proto(element, None if value.sizes is None else value.shape)
    try:
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        schema = defs.get_schema(proto.op_type, opsets[domain], domain)
        imports = [helper.make_opsetid(d, v) for d, v in opsets.items()]
        types = shape_inference.infer_node_outputs(schema, proto, known, opset_imports=imports)
    except Exception:  # inference is optional, and may raise anything
        types = {}
    return tuple(Value(name or hint, _facts(types.get(name))) for name in proto.output)


def _facts(inferred: TypeProto | None) -> ValueFacts:
    if inferred is None or not inferred.HasField("tensor_type"):
        return ValueFacts()
    tensor = inferred.tensor_type
    try:
        dtype = dtype_name(tensor.elem_type, "output")
    except (UnsupportedModelError, ValueError):
        return ValueFacts()
    sizes = tuple(d.dim_value or None for d in tensor.shape.dim) if tensor.HasField("shape") else None
    return ValueFacts(dtype, sizes)
