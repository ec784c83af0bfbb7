"""Operators that ONNX itself defines by simpler ones: a node is replaced by the body of its definition.

The bodies come from the onnx package. If a body depends on the node, onnx builds it from the node's attributes and the
known types of its inputs.
"""

from fastgru.errors import UnsupportedModelError
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.attributes import named
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.proto import AttributeProto, FunctionProto, NodeProto
from fastgru.importers.onnx.registry import OnnxNode, operator
from fastgru.reference.operator import numpy_dtype


def _by_definition(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    return node.around.call(*_definition(node), node.site)


def _definition(node: OnnxNode) -> tuple[FunctionProto, dict[str, AttributeProto]]:
    """Return the body of the operator in the node's version, and its attributes, including defaults.

    Raises `UnsupportedModelError` if the onnx package has no body for the node.
    """
    from onnx import defs

    proto, what, attributes = node.site.proto, node.what, node.attrs.every()
    schema = defs.get_schema(node.op, node.version, "")
    if unknown := sorted(set(attributes) - set(schema.attributes)):
        raise UnsupportedModelError(
            f"{what}: attribute {', '.join(map(repr, unknown))} does not belong to this operator"
        )
    defaults = {n: a.default_value for n, a in schema.attributes.items() if a.default_value.type}
    given = {**defaults, **{name: named(a, name) for name, a in attributes.items()}}
    if schema.has_function:
        return schema.function_body, given
    bare = NodeProto(op_type=node.op, name="node", input=proto.input, output=proto.output)
    bare.attribute.extend(given[name] for name in attributes)
    types = [_serialised_type(value, what) for value in node.inputs]
    body = FunctionProto()
    try:
        opset = max(v for v in schema.context_dependent_function_opset_versions if v <= node.version)
        made = schema.get_context_dependent_function_with_opset_version(opset, bare.SerializeToString(), types)
        body.ParseFromString(made)
    except (RuntimeError, ValueError) as error:
        raise UnsupportedModelError(
            f"{what}: onnx does not define this operator for these attributes: {error}"
        ) from None
    if not body.node:
        raise UnsupportedModelError(
            f"{what}: onnx gives no definition of it for these attributes and what is known of its inputs; declare the"
            " shapes of the graph's inputs (onnx.shape_inference), or write it with simpler operators"
        )
    return body, given


def _serialised_type(value: Value | None, what: str) -> bytes:
    if value is None:
        return b""
    if value.dtype is None:
        raise UnsupportedModelError(
            f"{what}: the element type of input {value.hint!r} does not follow from the file; declare it"
        )
    shape = None if value.rank is None else [None] * value.rank
    if value.array is not None:
        shape = list(value.array.shape)
    from onnx import helper

    element = helper.np_dtype_to_tensor_dtype(numpy_dtype(value.dtype))
    return bytes(helper.make_tensor_type_proto(element, shape).SerializeToString())


# ONNX name -> (versions, (min inputs, max inputs), outputs); _SIZES: the inputs that are sizes
_DEFINED = {
    "Attention": ((23, 24, 25), (3, 7), 4),
    "BlackmanWindow": ((17,), (1, 1), 1),
    "CenterCropPad": ((18,), (2, 2), 1),
    "HammingWindow": ((17,), (1, 1), 1),
    "HannWindow": ((17,), (1, 1), 1),
    "MeanVarianceNormalization": ((9, 13), (1, 1), 1),
    "NegativeLogLikelihoodLoss": ((12, 13, 22), (2, 3), 1),
    "RotaryEmbedding": ((23,), (3, 4), 1),
    "Shrink": ((9,), (1, 1), 1),
    "SoftmaxCrossEntropyLoss": ((12, 13), (2, 3), 2),
    "SwiGLU": ((28,), (2, 2), 1),
}
_SIZES = {"BlackmanWindow": (0,), "CenterCropPad": (1,), "HammingWindow": (0,), "HannWindow": (0,)}
for _name, (_versions, _inputs, _outputs) in _DEFINED.items():
    operator(_name, versions=_versions, inputs=_inputs, outputs=_outputs,
             sizes=_SIZES.get(_name, ()), limits="by ONNX's own definition")(_by_definition)  # fmt: skip
