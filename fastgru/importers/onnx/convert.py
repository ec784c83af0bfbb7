"""The one pass over an ONNX graph: every node becomes nodes of our operator table, constants fold on the way.

What cannot be converted is collected, so that one error names all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from fastgru.errors import InvalidModelError, SpecError, UnsupportedModelError
from fastgru.importers.onnx.builder import Builder
from fastgru.importers.onnx.fallback import keep
from fastgru.importers.onnx.node import Attributes, OnnxNode, collect_attributes, label
from fastgru.importers.onnx.ops.defined import function_body
from fastgru.importers.onnx.proto import AttributeProto, FunctionProto, GraphProto, NodeProto
from fastgru.importers.onnx.refusals import Refusals
from fastgru.importers.onnx.registry import Operator, lookup
from fastgru.importers.onnx.structure import live_nodes
from fastgru.importers.onnx.subgraphs import MAX_DEPTH, outer_reads
from fastgru.importers.onnx.values import Kind, Value

__all__ = ["Body", "Converter", "Scope"]

_CONTROL: Final = frozenset({"If", "Loop", "Scan"})

# Functions that call functions grow without bound in a hostile file.
_MAX_CONVERTED_NODES: Final = 50_000
_MAX_CALL_DEPTH: Final = 32


@dataclass
class Scope:
    """Names that mean something at one place: of the main graph, or of one call of a function."""

    opsets: Mapping[str, int]
    values: dict[str, Value] = field(default_factory=dict)
    lazy: Mapping[str, Callable[[], Value]] = field(default_factory=dict)
    attributes: Mapping[str, AttributeProto] | None = None
    prefix: str = ""
    parent: Scope | None = None

    def get(self, name: str, what: str) -> Value:
        if name not in self.values:
            if name not in self.lazy:
                if self.parent is not None:
                    return self.parent.get(name, what)
                raise InvalidModelError(f"{what}: reads {name!r}, which nothing defines")
            self.values[name] = self.lazy[name]()
        return self.values[name]

    def defines(self, name: str) -> bool:
        """True where the name means something here, or in a graph around this one."""
        here = name in self.values or name in self.lazy
        return here or (self.parent is not None and self.parent.defines(name))


@dataclass(frozen=True)
class Body:
    """A subgraph with those of its nodes that its outputs need, and its initializers, each read once."""

    graph: GraphProto
    nodes: Sequence[NodeProto]
    lazy: Mapping[str, Callable[[], Value]]


class Converter:
    """`run` converts a list of nodes in a scope; `refusals` then holds what could not be converted."""

    def __init__(
        self,
        build: Builder,
        functions: Mapping[tuple[str, str, str], FunctionProto],
        options: Mapping[str, Any],
        initializers: Callable[[GraphProto], dict[str, Callable[[], Value]]],
    ) -> None:
        self.build = build
        self.unread: set[str] = set()
        self._initializers = initializers
        self._depth = 0
        self._falls_back = bool(options["fallback"])
        self.refusals = Refusals(fallback=self._falls_back)
        self._functions = functions
        self._options = options
        self._converted = 0
        self._calls: list[tuple[str, str, str]] = []

    def run(self, protos: Sequence[NodeProto], scope: Scope) -> None:
        for proto in protos:
            self._converted += 1
            if self._converted > _MAX_CONVERTED_NODES:
                raise InvalidModelError(f"the graph has more than {_MAX_CONVERTED_NODES} nodes")
            what = f"node {label(proto, scope.prefix)!r} ({_shown(proto, scope)})"
            inputs = tuple(self._input(name, scope, what) if name else None for name in proto.input)
            for name, value in zip(proto.output, self._outputs(proto, inputs, scope, what), strict=False):
                if name:
                    if scope.defines(name):
                        raise InvalidModelError(f"{what}: defines {name!r} a second time")
                    scope.values[name] = value

    def _input(self, name: str, scope: Scope, what: str) -> Value:
        try:
            return scope.get(name, what)
        except UnsupportedModelError as error:
            self.refusals.add_fault(str(error))
            scope.values[name] = Value(Kind(), name, tainted=True)
            return scope.values[name]

    def _outputs(self, proto: NodeProto, inputs: tuple[Value | None, ...], scope: Scope, what: str) -> Sequence[Value]:
        unknown = tuple(Value(Kind(), name, tainted=True) for name in proto.output)
        function = (_domain(proto.domain), proto.op_type, proto.overload)
        if function in self._functions:
            return self._call(function, proto, inputs, scope, what)
        if any(v is not None and v.tainted for v in inputs):
            self._known(proto, scope, what)
            return unknown
        if proto.op_type in _CONTROL and _domain(proto.domain) == "":
            from fastgru.importers.onnx.control import CONTROL  # few files have any

            try:
                return CONTROL[proto.op_type](self, proto, inputs, scope, what)
            except UnsupportedModelError as error:
                if self._falls_back:
                    return self._keep(proto, inputs, scope, what)
                self.refusals.add_fault(str(error))
                return unknown
        known = self._known(proto, scope, what, quiet=self._falls_back)
        if known is None:
            return self._keep(proto, inputs, scope, what) if self._falls_back else unknown
        try:
            return self._convert(known, proto, inputs, scope, what)
        except UnsupportedModelError as error:
            if self._falls_back:
                return self._keep(proto, inputs, scope, what)
            self.refusals.add_fault(str(error))
            return unknown

    def _keep(self, proto: NodeProto, inputs: tuple[Value | None, ...], scope: Scope, what: str) -> Sequence[Value]:
        """The outputs of a node that onnx's own implementation will carry out."""
        captured = {name: scope.get(name, what) for name in outer_reads(proto)}
        unknown = tuple(Value(Kind(), name, tainted=True) for name in proto.output)
        if any(value.tainted for value in captured.values()):
            return unknown
        self.build.node_name = label(proto, scope.prefix)
        try:
            return keep(proto, inputs, captured, scope.opsets, scope.attributes, what, self.build)
        except UnsupportedModelError as error:
            self.refusals.add_fault(str(error))
            return unknown

    def open_body(self, graph: GraphProto, what: str) -> Body:
        """A subgraph, to be converted once or many times."""
        if graph.sparse_initializer:
            raise UnsupportedModelError(
                f"{what}: sparse initializers of a subgraph are not implemented; store them dense"
            )
        nodes, wanted = live_nodes(graph)
        lazy = self._initializers(graph)
        self.unread.update(f"{what}: {name}" for name in lazy if name not in wanted)
        return Body(graph, nodes, {name: cache(read) for name, read in lazy.items()})

    def run_body(self, body: Body, given: Sequence[Value], scope: Scope, prefix: str, what: str) -> list[Value]:
        """The outputs of a subgraph for these inputs, its nodes converted in place."""
        if len(given) != len(body.graph.input):
            raise InvalidModelError(f"{what}: a subgraph of {len(body.graph.input)} inputs, expected {len(given)}")
        inner = Scope(scope.opsets, lazy=body.lazy, attributes=scope.attributes, prefix=prefix, parent=scope)
        for info, value in zip(body.graph.input, given, strict=True):
            if info.name in inner.values or info.name in body.lazy:
                raise InvalidModelError(f"{what}: a subgraph defines {info.name!r} a second time")
            inner.values[info.name] = value
        if self._depth >= MAX_DEPTH:
            raise InvalidModelError(f"{what}: subgraphs are nested too deeply")
        self._depth += 1
        try:
            self.run(body.nodes, inner)
        finally:
            self._depth -= 1
        return [inner.get(info.name, f"{what}: output of a subgraph") for info in body.graph.output]

    @contextmanager
    def tracing(self) -> Iterator[Builder]:
        """A builder of its own for the time being; `UnsupportedModelError` at the end if anything was refused in it."""
        kept = self.build, self.refusals, self._falls_back
        self.build, self.refusals, self._falls_back = kept[0].apart(), Refusals(), False
        try:
            yield self.build
            self.refusals.raise_if_any("a subgraph")
        finally:
            self.build, self.refusals, self._falls_back = kept

    def _known(self, proto: NodeProto, scope: Scope, what: str, *, quiet: bool = False) -> Operator | None:
        """The operator if it is imported in the version that the opset selects, else the refusal is noted."""
        domain = _domain(proto.domain)
        if domain not in scope.opsets:
            raise InvalidModelError(f"{what}: the model imports no opset of domain {proto.domain!r}")
        opset = scope.opsets[domain]
        found = lookup(proto.op_type) if domain == "" else None
        if found is None or found.version_for(opset) == 0:
            if not quiet:
                self.refusals.add_operator(proto.op_type, domain, opset, label(proto, scope.prefix))
            return None
        return found

    def _convert(
        self, known: Operator, proto: NodeProto, inputs: tuple[Value | None, ...], scope: Scope, what: str
    ) -> Sequence[Value]:
        opset = scope.opsets[""]
        most = known.max_inputs
        if len(inputs) < known.min_inputs or (most is not None and len(inputs) > most):
            expected = f"{known.min_inputs} to {'any number' if most is None else most}"
            raise InvalidModelError(f"{what}: {len(inputs)} inputs, expected {expected}")
        if known.max_outputs is not None and len(proto.output) > known.max_outputs:
            raise InvalidModelError(f"{what}: {len(proto.output)} outputs, expected at most {known.max_outputs}")
        for index, name in known.constants.items():
            value = inputs[index] if index < len(inputs) else None
            if value is not None and value.array is None:
                raise UnsupportedModelError(
                    f"{what}: input {name} ({proto.input[index]!r}) is computed while the model runs;"
                    f" export the model so that {name} is a constant"
                )
        protos = collect_attributes(proto.attribute, what, scope.attributes)
        attrs = Attributes(protos, what)
        version = known.version_for(opset)
        if known.convert is None:
            body, given = function_body(proto, version, protos, inputs, what)
            key = ("onnx", proto.op_type, "")
            return self._inline(key, body, given, inputs, proto.output, label(proto, scope.prefix), what)
        node = OnnxNode(proto.op_type, what, opset, version, inputs, tuple(proto.output), attrs, self._options)
        self.build.node_name = label(proto, scope.prefix)
        try:
            result = known.convert(node, self.build)
        except SpecError as error:
            raise InvalidModelError(f"{what}: {error}") from None
        if unread := attrs.unread():
            raise UnsupportedModelError(
                f"{what}: attribute {', '.join(map(repr, unread))} means nothing to {proto.op_type}-{version};"
                " remove it, or export with an opset that defines it"
            )
        values = result if isinstance(result, tuple) else (result,)
        if missing := [name for name in proto.output[len(values) :] if name]:
            raise UnsupportedModelError(
                f"{what}: output {', '.join(map(repr, missing))} is not implemented; remove what reads it"
            )
        return values

    def _call(
        self,
        key: tuple[str, str, str],
        proto: NodeProto,
        inputs: tuple[Value | None, ...],
        scope: Scope,
        what: str,
    ) -> Sequence[Value]:
        """The outputs of a function of the model, whose body is converted in place with values of its own."""
        function = self._functions[key]
        if key in self._calls or len(self._calls) >= _MAX_CALL_DEPTH:
            raise InvalidModelError(f"{what}: function {key[1]!r} calls itself, or calls are nested too deeply")
        if len(inputs) > len(function.input) or len(proto.output) > len(function.output):
            raise InvalidModelError(
                f"{what}: {len(inputs)} inputs and {len(proto.output)} outputs for a function of"
                f" {len(function.input)} and {len(function.output)}"
            )
        given = collect_attributes(proto.attribute, what, scope.attributes)
        defaults = collect_attributes(function.attribute_proto, what)
        if unknown := sorted(set(given) - set(defaults) - set(function.attribute)):
            raise InvalidModelError(f"{what}: attribute {', '.join(unknown)} is none of the function's")
        name = label(proto, scope.prefix)
        return self._inline(key, function, {**defaults, **given}, inputs, proto.output, name, what)

    def _inline(
        self,
        key: tuple[str, str, str],
        function: FunctionProto,
        attributes: Mapping[str, AttributeProto],
        inputs: tuple[Value | None, ...],
        outputs: Sequence[str],
        name: str,
        what: str,
    ) -> Sequence[Value]:
        """What a function's body gives for `outputs`, the names outside; it is converted with names of its own."""
        inner = Scope(
            opsets={_domain(o.domain): o.version for o in function.opset_import},
            attributes=attributes,
            prefix=f"{name}/",
        )
        absent = Value(Kind(), "")
        for i, given in enumerate(function.input):
            inner.values[given] = (inputs[i] if i < len(inputs) else None) or absent
        self._calls.append(key)
        try:
            self.run(_without_absent(function.node, inner, absent), inner)
        finally:
            self._calls.pop()
        return [
            inner.get(inside, f"{what}: output") if outside else absent
            for inside, outside in zip(function.output, outputs, strict=False)
        ]


def _without_absent(protos: Sequence[NodeProto], scope: Scope, absent: Value) -> Sequence[NodeProto]:
    """The nodes with inputs that the caller left out turned into absent ones."""
    names = {name for name, value in scope.values.items() if value is absent}
    for name in names:
        del scope.values[name]
    if not names:
        return protos
    changed = []
    for proto in protos:
        copy = NodeProto()
        copy.CopyFrom(proto)
        del copy.input[:]
        copy.input.extend("" if name in names else name for name in proto.input)
        changed.append(copy)
    return changed


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _shown(proto: NodeProto, scope: Scope) -> str:
    domain = _domain(proto.domain)
    return f"{proto.op_type}, {domain or 'ai.onnx'} opset {scope.opsets.get(domain, '?')}"
