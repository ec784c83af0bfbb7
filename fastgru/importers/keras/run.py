"""Converts a plan: every call of a model becomes nodes of the graph."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import Any, Final

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import Call, KerasGraphBuilder, Tensor
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.custom import inside, is_function
from fastgru.importers.keras.plan import MAX_CALLS, LayerCall, ModelPlan, plan_model
from fastgru.importers.keras.refs import Ref, Written, map_refs
from fastgru.importers.keras.refusal import name_for, parameters, refusal, unread_layer
from fastgru.importers.keras.registry import MODELS, apply, class_of
from fastgru.importers.keras.rules import Rules
from fastgru.importers.keras.weights import LayerWeights
from fastgru.records import dataclass

__all__ = ["ModelReading", "Outputs", "Place", "output_of"]

MAX_NESTING: Final = 16
_INPUT_DTYPES: Final = frozenset({"bool", "int8", "int16", "int32", "int64", "uint8", "uint16"})

Outputs = list[Tensor | None]


@dataclass(frozen=True)
class Place:
    """The place of a model in another: prefixes for the names of its calls and layers, and how often it is called."""

    base: str = ""
    home: str = ""
    calls: int = 1
    depth: int = 0


@dataclass
class ModelReading:
    """A model while it is read: the graph so far, and the faults.

    layers: all layers found so far, including those inside others.
    missing: the names of layers that the caller could replace by functions, with the parameters of each.
    cause: the exception that a function of the caller raised.
    written: the dtypes and shapes that the file gives.
    """

    graph: KerasGraphBuilder
    rules: Rules
    faults: list[str] = field(default_factory=list)
    missing: dict[str, list[str]] = field(default_factory=dict)
    cause: BaseException | None = None
    layers: list[LayerConfig] = field(default_factory=list)
    written: dict[Ref, Written] = field(default_factory=dict)
    done: int = 0
    time_major: bool = False
    is_part: bool = False

    def make_inputs(self, plan: ModelPlan) -> dict[str, Value]:
        """Add the inputs of the plan to the graph and return them by name."""
        values: dict[str, Value] = {}
        ids = _only_embedded(plan)
        for name in plan.inputs:
            layer = plan.sources.get(name, plan.layers[name])
            shape = _input_shape(layer, plan)
            dtype = layer.get("dtype", "input_dtype", default="float32")
            dtype = dtype if isinstance(dtype, str) and dtype in _INPUT_DTYPES else "float32"
            for key in ("sparse", "ragged"):
                if layer.get(key, default=False):
                    raise layer.unsupported(f"{key} is true", "use a dense input, padded, with Masking")
            dtype = "int32" if name in ids and dtype == "float32" else dtype
            if name in values:
                raise InvalidModelError("input_layers names one input twice")
            values[name] = self.graph.input(name, dtype, shape, ("batch",))
        return values

    def run(
        self, plan: ModelPlan, weights: LayerWeights, inputs: Sequence[Tensor | None], place: Place
    ) -> dict[tuple[str, int], Outputs]:
        """Convert every call of a model; return their outputs, with None for a call that is not supported."""
        if place.depth > MAX_NESTING:
            raise InvalidModelError(f"the models are nested more than {MAX_NESTING} deep")
        if len(inputs) != len(plan.inputs):
            raise InvalidModelError(f"a nested model got {len(inputs)} inputs, expected {len(plan.inputs)}")
        self.written |= plan.written
        layers = list(plan.layers.values())
        self.layers += [one for layer in layers for one in inside(layer)]
        of_layer = dict(zip(plan.layers, weights.layers(layers), strict=True))
        values: dict[tuple[str, int], Outputs] = {
            (name, 0): [value] for name, value in zip(plan.inputs, inputs, strict=True)
        }
        counts = Counter(call.layer for call in plan.calls)
        uses = Counter(plan.outputs) + Counter(ref for call in plan.calls for ref in {*call.refs()})
        for call in plan.calls:
            self.done += 1
            if self.done > MAX_CALLS:
                raise InvalidModelError(f"nested models call layers more than {MAX_CALLS} times")
            layer = plan.layers[call.layer]
            values[call.layer, call.node] = self._call(
                layer, call, of_layer[call.layer], values, place, place.calls * counts[call.layer], uses
            )
        return values

    def _call(
        self,
        layer: LayerConfig,
        call: LayerCall,
        weights: LayerWeights,
        values: Mapping[tuple[str, int], Outputs],
        place: Place,
        calls: int,
        uses: Mapping[Ref, int],
    ) -> Outputs:
        look_up = partial(output_of, layer, values)
        inputs = [look_up(ref) for ref in call.inputs]
        arguments = map_refs(call.arguments, look_up)
        broken = None in [look_up(ref) for ref in call.refs()]
        home = f"{place.home}{layer.name}"
        base = f"{place.base}{layer.name}" + (f"_{call.node}" if call.node else "")
        try:
            if layer.class_name in MODELS and not layer.custom and self.graph.custom.of(layer) is None:
                inside = Place(f"{base}/", f"{home}/", calls, place.depth + 1)
                self._check_mask(layer, arguments, inputs, [uses[ref] > 1 for ref in call.inputs])
                return self._nested(layer, weights, inputs, arguments, inside)
            class_of(layer, self.graph.custom)
            if broken:
                return [None]
            self.time_major |= bool(layer.get("time_major", default=False))
            known = [value for value in inputs if value is not None]
            inner = partial(self._inner, depth=place.depth)
            one = Call(self.graph, self.rules, layer, weights, known, arguments, base, home, calls, inner)
            outputs: Outputs = [*apply(one)]
            self._check_all_read(layer, [uses[Ref(call.layer, call.node, n)] for n in range(len(outputs))])
            return outputs
        except UnsupportedModelError as error:
            self.cause = self.cause or error.__cause__
            self.faults.append(self._fault(layer, call, weights, values) or str(error))
            return [None]

    def _check_all_read(self, layer: LayerConfig, uses: Sequence[int]) -> None:
        """Refuse a function of which a whole model reads the first output alone."""
        custom = self.graph.custom.of(layer)
        if custom is None or not is_function(custom.layer) or self.is_part or len(uses) < 2 or any(uses[1:]):
            return
        raise layer.unsupported(
            f"its function in custom_objects returns {len(uses)} arrays, but the model reads only the first",
            "return this array alone",
        )

    def _fault(
        self,
        layer: LayerConfig,
        call: LayerCall,
        weights: LayerWeights,
        values: Mapping[tuple[str, int], Outputs],
    ) -> str:
        """Return the message about an unsupported layer without a replacement; "" for any other layer."""
        lacking = unread_layer(layer)
        if lacking is None or self.graph.custom.of(lacking) is not None:
            return ""
        inputs = [self._shape(ref, values) for ref in call.refs()]
        self.missing.setdefault(name_for(lacking), parameters(lacking, weights, len(inputs)))
        return refusal(layer, weights, inputs, [self._shape(Ref(call.layer, call.node, 0), values)])

    def _shape(self, ref: Ref, values: Mapping[tuple[str, int], Outputs]) -> tuple[int | None, ...] | None:
        """Return the shape of a tensor as it was computed, else as the file gives it, else None."""
        made = values.get((ref.layer, ref.node), [])
        tensor = made[ref.tensor] if ref.tensor < len(made) else None
        return self.written.get(ref, ("", None))[1] if tensor is None else tensor.shape

    def _inner(self, call: Call, depth: int) -> list[Tensor]:
        """Apply a layer or model that is inside another layer. Raises `UnsupportedModelError`."""
        layer = call.layer
        if layer.class_name not in MODELS or layer.custom or self.graph.custom.of(layer) is not None:
            return apply(call)
        faults = len(self.faults)
        inside = Place(f"{call.base}/", f"{call.home}/", call.calls, depth + 1)
        outputs = self._nested(layer, call.weights, call.inputs, {}, inside)
        if len(self.faults) > faults:
            raise UnsupportedModelError(self.faults[-1])
        return [value for value in outputs if value is not None]

    def _check_mask(
        self, layer: LayerConfig, arguments: Mapping[str, Any], inputs: Sequence[Tensor | None], shared: Sequence[bool]
    ) -> None:
        """Refuse a call of a model with a mask if other layers read the input, because Keras puts the mask on it."""
        masks = arguments.get("mask")
        for x, elsewhere, mask in zip(inputs, shared, masks if isinstance(masks, list) else [masks], strict=False):
            # Keras 3 also writes the input's own mask into the call.
            own = self.rules.major == 3 and x is not None and x.mask is not None
            if isinstance(mask, Tensor) and elsewhere and not own:
                raise layer.unsupported(
                    "it is called with a mask, which Keras also applies to other layers with this input",
                    "mask the input",
                )

    def _nested(
        self,
        layer: LayerConfig,
        weights: LayerWeights,
        inputs: Sequence[Tensor | None],
        arguments: Mapping[str, Any],
        place: Place,
    ) -> Outputs:
        if arguments.get("training") is True:
            raise layer.unsupported("it is called with training=True", "save the model without it")
        masks = arguments.get("mask")
        given = list(inputs)
        for n, mask in enumerate(masks if isinstance(masks, list) else [masks]):
            value = given[n] if n < len(given) else None
            if isinstance(mask, Tensor) and value is not None:
                given[n] = value.but(mask=mask.value)
        plan = plan_model(layer)
        named = self.run(plan, weights, given, place)
        return [output_of(layer, named, ref) for ref in plan.outputs]


def output_of(layer: LayerConfig, named: Mapping[tuple[str, int], Outputs], ref: Ref) -> Tensor | None:
    """Return the tensor that `ref` names, or None if the call that makes it is not supported.

    Raises `InvalidModelError` if it does not exist.
    """
    made = named.get((ref.layer, ref.node))
    if made is None or (ref.tensor >= len(made) and None not in made):
        raise layer.damaged(f"it takes output {ref.tensor} of call {ref.node} of {ref.layer!r}, which does not exist")
    return None if None in made else made[ref.tensor]


def _input_shape(layer: LayerConfig, plan: ModelPlan) -> tuple[int | None, ...]:
    """Return the shape of an input, with a free batch; if it has none, a model that is called first may give it."""
    shape = layer.get("batch_shape", "batch_input_shape", default=None)
    if shape is None and plan.calls:
        first = plan.layers[plan.calls[0].layer]
        if first.class_name in MODELS:
            inner = plan_model(first)
            if len(inner.inputs) == 1:
                return _input_shape(inner.layers[inner.inputs[0]], inner)
    if isinstance(shape, Mapping):
        shape = shape.get("items")
    if shape is None:
        raise layer.unsupported(
            "the shape of its input is not in the file", "build the model with an Input layer before saving it"
        )
    if (
        not isinstance(shape, list)
        or not shape
        or any(s is not None and (not isinstance(s, int) or isinstance(s, bool) or not 0 < s < 1 << 31) for s in shape)
    ):
        raise layer.damaged(f"the input's shape is {shape!r:.60}")
    return (None, *shape[1:])


def _only_embedded(plan: ModelPlan) -> set[str]:
    """Return the inputs that only Embedding layers (and the comparisons that make their masks) read."""
    readers: dict[str, set[str]] = {}
    for call in plan.calls:
        for ref in call.refs():
            readers.setdefault(ref.layer, set()).add(plan.layers[call.layer].class_name)
    return {
        name for name, classes in readers.items() if "Embedding" in classes and classes <= {"Embedding", "NotEqual"}
    }
