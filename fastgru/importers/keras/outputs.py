"""The end of the reading: outputs get their names, and what nobody needs is left out."""

from collections.abc import Container, Mapping, Sequence

from fastgru.errors import InvalidModelError
from fastgru.graph import Graph, TensorSpec
from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import KerasGraphBuilder, Tensor
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.plan import ModelPlan
from fastgru.importers.keras.refs import Ref
from fastgru.importers.keras.run import Outputs, output_of

__all__ = ["finish", "wanted_outputs"]


def wanted_outputs(
    model: LayerConfig, plan: ModelPlan, named: Mapping[tuple[str, int], Outputs], extra: Sequence[str]
) -> list[tuple[str, Tensor]]:
    """The outputs by the names they will have."""
    refs = list(plan.outputs)
    for name in extra:
        made = named.get((name, 0))
        if made is None:
            known = ", ".join(sorted(layer for layer, _ in named))
            raise InvalidModelError(f"outputs names {name!r}, which is no layer of the model; there are {known}")
        refs += [ref for n in range(len(made)) if (ref := Ref(name, 0, n)) not in refs]
    wanted: dict[str, Tensor] = {}
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
    builder: KerasGraphBuilder, inputs: Mapping[str, Value], wanted: Sequence[tuple[str, Tensor]], *, time_major: bool
) -> Graph:
    """The graph of these outputs, and of the states after them."""
    sources, states = dict(inputs), {}
    outputs: dict[str, Value] = {}
    ends: dict[str, Value] = {}
    for base, (before, after) in builder.states.items():
        assert after is not None
        source, target = _free(f"{base}_in", sources), _free(f"{base}_out", ends)
        sources[source], ends[target], states[source] = before, after, target
    for name, tensor in wanted:
        taken = name in ends or sources.get(name, tensor.value) is not tensor.value
        outputs[_free(f"{name}_output", {*sources, *ends, *outputs}) if taken else name] = tensor.value
    outputs |= ends
    specs = {name: _spec(name, value, time_major) for name, value in (*sources.items(), *outputs.items())}
    return builder.graph(sources, outputs, declared=specs, states=states)


def _free(name: str, taken: Container[str]) -> str:
    return name if name not in taken else _free(f"{name}_1", taken)


def _spec(name: str, value: Value, time_major: bool) -> TensorSpec:
    """The batch is the first axis, unless there are layers that have the time first."""
    assert value.dtype is not None
    return TensorSpec(name, value.dtype, value.shape, () if time_major else ("batch", *[None] * (len(value.shape) - 1)))
