"""The one pass over an ONNX graph: it converts every node to nodes of our own operators and folds constants.

It collects whatever it cannot convert, so that one error names everything.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from fastgru.errors import InvalidModelError, SpecError, UnsupportedModelError
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.attributes import Attributes, collect_attributes
from fastgru.importers.onnx.builder import Body, OnnxGraphBuilder, Refused, Scope, Site
from fastgru.importers.onnx.functions import Functions, attributes_of, opened
from fastgru.importers.onnx.proto import AttributeProto, FunctionProto, GraphProto, NodeProto, label, main_domain
from fastgru.importers.onnx.refusals import Refusals, way_round
from fastgru.importers.onnx.registry import KNOWN_DOMAINS, OnnxNode, OnnxOperator, lookup
from fastgru.importers.onnx.structure import MAX_DEPTH, in_order, live_nodes, outer_reads
from fastgru.modules import importing

__all__ = ["SORTED", "Converter"]

SORTED: Final = (
    "some nodes read values that later nodes compute, which ONNX does not allow; the nodes were sorted. Converters to"
    " float16 write such files"
)
# Functions that call functions grow without bound in a hostile file.
_MAX_CONVERTED_NODES: Final = 50_000


class Converter:
    """`run` converts a list of nodes in a scope; `refusals` then has everything that could not be converted.

    initializers: returns the initializers of a graph, each read when it is first used.
    """

    def __init__(
        self,
        build: OnnxGraphBuilder,
        functions: Functions,
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

    def run(self, protos: Sequence[NodeProto], scope: Scope) -> None:
        for proto in protos:
            self._converted += 1
            if self._converted > _MAX_CONVERTED_NODES:
                raise InvalidModelError(f"the graph has more than {_MAX_CONVERTED_NODES} nodes")
            domain, name = main_domain(proto.domain), label(proto, scope.prefix)
            version = f"{domain or 'ai.onnx'} opset {scope.opsets.get(domain, '?')}"
            what = f"node {name!r} ({proto.op_type}, {version})"
            inputs = tuple([self._input(given, scope, what) if given else None for given in proto.input])
            outputs = self._outputs(Site(proto, scope, what, inputs, name, domain))
            for made, value in zip(proto.output, outputs, strict=False):
                if made:
                    if scope.defines(made):
                        raise InvalidModelError(f"{what}: defines {made!r} a second time")
                    scope.values[made] = value

    def _input(self, name: str, scope: Scope, what: str) -> Value:
        try:
            return scope.get(name, what)
        except UnsupportedModelError as error:
            self.refusals.add_fault(str(error))
            scope.values[name] = Refused(name)
            return scope.values[name]

    def _outputs(self, site: Site) -> Sequence[Value]:
        if (function := self._functions.find(site)) is not None:
            return self.call(function, attributes_of(function, site), site)
        if any(isinstance(v, Refused) for v in site.inputs):
            self._known(site)
            return _unknown(site)
        known = self._known(site, quiet=self._falls_back)
        if known is None:
            return self._keep(site) if self._falls_back else _unknown(site)
        try:
            return self._convert(known, site)
        except UnsupportedModelError as error:
            if self._falls_back:
                return self._keep(site, str(error))
            self.refusals.add_fault(str(error))
            return _unknown(site)

    def _keep(self, site: Site, reason: str = "") -> Sequence[Value]:
        """Return the outputs of a node that onnx's own implementation will run. reason: why it was not converted."""
        with importing:
            from fastgru.importers.onnx.fallback import keep

        self.build.node_name = site.name
        try:
            return keep(site, self.build)
        except UnsupportedModelError as error:
            self.refusals.add_fault(f"{reason}; and {error}" if reason else f"{error}; {way_round(site)}")
            return _unknown(site)

    def _known(self, site: Site, *, quiet: bool = False) -> OnnxOperator | None:
        """Return the operator in the version that the opset selects, or None; then `refusals` has it, unless quiet."""
        opsets, domain = site.scope.opsets, site.domain
        if domain not in opsets and domain not in KNOWN_DOMAINS:
            raise InvalidModelError(f"{site.what}: the model imports no opset of domain {site.proto.domain!r}")
        found = lookup(site.proto.op_type, domain, opsets.get(domain, 1))
        if found is not None:
            return found
        if not quiet:
            self.refusals.add_operator(site.proto.op_type, domain, opsets.get(domain, 1), site.name)
        return None

    def _convert(self, known: OnnxOperator, site: Site) -> Sequence[Value]:
        known.check(site)
        attrs = Attributes(collect_attributes(site.proto.attribute, site.what, site.scope.attributes), site.what)
        version = known.version_for(site.scope.opsets.get(site.domain, 1))
        node = OnnxNode(site, version, attrs, self, self._options)
        self.build.node_name = site.name
        try:
            result = known.convert(node, self.build)
        except SpecError as error:
            raise node.invalid(str(error)) from None
        if unread := attrs.unread():
            raise UnsupportedModelError(
                f"{site.what}: attribute {', '.join(map(repr, unread))} does not belong to {node.op}-{version};"
                " remove it, or export with an opset that defines it"
            )
        values = result if isinstance(result, tuple) else (result,)
        for value in values:
            if not isinstance(value, Value):
                raise TypeError(f"{site.what}: its function returned {type(value).__name__}, expected a Value")
        if missing := [name for name in node.outputs[len(values) :] if name]:
            raise UnsupportedModelError(
                f"{site.what}: output {', '.join(map(repr, missing))} is not implemented; remove what reads it"
            )
        return values

    def open_body(self, graph: GraphProto, site: Site) -> Body:
        """See `Surroundings`."""
        if graph.sparse_initializer:
            raise UnsupportedModelError(
                f"{site.what}: sparse initializers of a subgraph are not implemented; store them dense"
            )
        lazy = self._initializers(graph)
        ordered, moved = in_order(graph, {*lazy, *(info.name for info in graph.input)}, site.scope.defines)
        if moved and SORTED not in self.build.warnings:
            self.build.warnings.append(SORTED)
        nodes, wanted = live_nodes(graph, ordered)
        self.unread.update(f"{site.what}: {name}" for name in lazy if name not in wanted)
        return Body(graph, nodes, {name: _once(read) for name, read in lazy.items()})

    def settle_body(self, body: Body, fixed: Mapping[str, Value], site: Site) -> Body:
        """See `Surroundings`."""
        moving, settled, left = {info.name for info in body.graph.input} - set(fixed), [], []
        for proto in body.nodes:
            if moving.isdisjoint((*proto.input, *outer_reads(proto))):
                settled.append(proto)
            else:
                left.append(proto)
                moving.update(proto.output)
        scope = site.scope
        inner = Scope(scope.opsets, lazy=body.lazy, attributes=scope.attributes, prefix=f"{site.name}/", parent=scope)
        inner.values.update(fixed)
        self.run(settled, inner)
        made = {name: partial(inner.get, name, site.what) for proto in settled for name in proto.output if name}
        return Body(body.graph, left, {**body.lazy, **made})

    def run_body(self, body: Body, given: Sequence[Value], prefix: str, site: Site) -> list[Value]:
        """See `Surroundings`."""
        scope, what = site.scope, site.what
        if len(given) != len(body.graph.input):
            raise InvalidModelError(f"{what}: its subgraph has {len(body.graph.input)} inputs, expected {len(given)}")
        inner = Scope(scope.opsets, lazy=body.lazy, attributes=scope.attributes, prefix=prefix, parent=scope)
        for info, value in zip(body.graph.input, given, strict=True):
            if info.name in inner.values or info.name in body.lazy:
                raise InvalidModelError(f"{what}: its subgraph defines {info.name!r} a second time")
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
    def tracing(self) -> Iterator[OnnxGraphBuilder]:
        """See `Surroundings`."""
        kept = self.build, self.refusals, self._falls_back
        self.build, self._falls_back = kept[0].apart(), False
        self.refusals = Refusals(fallback=True)  # only the outer message advises the fallback
        try:
            yield self.build
            self.refusals.raise_if_any("a subgraph")
        finally:
            self.build, self.refusals, self._falls_back = kept

    def call(self, function: FunctionProto, attributes: Mapping[str, AttributeProto], site: Site) -> tuple[Value, ...]:
        """See `Surroundings`."""
        nodes, inner = opened(function, attributes, site)
        with self._functions.entered(site):
            self.run(nodes, inner)
        return tuple(
            inner.get(inside, f"{site.what}: output") if outside else Value("")
            for inside, outside in zip(function.output, site.proto.output, strict=False)
        )


def _once(read: Callable[[], Value]) -> Callable[[], Value]:
    """Return a function that calls `read` once, when its result is first needed."""
    found: list[Value] = []

    def get() -> Value:
        if not found:
            found.append(read())
        return found[0]

    return get


def _unknown(site: Site) -> tuple[Value, ...]:
    return tuple(Refused(name) for name in site.proto.output)
