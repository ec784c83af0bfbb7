"""A part of a graph: the nodes between values that become its inputs and values that become its outputs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastgru.errors import InvalidModelError
from fastgru.graph import DTYPES, Graph, TensorSpec
from fastgru.nearest import offered
from fastgru.reference.facts import infer_graph

__all__ = ["Inputs", "as_names", "check_ends", "check_known", "form_of", "part_of"]

# Names, or a dict from name to None (the file has the shape), to sizes, or to {shape: ..., dtype: ...}.
Inputs = Sequence[str] | Mapping[str, Any]


def as_names(what: str, given: Any) -> Any:
    """Return the names of `inputs` or `outputs` as a list, or as a dict if they come with shapes.

    Raises `InvalidModelError` for anything else.
    """
    names = [given] if isinstance(given, str) else given
    if isinstance(names, Mapping) and what == "outputs":
        names = None
    listed = list(names) if isinstance(names, Sequence | Mapping) else []
    if not listed or not all(isinstance(name, str) for name in listed) or len(set(listed)) != len(listed):
        raise InvalidModelError(f"{what} is {given!r:.80}, expected a list of names, each once")
    return dict(names) if isinstance(names, Mapping) else listed


def form_of(name: str, told: Any, dtype: str = "float32") -> tuple[str, tuple[int | None, ...]] | None:
    """Return the dtype and shape that the caller gives for an input, or None if the caller gives no shape.

    dtype: the dtype if the caller gives only the shape.
    """
    form, dtype = (told.get("shape"), told.get("dtype", dtype)) if isinstance(told, Mapping) else (told, dtype)
    if form is None:
        return None
    sizes = list(form) if isinstance(form, Sequence) and not isinstance(form, str) else [0]
    if not all(size is None or (type(size) is int and size > 0) for size in sizes) or dtype not in DTYPES:
        raise InvalidModelError(f"inputs: {name!r} is {told!r:.80}, expected sizes, with None for free ones")
    return dtype, tuple(sizes)


def check_known(what: str, names: Collection[str], known: Collection[str]) -> None:
    """Raise `InvalidModelError` for names that are not in `known`."""
    if unknown := [name for name in names if name not in known]:
        raise InvalidModelError(
            f"{what} names {', '.join(map(repr, unknown))}, which is not a tensor of the model;"
            f" {offered(unknown, list(known)[:40])}"
        )


def part_of(graph: Graph, inputs: Inputs | None, outputs: Sequence[str] | None) -> Graph:
    """Return the part of the graph between these values.

    Raises `InvalidModelError` for unknown names, inputs that nothing needs, and inputs that are missing.
    """
    own = {spec.name: spec for spec in graph.inputs}
    facts = infer_graph(graph)
    values = [*own, *(name for node in graph.nodes for name in node.outputs if name)]
    for what, names in (("inputs", inputs or ()), ("outputs", outputs or ())):
        check_known(what, names, values)
    begins = list(own) if inputs is None else list(inputs)
    ends = [spec.name for spec in graph.outputs] if outputs is None else list(outputs)
    needed, nodes = set(ends), []
    for node in reversed(graph.nodes):
        if needed.intersection(name for name in node.outputs if name not in begins):
            nodes.append(node)
            needed.update(name for name in node.inputs if name)
    if inputs is None:
        begins = [name for name in begins if name in needed]
    check_ends(begins, [name for name in own if name in needed], needed)
    told = inputs if isinstance(inputs, Mapping) else {}
    given = dict[str, TensorSpec]()
    for name in begins:
        kind = own[name].dtype if name in own else facts[name].dtype or "float32"
        if (form := form_of(name, told.get(name), kind)) is not None:
            given[name] = TensorSpec(name, *form)
    declared = {spec.name: spec for spec in graph.outputs}
    if given.keys() & own:  # a new shape of an input may change those of the outputs
        facts = infer_graph(replace(graph, inputs=tuple(given.get(name, spec) for name, spec in own.items())))
        declared = {}
    declared |= own | given

    def spec(name: str) -> TensorSpec:
        if name in declared:
            return declared[name]
        dtype, sizes = facts[name].dtype, facts[name].sizes
        if dtype is None:
            raise InvalidModelError(f"the dtype of {name!r} is not known: give it with inputs={{{name!r}: ...}}")
        if sizes is None:
            return TensorSpec(name, dtype, None)
        dims = tuple(size if isinstance(size, str) else None for size in sizes)
        return TensorSpec(name, dtype, tuple(s if isinstance(s, int) else None for s in sizes), dims)

    kept = {name: array for name, array in graph.constants.items() if name in needed}
    states = {s: t for s, t in graph.states.items() if s in begins and t in ends}
    precisions = {n: p for n, p in graph.precisions.items() if any(n in node.outputs for node in nodes)}
    renamed = [replace(n, outputs=tuple("" if o in begins else o for o in n.outputs)) for n in nodes[::-1]]
    return replace(
        graph,
        inputs=tuple(map(spec, begins)),
        outputs=tuple(map(spec, ends)),
        nodes=tuple(renamed),
        constants=kept,
        states=states,
        precisions=precisions,
    ).validate()


def check_ends(begins: Sequence[str], own: Sequence[str], needed: Collection[str]) -> None:
    """Raise `InvalidModelError` for missing or unneeded inputs. own: the model's own inputs that are still needed."""
    if missing := [name for name in own if name not in begins]:
        raise InvalidModelError(
            f"inputs: the outputs need {', '.join(map(repr, missing))}, too: add them to inputs, or choose inputs"
            " behind them"
        )
    if idle := [name for name in begins if name not in needed]:
        raise InvalidModelError(f"inputs: the outputs do not need {', '.join(map(repr, idle))}: leave them out")
