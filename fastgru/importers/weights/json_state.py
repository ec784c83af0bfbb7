"""State dicts as JSON: an object of nested lists, like `{k: v.tolist() for k, v in model.state_dict().items()}`."""

from dataclasses import replace
from itertools import chain
from typing import Any, Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.weights.nested import StateDict, choose_state_dict
from fastgru.jsontext import load_json
from fastgru.sources import Content

__all__ = ["read_json_state"]

MAX_AXES: Final = 32


def read_json_state(content: Content, key: str | None) -> StateDict:
    """Return float64 arrays, because JSON has no dtype; a single number becomes an array without axes.

    key: as in `choose_state_dict`.

    Raises `InvalidModelError` for lists that are ragged or contain anything but numbers; `UnsupportedModelError` for
    RTNeural's JSON, which is a whole model, and for the index of a checkpoint in several files.
    """
    name, value = content.name, load_json(content)
    if isinstance(value, dict) and "layers" in value and "in_shape" in value:
        raise UnsupportedModelError(
            f"{name}: this is a whole model as RTNeural's layers, not a state dict: load it with fastgru.load"
        )
    if isinstance(value, dict) and isinstance(value.get("weight_map"), dict):
        files = sorted({str(file)[:80] for file in value["weight_map"].values()})
        raise UnsupportedModelError(
            f"{name}: this is the index of a checkpoint in {len(files)} parts, which has no numbers itself: read"
            f" {', '.join(map(repr, files[:5]))}"
        )
    chosen = choose_state_dict(
        value,
        key=key,
        name=name,
        is_tensor=lambda entry: isinstance(entry, list) or type(entry) in (int, float),
        is_weight=lambda entry: isinstance(entry, list) and bool(entry),
    )
    arrays = {label: _array(entry, f"{name}: {label[:80]!r}") for label, entry in chosen.tensors.items()}
    return replace(chosen, tensors=arrays)


def _array(value: Any, what: str) -> Array:
    shape: list[int] = []
    level: list[Any] = [value]
    while level and isinstance(level[0], list):
        lengths = {len(entry) if isinstance(entry, list) else -1 for entry in level}
        if len(lengths) != 1 or len(shape) == MAX_AXES:
            raise InvalidModelError(f"{what}: the lists are ragged or nested too deeply, expected an array")
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))
    kinds = set(map(type, level))
    if not kinds <= {int, float}:
        listed = ", ".join(sorted(kind.__name__ for kind in kinds - {int, float}))
        raise InvalidModelError(f"{what}: the lists are ragged or contain a {listed}, expected numbers")
    try:
        return np.array(level, np.float64).reshape(shape)
    except OverflowError:
        raise InvalidModelError(f"{what}: a number is too large for float64") from None
