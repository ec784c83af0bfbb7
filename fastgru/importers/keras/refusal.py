"""Messages about layers that are not supported: everything that the file says about them, and the way round."""

from collections.abc import Mapping, Sequence

from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.custom import code_of, inside, names_of
from fastgru.importers.keras.registry import is_read, reason
from fastgru.importers.keras.weights import LayerWeights

__all__ = ["Shown", "listed", "name_for", "named_source", "parameters", "pasted", "refusal", "unread_layer"]

Shown = Sequence[tuple[int | None, ...] | None]

_NO_CONFIGURATION = frozenset(
    {"name", "trainable", "dtype", "function", "function_type", "module", "output_shape", "output_shape_type",
     "output_shape_module", "mask", "arguments", "batch_input_shape", "layer"}
)  # fmt: skip


def unread_layer(layer: LayerConfig) -> LayerConfig | None:
    """Return the layer, or the one that it wraps, if it is not supported; else None."""
    return next((one for one in inside(layer) if not is_read(one)), None)


def refusal(layer: LayerConfig, weights: LayerWeights, inputs: Shown, outputs: Shown) -> str:
    """Return why a layer is not supported, and what the file says about it; code in the file is never examined."""
    lacking = unread_layer(layer) or layer
    around = "" if lacking is layer else f" inside {layer}"
    held = [code_of(lacking)[1]] if lacking.class_name == "Lambda" else []
    config = {key: value for key, value in lacking.config.items() if key not in _NO_CONFIGURATION and value is not None}
    if lacking.config.get("arguments"):
        held.append(f"arguments {lacking.config['arguments']!r:.200}")
    if config:
        held.append(f"the configuration {config!r:.300}")
    if arrays := list(weights.arrays(layer)):
        more = f" and {len(arrays) - 8} more" if len(arrays) > 8 else ""
        held.append(f"the weights {', '.join(arrays[:8])}{more}")
    says = f" (the file holds {'; '.join(held)})" if held else ""
    shapes = [
        f"{verb} {', '.join(map(_shown, known))}"
        for verb, forms in (("takes", inputs), ("gives", outputs))
        if (known := [form for form in forms if form is not None])
    ]
    fault, way = reason(lacking)
    ends = f"; it {' and '.join(shapes)}" if shapes else ""
    return f"{lacking}{around}: {fault}{says}{ends}. {way[:1].upper()}{way[1:]}"


def _shown(shape: tuple[int | None, ...]) -> str:
    sizes = ["?" if size is None else str(size) for size in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def parameters(layer: LayerConfig, weights: LayerWeights, inputs: int) -> list[str]:
    """Return the parameters of a function that could replace a layer with this many inputs."""
    names = list("xyzuvw"[: max(1, inputs)]) if inputs <= 6 else ["*inputs"]
    held = layer.config.get("arguments") if layer.class_name == "Lambda" else None
    names += [name for name in held if name.isidentifier()] if isinstance(held, Mapping) else []
    return names + (["weights"] if weights.arrays(layer) else [])


def pasted(source: str, missing: Mapping[str, Sequence[str]]) -> str:
    """Return a line of code that loads the model with functions for layers. missing: layer name -> parameters."""
    parts = [f"{name!r}: lambda {', '.join(names)}: ..." for name, names in missing.items()]
    return f"fastgru.load({source}, custom_objects={{{', '.join(parts)}}})"


def named_source(path: str | None) -> str:
    """Return how a line of code names the file at this path; None means bytes."""
    return "source" if path is None else repr(path)


def listed(faults: Sequence[str], source: str, missing: Mapping[str, Sequence[str]]) -> str:
    """Return one message with all faults."""
    unique = list(dict.fromkeys(faults))
    way = (
        f"Functions of NumPy arrays, or descriptions of layers, can stand for such layers: {pasted(source, missing)}"
        if missing
        else ""
    )
    if len(unique) == 1:
        return f"{unique[0]}. {way}" if way else unique[0]
    shown = "".join(f"\n  {fault}" for fault in unique[:50])
    more = f"\n  and {len(unique) - 50} more" if len(unique) > 50 else ""
    return f"{len(unique)} things in this model are not supported:{shown}{more}" + (f"\n{way}" if way else "")


def name_for(layer: LayerConfig) -> str:
    """Return the name for a layer in `custom_objects`: that of a class of the user's own, else that of the layer."""
    return names_of(layer)[-1] if layer.custom else layer.name
