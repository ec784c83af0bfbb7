"""Finds the GRUs of a torch state dict by the names that torch.nn.GRU and torch.nn.GRUCell give their parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from numpy.typing import ArrayLike

from fastgru.errors import ShapeError, SpecError
from fastgru.layers.arrays import as_weight, check_state_dict, dotted
from fastgru.nearest import nearest
from fastgru.spec import GRUSpec, GRUWeights

__all__ = ["cell_weights", "stack_weights"]

_KEY: Final = re.compile(r"(weight|bias)_(ih|hh)_l(0|[1-9]\d{0,5})(_reverse)?")
_PARTS: Final = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def stack_weights(
    weights: Mapping[str, ArrayLike], prefix: str, *, batch_first: bool
) -> tuple[list[GRUSpec], list[tuple[GRUWeights, ...]]]:
    """Return every layer and direction of the torch.nn.GRU at `prefix`.

    Raises `SpecError` with the missing and the unknown keys; `ShapeError` naming an array.
    """
    start, own = _own_keys(weights, prefix, what="GRU")
    found = {key: match for key in own if (match := _KEY.fullmatch(key))}
    if not found:
        raise SpecError(f"GRU: the weights have no {start}weight_ih_l0{_hint(weights, prefix)}")
    num_layers = 1 + max(int(match[3]) for match in found.values())
    suffixes = ("", "_reverse") if any(match[4] for match in found.values()) else ("",)
    parts = _PARTS if any(match[1] == "bias" for match in found.values()) else _PARTS[:2]
    if num_layers > len(found):
        raise SpecError(
            f"GRU: {start}: the keys name a layer {num_layers - 1}, but the weights have only {len(found)} arrays"
        )
    wanted = [f"{part}_l{layer}{suffix}" for layer in range(num_layers) for suffix in suffixes for part in parts]
    _check_keys(f"GRU: prefix {prefix!r}", start, own, wanted)

    specs, stack = [], []
    for layer in range(num_layers):
        each = []
        for suffix in suffixes:
            keys = [f"{start}{part}_l{layer}{suffix}" for part in parts]
            each.append(GRUWeights(*(as_weight(key, weights[key]) for key in keys)))
        I, H = _sizes(f"{start}weight_ih_l{layer}", each[0])
        specs.append(GRUSpec(I, H, "bidirectional" if len(suffixes) == 2 else "forward", batch_first=batch_first))
        stack.append(tuple(each))
    return specs, stack


def cell_weights(weights: Mapping[str, ArrayLike], prefix: str) -> tuple[GRUSpec, GRUWeights]:
    """Return the torch.nn.GRUCell at `prefix`. Raises the errors of `stack_weights`."""
    start, own = _own_keys(weights, prefix, what="GRUCell")
    parts = _PARTS if any(key in own for key in _PARTS[2:]) else _PARTS[:2]
    _check_keys(f"GRUCell: prefix {prefix!r}", start, own, parts)
    cell = GRUWeights(*(as_weight(start + key, weights[start + key]) for key in parts))
    return GRUSpec(*_sizes(f"{start}weight_ih", cell)), cell


def _check_keys(what: str, start: str, own: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise `SpecError` with the missing and the unknown keys, if there are any."""
    faults = {
        "missing": [key for key in wanted if key not in own],
        "unknown": [key for key in own if key not in wanted],
    }
    if any(faults.values()):
        listed = (f"{fault} {', '.join(start + key for key in keys)}" for fault, keys in faults.items() if keys)
        raise SpecError(f"{what}: {'; '.join(listed)}")


def _own_keys(weights: Mapping[str, ArrayLike], prefix: str, *, what: str) -> tuple[str, list[str]]:
    """Return how the keys of the module `prefix` begin, and the rest of each key of its own parameters."""
    check_state_dict(weights, prefix, what=what)
    start = dotted(prefix)
    rests = [key[len(start) :] for key in weights if isinstance(key, str) and key.startswith(start)]
    return start, [rest for rest in rests if "." not in rest]


def _sizes(key: str, w: GRUWeights) -> tuple[int, int]:
    """(I, H)."""
    if w.weight_ih.ndim != 2 or w.weight_hh.ndim != 2 or w.weight_hh.shape[0] != 3 * w.weight_hh.shape[1]:
        rows, columns = (w.weight_hh.shape * 2)[:2] if w.weight_hh.ndim else (0, 0)
        other = {4: "; four gates are an LSTM's", 1: "; one gate is a plain RNN's"}
        raise ShapeError(
            f"{key}: got shape {w.weight_ih.shape} beside a recurrent {w.weight_hh.shape}, expected (3H, I) and (3H, H)"
            + other.get(rows // columns if columns else 0, "")
        )
    return w.weight_ih.shape[1], w.weight_hh.shape[1]


def _hint(weights: Mapping[str, ArrayLike], prefix: str) -> str:
    keys = [key for key in weights if isinstance(key, str) and key.endswith("weight_ih_l0")]
    prefixes = sorted({key[: -len("weight_ih_l0")].rstrip(".") for key in keys})
    shown = ", ".join(repr(p) for p in prefixes[:8]) + (", ..." if len(prefixes) > 8 else "")
    close = nearest(prefix, prefixes)
    asked = f"; did you mean {close[0]!r}?" if close else ""
    return f"{asked or ';'}{' Prefixes' if asked else ' prefixes'} that have one: {shown}" if prefixes else ""
