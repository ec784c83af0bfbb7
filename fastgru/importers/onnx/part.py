"""A part of an ONNX graph: the nodes between tensors that become its inputs and tensors that become its outputs."""

from collections.abc import Callable, Mapping, Sequence

from fastgru.errors import FastGRUError, UnsupportedModelError
from fastgru.graph import TensorSpec
from fastgru.importers.onnx.proto import ModelProto, TensorProto, ValueInfoProto
from fastgru.importers.onnx.structure import in_order, live_nodes
from fastgru.importers.onnx.tensors import tensor_spec
from fastgru.importers.part import Inputs, check_ends, check_known, form_of

__all__ = ["cut"]

_ELEMENTS = {
    "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16, "int64": TensorProto.INT64, "int32": TensorProto.INT32,
    "int16": TensorProto.INT16, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16,
    "bool": TensorProto.BOOL,
}  # fmt: skip


def cut(
    model: ModelProto,
    inputs: Inputs | None,
    outputs: Sequence[str] | None,
    read: Callable[[ModelProto], Sequence[TensorSpec]],
) -> None:
    """Reduce `model` to the part between `inputs` and `outputs`, in place.

    read: returns the outputs of a model; it infers the dtype and shape of an input that the file does not declare.
    Raises `InvalidModelError` for names that are not tensors of the model, inputs that nothing needs, and inputs that
    are missing; `UnsupportedModelError` if the dtype and shape of an input cannot be inferred.
    """
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    own = {info.name: info for info in graph.input if info.name not in stored}
    values = [*own, *(name for node in graph.node for name in node.output if name)]
    for what, names in (("inputs", inputs or ()), ("outputs", outputs or ())):
        check_known(what, names, values)
    typed = {info.name: info for info in (*graph.value_info, *graph.output, *graph.input)}
    begins = list(own) if inputs is None else list(inputs)
    forms = _forms(model, [name for name in begins if name not in own], inputs, typed, read)
    given = _given(own, inputs)
    ends = [info.name for info in graph.output] if outputs is None else list(outputs)

    infos = [given.get(name, own[name]) if name in own else forms[name] for name in begins]
    kept = [info for info in graph.input if info.name in stored]
    known = {} if given else typed  # a new shape of an input may change those of the outputs
    results = [known.get(name) or ValueInfoProto(name=name) for name in ends]
    _replace(graph.output, results)
    nodes = list(graph.node)
    for node in nodes:
        for n, name in enumerate(node.output):
            if name in forms:
                node.output[n] = ""
    ordered, _ = in_order(graph, {*own, *forms, *stored})
    live, wanted = live_nodes(graph, ordered)
    if inputs is None:
        infos = [info for info in infos if info.name in wanted]
    check_ends([info.name for info in infos], [name for name in own if name in wanted], wanted)
    _replace(graph.input, [*infos, *kept])
    needed = {node.name + str(list(node.output)) for node in live}
    for n in range(len(nodes) - 1, -1, -1):
        if nodes[n].name + str(list(nodes[n].output)) not in needed:
            del graph.node[n]


def _replace(field: "list[ValueInfoProto]", infos: Sequence[ValueInfoProto]) -> None:
    copies = [ValueInfoProto.FromString(info.SerializeToString()) for info in infos]
    del field[:]
    field.extend(copies)


def _forms(
    model: ModelProto,
    names: Sequence[str],
    inputs: Inputs | None,
    typed: Mapping[str, ValueInfoProto],
    read: Callable[[ModelProto], Sequence[TensorSpec]],
) -> dict[str, ValueInfoProto]:
    """Return dtype and shape of tensors inside the graph: as given, as the file declares them, or inferred."""
    told = inputs if isinstance(inputs, Mapping) else {}
    forms = {name: form_of(name, told.get(name)) for name in names}
    found = {name: TensorSpec(name, *form) for name, form in forms.items() if form is not None}
    for name in names:
        if name not in found and name in typed and typed[name].type.WhichOneof("value"):
            found[name] = tensor_spec(typed[name])
    if missing := [name for name in names if name not in found or (found[name].shape is None and forms[name] is None)]:
        found |= {spec.name: spec for spec in _inferred(model, missing, read)}
    return {name: _info(found[name]) for name in names}


def _given(own: Mapping[str, ValueInfoProto], inputs: Inputs | None) -> dict[str, ValueInfoProto]:
    """Return dtype and shape of the model's own inputs for which the caller gives a shape."""
    given = {}
    for name, told in inputs.items() if isinstance(inputs, Mapping) else ():
        if name in own and (form := form_of(name, told, tensor_spec(own[name]).dtype)) is not None:
            given[name] = _info(TensorSpec(name, *form))
    return given


def _inferred(
    model: ModelProto, names: Sequence[str], read: Callable[[ModelProto], Sequence[TensorSpec]]
) -> Sequence[TensorSpec]:
    before = ModelProto()
    before.CopyFrom(model)
    try:
        cut(before, None, names, read)
        return read(before)
    except FastGRUError as error:
        raise UnsupportedModelError(
            f"inputs: the file does not have the dtype and shape of {', '.join(map(repr, names))}, and the nodes before"
            f" cannot be read ({' '.join(str(error).split())}): give the shape as inputs={{{names[0]!r}: (None, ...,"
            " features)}, with None for a free size"
        ) from None


def _info(spec: TensorSpec) -> ValueInfoProto:
    info = ValueInfoProto(name=spec.name)
    info.type.tensor_type.elem_type = _ELEMENTS[spec.dtype]
    for axis, size in enumerate(spec.shape or ()):
        dim = info.type.tensor_type.shape.dim.add()
        name = spec.dims[axis] if spec.dims else None
        if size is not None:
            dim.dim_value = size
        elif name is not None:
            dim.dim_param = name
    if spec.shape == ():
        info.type.tensor_type.shape.SetInParent()
    return info
