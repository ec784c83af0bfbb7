"""Foreign nodes: each is one ONNX node, which onnx's own reference implementation runs.

attrs of a node "foreign", all JSON-plain:
    node      base64 of the NodeProto; its inputs and outputs keep the names of the file
    opsets    {domain: version}
    dtypes    the dtype of each input in the file, or None; floats are converted to it, because onnx computes in it

Foreign nodes are slow, and limited to the forms in `fastgru.reference.audited`. Only a model that was loaded with
fallback="reference" contains such nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fastgru.errors import InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.graph import DTYPES, Graph, Node
from fastgru.modules import importing, late
from fastgru.reference.operator import is_floating, numpy_dtype
from fastgru.reference.python import PYTHON, check_python, evaluate_python

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = [
    "FOREIGN",
    "OUTSIDE",
    "check_foreign",
    "describe_foreign",
    "describe_nodes",
    "evaluate_foreign",
    "foreign_node",
]

FOREIGN: Final = "foreign"
OUTSIDE: Final = frozenset({FOREIGN, PYTHON})  # operators without a kernel
_FIELDS: Final = frozenset({"dtypes", "node", "opsets"})


def foreign_node(
    proto: NodeProto,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    opsets: Mapping[str, int],
    dtypes: Sequence[str | None],
    name: str = "",
) -> Node:
    """Return the node, checked by `check_foreign`."""
    attrs = {
        "node": late("base64").b64encode(proto.SerializeToString(deterministic=True)).decode("ascii"),
        "opsets": dict(sorted(opsets.items())),
        "dtypes": list(dtypes),
    }
    node = Node(FOREIGN, tuple(inputs), tuple(outputs), attrs, name)
    check_foreign(node)
    return node


def check_foreign(node: Node) -> None:
    """Check a foreign or python node.

    Raises `InvalidModelError` for attributes that `foreign_node` did not write, or that hold no function, and
    `UnsupportedModelError` for a node for which onnx's reference implementation was not proved right.
    """
    if node.op == PYTHON:
        check_python(node)
        return
    proto = _parse(node)
    with importing:
        from fastgru.reference.audited import refusal

    if reason := refusal(proto, node.attrs["opsets"], node.attrs["dtypes"]):
        raise UnsupportedModelError(f'{describe_foreign(node)}: fallback="reference" refuses it: {reason}')
    _open(node)


def describe_foreign(node: Node) -> str:
    """Return a text for messages: the node, its operator, domain and opset, or the layer of a python node."""
    if node.op == PYTHON:
        return str(node.attrs["function"].layer)
    proto = _parse(node)
    domain = proto.domain or "ai.onnx"
    return f"node {node.name or proto.name!r} ({proto.op_type}, {domain} opset {_opset(node, proto.domain)})"


def describe_nodes(graph: Graph) -> tuple[str, ...]:
    """Return the text of `describe_foreign` for every foreign node of a graph."""
    return tuple(describe_foreign(node) for node in graph.nodes if node.op == FOREIGN)


def evaluate_foreign(node: Node, inputs: Sequence[Any]) -> tuple[Any, ...]:
    """Return the outputs: arrays, or other values that ONNX passes between nodes, such as lists of arrays.

    Raises `ShapeError`, which names the node, for any exception of the implementation.
    """
    if node.op == PYTHON:
        return evaluate_python(node, inputs)
    run = _open(node)
    given = [_as_dtype(a, dtype) for a, dtype in zip(inputs, node.attrs["dtypes"], strict=False)]
    try:
        with np.errstate(all="ignore"):
            results = run(given)
    except Exception as error:  # another project's code may raise anything
        came = ", ".join("-" if a is None else f"{getattr(a, 'dtype', type(a).__name__)} {np.shape(a)}" for a in given)
        raise ShapeError(
            f"{describe_foreign(node)}: onnx's reference implementation: {type(error).__name__}: {str(error)[:300]}"
            f" (inputs: {came})"
        ) from error
    return tuple(a if a is None or isinstance(a, list) else np.asarray(a) for a in results)


def _as_dtype(value: Any, dtype: str | None) -> Any:
    if dtype is None or value is None or isinstance(value, list):
        return value
    array = np.asarray(value)
    return array.astype(numpy_dtype(dtype), copy=False) if is_floating(array.dtype) else array


def _parse(node: Node) -> NodeProto:
    with importing:
        import base64

        from google.protobuf.message import DecodeError
        from onnx import NodeProto

    attrs = node.attrs
    if set(attrs) != _FIELDS or type(attrs["node"]) is not str or not isinstance(attrs["opsets"], Mapping):
        raise InvalidModelError(f"{node}: its attributes are {sorted(attrs)}, expected {', '.join(sorted(_FIELDS))}")
    dtypes = attrs["dtypes"]
    if not isinstance(dtypes, list | tuple) or len(dtypes) != len(node.inputs):
        raise InvalidModelError(f"{node}: dtypes must be a list with one entry for each input")
    if not all(dtype is None or dtype in DTYPES for dtype in dtypes):
        raise InvalidModelError(f"{node}: dtypes must hold names")
    if not all(isinstance(d, str) and type(v) is int and 0 < v < 1 << 31 for d, v in attrs["opsets"].items()):
        raise InvalidModelError(f"{node}: opsets are {dict(attrs['opsets'])!r:.200}, expected versions by domain")
    proto = NodeProto()
    try:
        proto.ParseFromString(base64.b64decode(attrs["node"], validate=True))
    except (DecodeError, RecursionError, UnicodeError, ValueError) as error:
        raise InvalidModelError(f"{node}: its ONNX node is missing or damaged ({error})") from None
    if len(proto.input) != len(node.inputs) or len(proto.output) != len(node.outputs):
        raise InvalidModelError(
            f"{node}: {len(node.inputs)} inputs and {len(node.outputs)} outputs differ from its ONNX node"
        )
    if [bool(a) for a in proto.input] != [bool(a) for a in node.inputs]:
        raise InvalidModelError(f"{node}: its absent inputs differ from those of its ONNX node")
    return proto


def _opset(node: Node, domain: str) -> Any:
    return node.attrs["opsets"].get("" if domain == "ai.onnx" else domain, "?")


def _open(node: Node) -> _Runner:
    proto = _parse(node)
    attrs = node.attrs
    try:
        return _runner(attrs["node"], tuple(attrs["opsets"].items()))
    except Exception as error:  # NotImplementedError, or any error while onnx loads an operator
        raise UnsupportedModelError(
            f"node {node.name or proto.name!r}: operator {proto.op_type} ({proto.domain or 'ai.onnx'} opset"
            f" {_opset(node, proto.domain)}) is unknown to onnx's reference implementation, too"
            f" ({str(error).strip()[:200]})"
        ) from None


class _Runner:
    """The evaluators of one node. Each runs one call at a time, because onnx does not say that one may be shared."""

    def __init__(self, proto: NodeProto, opsets: Mapping[str, int]) -> None:
        with importing:
            from onnx import helper
            from onnx.reference import ReferenceEvaluator

        self._names = list(proto.input)
        self._outputs = list(proto.output)
        wanted = [name for name in dict.fromkeys(self._outputs) if name]
        graph = helper.make_graph(
            [proto],
            "node",
            [helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(self._names) if name],
            [helper.make_empty_tensor_value_info(name) for name in wanted],
        )
        imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
        self._make = partial(ReferenceEvaluator, helper.make_model(graph, opset_imports=imports))
        self._idle = [self._make()]  # evaluators that no call is using
        self._wanted = wanted

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        feeds = {name: a for name, a in zip(self._names, inputs, strict=True) if name}
        try:
            evaluator = self._idle.pop()
        except IndexError:
            evaluator = self._make()
        results = dict(zip(self._wanted, evaluator.run(self._wanted, feeds), strict=True))
        self._idle.append(evaluator)
        return [results.get(name) for name in self._outputs]


@lru_cache(maxsize=512)
def _runner(node: str, opsets: tuple[tuple[str, int], ...]) -> _Runner:
    with importing:
        import base64

        from onnx import NodeProto

    return _Runner(NodeProto.FromString(base64.b64decode(node)), dict(opsets))
