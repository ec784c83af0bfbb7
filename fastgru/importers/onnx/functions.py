"""Functions of a model or of ONNX itself: lists of nodes that replace the node which calls them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from fastgru.errors import InvalidModelError
from fastgru.importers.onnx.attributes import collect_attributes
from fastgru.importers.onnx.builder import Scope, Site
from fastgru.importers.onnx.proto import AttributeProto, FunctionProto, NodeProto, main_domain

__all__ = ["Functions", "attributes_of", "opened"]

# Functions that call functions grow without bound in a hostile file.
_MAX_CALL_DEPTH: Final = 32


class Functions:
    """The functions of a model, and the calls that are being converted."""

    def __init__(self, functions: Iterable[FunctionProto]) -> None:
        self._functions = {(main_domain(f.domain), f.name, f.overload): f for f in functions}
        self._calls: list[tuple[str, str, str]] = []

    def find(self, site: Site) -> FunctionProto | None:
        """Return the function that a node calls, or None if the model defines none of this name."""
        return self._functions.get(_key(site)) if self._functions else None

    @contextmanager
    def entered(self, site: Site) -> Iterator[None]:
        """Mark the node's function as being converted; raise `InvalidModelError` for recursion or too deep nesting."""
        key = _key(site)
        if key in self._calls or len(self._calls) >= _MAX_CALL_DEPTH:
            raise InvalidModelError(f"{site.what}: function {key[1]!r} calls itself, or calls are nested too deeply")
        self._calls.append(key)
        try:
            yield
        finally:
            self._calls.pop()


def _key(site: Site) -> tuple[str, str, str]:
    return site.domain, site.proto.op_type, site.proto.overload


def attributes_of(function: FunctionProto, site: Site) -> dict[str, AttributeProto]:
    """Return the attributes that a call gives to a function; raise `InvalidModelError` if the call does not fit it."""
    outputs = site.proto.output
    if len(site.inputs) > len(function.input) or len(outputs) > len(function.output):
        raise InvalidModelError(
            f"{site.what}: got {len(site.inputs)} inputs and {len(outputs)} outputs, expected at most"
            f" {len(function.input)} and {len(function.output)} for this function"
        )
    given = collect_attributes(site.proto.attribute, site.what, site.scope.attributes)
    defaults = collect_attributes(function.attribute_proto, site.what)
    if unknown := sorted(set(given) - set(defaults) - set(function.attribute)):
        raise InvalidModelError(f"{site.what}: the function has no attribute {', '.join(unknown)}")
    return {**defaults, **given}


def opened(
    function: FunctionProto, attributes: Mapping[str, AttributeProto], site: Site
) -> tuple[Sequence[NodeProto], Scope]:
    """Return the nodes of a function for one call and the scope of their names.

    Inputs that the caller left out are removed from the nodes.
    """
    values = {name: value for name, value in zip(function.input, site.inputs, strict=False) if value is not None}
    opsets = {main_domain(entry.domain): entry.version for entry in function.opset_import}
    absent = set(function.input) - set(values)
    nodes = [_without(proto, absent) for proto in function.node] if absent else function.node
    return nodes, Scope(opsets, values, attributes=attributes, prefix=f"{site.name}/")


def _without(proto: NodeProto, absent: set[str]) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(proto)
    del copy.input[:]
    copy.input.extend("" if name in absent else name for name in proto.input)
    return copy
