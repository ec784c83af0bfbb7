"""Write the model of an ONNX file. Each node is written by the function that is registered for its operator."""

from collections.abc import Mapping
from typing import Any, Final

from onnx import ModelProto, helper

from fastgru.errors import UnsupportedModelError
from fastgru.exporters.onnx.writer import OPSET, OnnxWriter, element_type, written
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference.python import refuse_file

__all__ = ["graph_to_onnx"]

_IR_VERSION: Final = 9  # the first with this opset
_OTHER_FORM: Final = " a .safetensors file, which fastgru convert and Model.save write, holds any model"
_PROTOBUF_LIMIT: Final = (1 << 31) - 1
_OWN_META: Final = frozenset({"format", "ir_version", "opset", "producer", "domain", "description"})


def graph_to_onnx(graph: Graph, *, precision: str = "float32") -> ModelProto:
    """Return the graph as an ONNX model of opset 20, with every floating-point value in `precision`.

    Raises `UnsupportedModelError`, which lists every node without a counterpart in ONNX, or names an output whose
    number of axes is not known, or a state that does not begin with zeros.
    """
    if precision not in ("float32", "float64"):
        raise UnsupportedModelError(f"precision is {precision!r}, expected float32 or float64 for an ONNX file")
    if graph.starts:
        raise UnsupportedModelError(
            f"state {next(iter(graph.starts))!r} begins with numbers of its file, which an ONNX file cannot hold:"
            " convert the model as it is without open_states;" + _OTHER_FORM
        )
    refuse_file(graph)
    writer = OnnxWriter(graph.validate(), precision)
    if faults := written(graph.nodes, writer):
        raise UnsupportedModelError(
            f"{len(faults)} node(s) have no counterpart in ONNX: {'; '.join(faults)};" + _OTHER_FORM
        )
    made = {name for node in writer.nodes for name in node.output}
    inputs = {spec.name for spec in graph.inputs}
    outputs = []
    for spec in graph.outputs:
        if spec.name not in made | inputs:
            # A constant: in ONNX, a node has to compute each output.
            array = writer.constant(spec.name, Node("constant", (), (spec.name,)))
            writer.nodes.append(helper.make_node("Identity", [writer.array(array)], [spec.name]))
        outputs.append(_value_info(spec, writer))
    body = helper.make_graph(
        writer.nodes,
        graph.name or "graph",
        [_value_info(spec, writer) for spec in graph.inputs],
        outputs,
        writer.initializers,
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="fastgru"
    )
    model.doc_string = graph.meta.get("description", "")
    props = {key.removeprefix("metadata."): text for key, text in graph.meta.items() if key not in _OWN_META}
    helper.set_model_props(model, props)
    if (size := model.ByteSize()) > _PROTOBUF_LIMIT:
        raise UnsupportedModelError(
            f"the model has {size} bytes, but an ONNX file has at most {_PROTOBUF_LIMIT}; use Model.save"
        )
    return model


def _value_info(spec: TensorSpec, writer: OnnxWriter) -> Any:
    element = element_type(spec.name, writer)  # more exact than the dtype in the spec
    sizes = writer.facts(spec.name).sizes if spec.shape is None else spec.shape
    if sizes is None:
        raise UnsupportedModelError(
            f"output {spec.name!r}: its number of axes is not known, but an ONNX file needs this number;" + _OTHER_FORM
        )
    names: Mapping[int, str | None] = dict(enumerate(spec.dims))
    shape = [n if isinstance(n, int | str) else names.get(i) for i, n in enumerate(sizes)]
    return helper.make_tensor_value_info(spec.name, element, shape)
