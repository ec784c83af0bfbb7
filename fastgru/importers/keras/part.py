"""A part of a model: the layers between those that become its inputs and those that become its outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.keras.call import KerasGraphBuilder, Tensor
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.plan import LayerCall, ModelPlan
from fastgru.importers.keras.refs import Ref, Written
from fastgru.importers.keras.run import ModelReading, Place
from fastgru.importers.keras.weights import LayerWeights
from fastgru.importers.part import Inputs, check_ends, form_of
from fastgru.nearest import offered

__all__ = ["cut"]


def cut(
    plan: ModelPlan, reading: ModelReading, weights: LayerWeights, inputs: Inputs | None, outputs: Sequence[str] | None
) -> ModelPlan:
    """Return the plan of a part. inputs: layers whose outputs become its inputs. outputs: layers that give its outputs.

    Raises `InvalidModelError` for unknown layers, inputs that nothing needs, and inputs that are missing;
    `UnsupportedModelError` if the shape of an input is unknown.
    """
    made = {call.layer for call in plan.calls} | set(plan.inputs)
    for what, names in (("inputs", inputs or ()), ("outputs", outputs or ())):
        if unknown := [name for name in names if name not in made]:
            raise InvalidModelError(
                f"{what} names {', '.join(map(repr, unknown))}, which is not a layer of the model;"
                f" {offered(unknown, sorted(made))}"
            )
    ends = plan.outputs if outputs is None else [Ref(name, 0, 0) for name in outputs]
    begins = list(plan.inputs) if inputs is None else list(inputs)
    calls, needed = _between(plan, set(begins), ends)
    if inputs is None:
        begins = [name for name in begins if name in needed]
    check_ends(begins, [name for name in plan.inputs if name in needed], needed)
    for ref in [*ends, *(ref for call in calls for ref in call.refs())]:
        if ref.layer in begins and (ref.node, ref.tensor) != (0, 0):
            raise UnsupportedModelError(
                f"inputs names {ref.layer!r}, but the part needs another output or call of this layer:"
                " choose an input after it"
            )
    told = inputs if isinstance(inputs, Mapping) else {}
    forms = _forms(plan, reading, weights, [name for name in begins if name not in plan.inputs], told)
    forms |= _given(plan, reading, told)
    sources = {
        name: LayerConfig("InputLayer", name, {"batch_shape": list(shape), "dtype": dtype})
        for name, (dtype, shape) in forms.items()
    }
    return replace(plan, calls=calls, inputs=begins, outputs=ends, sources=sources)


def _between(plan: ModelPlan, begins: set[str], ends: Sequence[Ref]) -> tuple[list[LayerCall], set[str]]:
    """Return the calls that the ends need, and the layers whose tensors these calls or the ends read."""
    wanted = {(ref.layer, ref.node) for ref in ends}
    kept: list[LayerCall] = []
    for call in reversed(plan.calls):
        if (call.layer, call.node) in wanted and not (call.layer in begins and call.node == 0):
            kept.append(call)
            wanted.update((ref.layer, ref.node) for ref in call.refs())
    return kept[::-1], {layer for layer, _ in wanted}


def _forms(
    plan: ModelPlan, reading: ModelReading, weights: LayerWeights, names: Sequence[str], given: Mapping[str, Any]
) -> dict[str, Written]:
    """Return dtype and shape of each layer's output: as given, as the layers before it give, or as in the file."""
    forms: dict[str, Written] = {}
    for name in names:
        if (told := _form_of(name, given.get(name))) is not None:
            forms[name] = told
            continue
        found = _found(plan, reading, weights, name)
        if found is None:
            found = plan.written.get(Ref(name, 0, 0))
        if found is None:
            raise UnsupportedModelError(
                f"inputs: the shape of {name!r} does not follow from the file: give the shape,"
                f" inputs={{{name!r}: (None, ..., features)}}, with the batch axis, and None for a free size"
            )
        forms[name] = found
    return forms


def _form_of(name: str, told: Any, dtype: str = "float32") -> Written | None:
    """Return what `form_of` returns. Raises `InvalidModelError` for a fixed batch, because every batch runs."""
    form = form_of(name, told, dtype)
    if form is not None and form[1][:1] != (None,):
        raise InvalidModelError(
            f"inputs: the shape of {name!r} is {told!r:.80}, expected None for the batch, its first size"
        )
    return form


def _given(plan: ModelPlan, reading: ModelReading, told: Mapping[str, Any]) -> dict[str, Written]:
    """Return dtype and shape of the model's own inputs for which the caller gives a shape."""
    forms = {}
    if names := [name for name in plan.inputs if told.get(name) is not None]:
        trial = ModelReading(KerasGraphBuilder(reading.graph.custom), reading.rules)
        for name, value in trial.make_inputs(replace(plan, inputs=names)).items():
            if (form := _form_of(name, told[name], value.dtype or "float32")) is not None:
                forms[name] = form
    return forms


def _found(plan: ModelPlan, reading: ModelReading, weights: LayerWeights, name: str) -> Written | None:
    """Return dtype and shape of the layer's output if all layers before it can be read, else None."""
    calls, needed = _between(plan, set(), [Ref(name, 0, 0)])
    begins = [one for one in plan.inputs if one in needed]
    before = replace(plan, calls=calls, inputs=begins, outputs=[Ref(name, 0, 0)])
    trial = ModelReading(KerasGraphBuilder(reading.graph.custom), reading.rules)
    sources = [Tensor(value) for value in trial.make_inputs(before).values()]
    tensor = trial.run(before, weights, sources, Place())[name, 0][0]
    if tensor is None:
        return None
    if tensor.mask is not None:
        raise UnsupportedModelError(
            f"inputs: the output of {name!r} has a mask: choose an input before the layer that makes the mask, or after"
            " the last layer that reads it"
        )
    return tensor.dtype, tensor.shape
