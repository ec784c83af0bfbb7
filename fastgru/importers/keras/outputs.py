"""The end of the reading: outputs get their names, and what nobody needs is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fastgru.errors import InvalidModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.plan import Plan
from fastgru.importers.keras.refs import Ref
from fastgru.importers.keras.run import Outputs, output_of
from fastgru.importers.keras.values import GraphBuilder, Value

__all__ = ["finish", "wanted_outputs"]


def wanted_outputs(
    model: LayerConfig, plan: Plan, named: Mapping[tuple[str, int], Outputs], extra: Sequence[str]
) -> list[tuple[str, Value]]:
    """The outputs by the names they will have."""
    refs = list(plan.outputs)
    for name in extra:
        made = named.get((name, 0))
        if made is None:
            known = ", ".join(sorted(layer for layer, _ in named))
            raise InvalidModelError(f"outputs names {name!r}, which is no layer of the model; there are {known}")
        refs += [ref for n in range(len(made)) if (ref := Ref(name, 0, n)) not in refs]
    wanted: dict[str, Value] = {}
    for ref in refs:
        value = output_of(model, named, ref)
        stem = ref.layer if ref.tensor == 0 else f"{ref.layer}_{ref.tensor}"
        name, n = stem, 0
        while name in wanted:
            n += 1
            name = f"{stem}_call{n}"
        if value is not None:
            wanted[name] = value
    return list(wanted.items())


def finish(
    builder: GraphBuilder, inputs: Sequence[TensorSpec], wanted: Sequence[tuple[str, Value]], *, time_major: bool
) -> Graph:
    """Name the outputs, and leave out what they do not need."""
    renamed, nodes, specs = _name_outputs(builder, {s.name for s in [*inputs, *builder.state_inputs]}, wanted)
    targets = set(builder.states.values())
    needed = {spec.name for spec in specs} | targets
    kept: list[Node] = []
    for node in reversed(nodes):
        if needed.intersection(node.outputs):
            # An output that nobody reads gets no name, so that nothing is computed for it.
            kept.append(replace(node, outputs=tuple(n if n in needed else "" for n in node.outputs)))
            needed.update(node.inputs)
    constants = {renamed.get(n, n): a for n, a in builder.constants.items() if renamed.get(n, n) in needed}
    if time_major:  # the batch is not the first axis everywhere
        inputs, specs = ([replace(spec, dims=()) for spec in group] for group in (inputs, specs))
    return Graph(
        (*inputs, *builder.state_inputs),
        (*specs, *builder.state_outputs),
        tuple(reversed(kept)),
        constants,
        dict(builder.states),
    )


def _name_outputs(
    builder: GraphBuilder, inputs: set[str], wanted: Sequence[tuple[str, Value]]
) -> tuple[dict[str, str], list[Node], list[TensorSpec]]:
    nodes = list(builder.nodes)
    made = {name for node in nodes for name in node.outputs}
    renamed: dict[str, str] = {}
    fixed = inputs | set(builder.states.values())
    reserved = {name for name, _ in wanted} | fixed
    specs = []
    for name, value in wanted:
        if name in fixed and name != value.name:
            name = builder.fresh(f"{name}_output")
        if value.name != name and (value.name in fixed or value.name in renamed or value.name not in made):
            # Another output, or an input, has this value already: copy it.
            shape = builder.integers([0] * value.rank, f"{name}/same")
            nodes.append(Node("reshape", (value.name, shape), (name,), {}, name=name))
        else:
            renamed[value.name] = name
        dims = ("batch", *(None for _ in value.shape[1:]))
        specs.append(TensorSpec(name, value.dtype, value.shape, dims))
    # A name that an output takes may be that of another value, which then moves away.
    for name in [*made, *builder.constants]:
        if name in reserved and name not in renamed and name not in fixed and name != "":
            renamed[name] = builder.fresh(f"{name}/value")

    def rename(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(renamed.get(n, n) for n in names)

    copies = len(builder.nodes)
    nodes = [
        replace(node, inputs=rename(node.inputs), outputs=rename(node.outputs) if i < copies else node.outputs)
        for i, node in enumerate(nodes)
    ]
    return renamed, nodes, specs
