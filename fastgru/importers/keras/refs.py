"""The names of tensors in configurations: (layer, number of the call, number of the output)."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastgru.errors import InvalidModelError
from fastgru.importers.keras.config import LayerConfig
from fastgru.records import dataclass

__all__ = ["Ref", "Written", "is_shape", "is_tensor", "map_refs", "refs_in", "revive", "shapes_in", "tensors_of"]

Written = tuple[str, tuple[int | None, ...]]  # dtype and shape of a tensor


@dataclass(frozen=True)
class Ref:
    """One tensor of a functional model."""

    layer: str
    node: int
    tensor: int


def is_tensor(value: Any) -> bool:
    """Return whether a value is [layer, number of the call, number of the output] or [..., arguments]."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 31 for v in value[1:3])
    )


def revive(value: Any, *, lists: bool = False) -> Any:
    """Return JSON with a `Ref` for each tensor. lists: [layer, node, tensor] is a tensor, too, as Keras 2 writes it."""
    if lists and is_tensor(value):
        return Ref(*value[:3])
    if isinstance(value, Mapping):
        config = value.get("config")
        if value.get("class_name") == "__keras_tensor__" and isinstance(config, Mapping):
            history = config.get("keras_history")
            if not isinstance(history, list) or not is_tensor(history):
                raise InvalidModelError(f"keras_history is {history!r:.60}, expected [layer, node, tensor]")
            return Ref(*history[:3])
        if value.get("class_name") == "__tuple__" and isinstance(value.get("items"), list):
            return revive(value["items"], lists=lists)
        return {key: revive(item, lists=lists) for key, item in value.items()}
    if isinstance(value, list):
        return [revive(item, lists=lists) for item in value]
    return value


def refs_in(value: Any) -> list[Ref]:
    """Return every tensor that `value` names anywhere."""
    found: list[Ref] = []
    map_refs(value, found.append)
    return found


def is_shape(value: Any) -> bool:
    """Return whether a value is the shape of a tensor as Keras writes it."""
    return isinstance(value, list) and all(
        size is None or (isinstance(size, int) and not isinstance(size, bool) and 0 < size < 1 << 31) for size in value
    )


def shapes_in(value: Any) -> Iterator[tuple[Ref, Written]]:
    """Yield every tensor in a configuration of Keras 3 that has a dtype and a shape beside it, with these two."""
    if isinstance(value, Mapping):
        config = value.get("config")
        if value.get("class_name") == "__keras_tensor__" and isinstance(config, Mapping):
            history: Any = config.get("keras_history")
            shape: Any = config.get("shape")
            dtype = config.get("dtype")
            if is_tensor(history) and is_shape(shape) and isinstance(dtype, str):
                yield Ref(*history[:3]), (dtype, tuple(shape))
            return
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from shapes_in(item)


def map_refs(value: Any, values: Any) -> Any:
    """Return `value` with each `Ref` replaced by `values(ref)`."""
    if isinstance(value, Ref):
        return values(value)
    if isinstance(value, Mapping):
        return {key: map_refs(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [map_refs(item, values) for item in value]
    return value


def tensors_of(model: LayerConfig, value: Any) -> Iterator[Ref]:
    """Yield the tensors of input_layers or output_layers: a single tensor, a list, or a dict."""
    if is_tensor(value):
        yield Ref(*value[:3])
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from tensors_of(model, item)
    else:
        raise model.damaged(f"input_layers or output_layers holds {value!r:.60}, expected [layer, node, tensor]")
