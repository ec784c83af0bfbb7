"""A description to begin with: what the names and shapes of a state dict tell of its layers."""

import json
import re
from collections.abc import Mapping
from typing import Final

from fastgru.importers.weights import Weights

__all__ = ["draft"]

Shapes = Mapping[str, tuple[int, ...]]

_NORMED: Final = re.compile(r"(?:(.*?)\.)??(?:parametrizations\.)?(weight)(?:\.original[01]|_[gv])")
_GATES: Final = {3: "GRU", 4: "LSTM", 1: "RNN"}


def draft(weights: Weights) -> str:
    """A description in YAML with a layer for each module of the state dict, in the order of the file.

    What lies between them, the order in which they are called and the options are not in the weights, and the text says
    so; where shapes allow two types, a comment names the other one.
    """
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, (_, shape) in weights.specs.items():
        prefix, name = _split(key)
        modules.setdefault(prefix, {})[name] = shape
    lines = [
        f"# Drafted from the tensors of {weights.source}. They do not tell what is called in which order, the",
        "# functions between the layers, and the options (stride, padding, batch_first...): say all that.",
        "inputs:",
        "  x: [] # its shape: numbers, and names for what is free; for ids {shape: [N, T], dtype: int64}",
        "layers:",
    ]
    for prefix, shapes in modules.items():
        around = modules.get(prefix[: -len(".out_proj")], {}) if prefix.endswith("out_proj") else {}
        if "in_proj_weight" in around or "q_proj_weight" in around:
            continue  # of the attention around it
        type_name, remark = _described(shapes)
        if type_name:
            lines.append(f"  - {{type: {type_name}, prefix: {json.dumps(prefix)}}} # {remark}")
        else:
            keys = ", ".join(json.dumps(name) for name in shapes)
            lines.append(f"  # prefix {json.dumps(prefix)}: {keys}: {remark}")
    return "\n".join(lines) + "\n"


def _split(key: str) -> tuple[str, str]:
    """(prefix, parameter), weight_norm's names for a parameter being that parameter's."""
    match = _NORMED.fullmatch(key)
    if match:
        return match[1] or "", match[2]
    prefix, _, name = key.rpartition(".")
    return prefix, name


def _described(shapes: Shapes) -> tuple[str, str]:
    """(type, remark) of a module with these parameters; ("", why) where there is none."""
    weight = shapes.get("weight", ())
    if any(name.startswith("weight_hh") for name in shapes):
        return _recurrent(shapes)
    if "in_proj_weight" in shapes or "q_proj_weight" in shapes:
        size = _last(shapes.get("in_proj_weight", shapes.get("q_proj_weight", ())))
        return "MultiheadAttention", f"{size} features; num_heads is not in the weights"
    if "running_mean" in shapes:
        return "BatchNorm1d", f"{_last(shapes['running_mean'])} features; BatchNorm2d behind a Conv2d"
    if len(weight) == 1:
        if "bias" in shapes:
            return "LayerNorm", f"{weight[0]} features; or a GroupNorm"
        return "PReLU", f"{weight[0]} slopes; or a norm without bias"
    if len(weight) == 2:
        if "bias" in shapes:
            return "Linear", f"{weight[1]} -> {weight[0]}"
        return "Linear", f"{weight[1]} -> {weight[0]}, without bias; or an Embedding of {weight[0]} rows"
    if len(weight) in (3, 4):
        n, taps = len(weight) - 2, "x".join(map(str, weight[2:]))
        if shapes.get("bias", weight[:1]) == weight[:1]:
            return (
                f"Conv{n}d",
                f"{weight[1]} -> {weight[0]} channels in each group, kernel {taps}; or a ConvTranspose{n}d",
            )
        return f"ConvTranspose{n}d", f"{weight[0]} -> {_last(shapes['bias'])} channels, kernel {taps}"
    return "", "of no module that is known: perhaps a Parameter for each"


def _last(shape: tuple[int, ...]) -> str:
    return str(shape[-1]) if shape else "?"


def _recurrent(shapes: Shapes) -> tuple[str, str]:
    name = next(name for name in shapes if name.startswith("weight_hh"))
    hidden = shapes[name]
    gates = hidden[0] // hidden[1] if len(hidden) == 2 and hidden[1] else 0
    if gates not in _GATES:
        return "", f"{name} {hidden} is no recurrent matrix of torch"
    cell = "" if "_l0" in name else "Cell"
    inputs = _last(shapes.get(name.replace("_hh", "_ih"), ()))
    layers = len([key for key in shapes if re.fullmatch(r"weight_hh_l\d{1,4}", key)])
    two = "both directions" if any(key.endswith("_reverse") for key in shapes) else ""
    parts = [f"{inputs} -> {hidden[1]}", f"{layers} layers" if layers > 1 else "", two]
    return f"{_GATES[gates]}{cell}", ", ".join(filter(None, parts))
