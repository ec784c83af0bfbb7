"""Drafts a description from the names and shapes of a state dict."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from fastgru.importers.weights import Weights

__all__ = ["draft", "drafted"]

Shapes = Mapping[str, tuple[int, ...]]

_NORMED: Final = re.compile(r"(?:(.*?)\.)??(?:parametrizations\.)?(weight)(?:\.original[01]|_[gv])")
_GATES: Final = {3: "GRU", 4: "LSTM", 1: "RNN"}


def draft(weights: Weights) -> str:
    """Return a description in YAML with a layer for each module of the state dict, in the order of the file.

    The text says that the order of calls, the functions between layers and the options are not in the weights. If
    shapes allow two types, a comment names the other one. Tensors of unrecognised modules become Parameters.
    """
    modules = _modules(weights)
    lines = [
        f"# Drafted from the tensors of {weights.source}. Complete it: tensors do not tell the order of the layers,",
        "# the functions between them, or the options (stride, padding, batch_first...).",
        "inputs:",
        "  x: [] # its shape, with names for free dimensions: [T, N, 40]; for ids {shape: [N, T], dtype: int64}",
        "layers:",
    ]
    channels: list[int | None] = []  # output channels of each module, if they follow from its weights
    for prefix, shapes in modules.items():
        around = modules.get(prefix[: -len(".out_proj")], {}) if prefix.endswith("out_proj") else {}
        if "in_proj_weight" in around or "q_proj_weight" in around:
            continue  # it belongs to the attention around it
        type_name, remark, *option = _described(shapes, channels)
        channels.append(_channels(type_name, shapes))
        if type_name:
            parts = [f"type: {type_name}", f"prefix: {json.dumps(prefix)}", *option]
            lines.append(f"  - {{{', '.join(parts)}}} # {remark}")
        else:
            lines += [
                f"  - {{type: Parameter, key: {json.dumps('.'.join(filter(None, (prefix, name))))}}} # {shape}{remark}"
                for name, shape in shapes.items()
            ]
    return "\n".join(lines) + "\n"


def drafted(weights: Weights) -> list[tuple[str, str, str]]:
    """Return (prefix, type, remark) of each module whose type follows from its tensors, in the order of the file."""
    found = []
    for prefix, shapes in _modules(weights).items():
        type_name, remark, *_ = _described(shapes, ())
        found += [(prefix, type_name, remark)] if type_name else []
    return found


def _modules(weights: Weights) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the shapes of each module's parameters, by its prefix."""
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, (_, shape) in weights.specs.items():
        prefix, name = _split(key)
        modules.setdefault(prefix, {})[name] = shape
    return modules


def _split(key: str) -> tuple[str, str]:
    """Return (prefix, parameter) of a key; parts of a parameter under weight_norm count as that parameter."""
    match = _NORMED.fullmatch(key)
    if match:
        return match[1] or "", match[2]
    prefix, _, name = key.rpartition(".")
    return prefix, name


def _described(shapes: Shapes, before: Sequence[int | None]) -> tuple[str, ...]:
    """Return (type, remark, further options) of a module with these parameters; ("", remark) if none is recognised.

    before: the output channels of each module before it.
    """
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
        groups = _groups(weight, shapes.get("bias", weight[:1]), before)
        told = [f"groups: {groups}"] if groups > 1 else []
        if shapes.get("bias", weight[:1]) == weight[:1]:
            form = f"{weight[1] * groups} -> {weight[0]} channels, kernel {taps}"
            guess = "; or without groups" if told else ""
            return f"Conv{n}d", f"{form}{guess}; or a ConvTranspose{n}d", *told
        return f"ConvTranspose{n}d", f"{weight[0]} -> {_last(shapes['bias'])} channels, kernel {taps}", *told
    return "", ""


def _groups(weight: tuple[int, ...], bias: tuple[int, ...], before: Sequence[int | None]) -> int:
    """Guess the number of groups of a convolution.

    It follows from the bias of a transposed convolution; for any other, from the output channels of the module before.
    """
    if bias != weight[:1]:
        out = bias[0] if len(bias) == 1 else 0
        return out // weight[1] if weight[1] and out % weight[1] == 0 and out else 1
    came = next((channels for channels in reversed(before) if channels), 0)
    groups = came // weight[1] if weight[1] and came % weight[1] == 0 else 1
    return groups if groups and weight[0] % groups == 0 else 1


def _channels(type_name: str, shapes: Shapes) -> int | None:
    """Return the output channels of a module; None if they do not follow from its weights."""
    weight = shapes.get("weight", ())
    if type_name.startswith("ConvTranspose"):
        return (shapes.get("bias") or (0,))[0]
    if type_name.startswith("Conv") or type_name == "Linear":
        return weight[0]
    if type_name in ("GRU", "LSTM", "RNN"):
        name = next(name for name in shapes if name.startswith("weight_hh"))
        return shapes[name][1] * (2 if any(key.endswith("_reverse") for key in shapes) else 1)
    return None


def _last(shape: tuple[int, ...]) -> str:
    return str(shape[-1]) if shape else "?"


def _recurrent(shapes: Shapes) -> tuple[str, ...]:
    name = next(name for name in shapes if name.startswith("weight_hh"))
    hidden = shapes[name]
    gates = hidden[0] // hidden[1] if len(hidden) == 2 and hidden[1] else 0
    if gates not in _GATES:
        return "", f", no recurrent matrix of torch's is {name} {hidden}"
    cell = "" if "_l0" in name else "Cell"
    inputs = _last(shapes.get(name.replace("_hh", "_ih"), ()))
    layers = len([key for key in shapes if re.fullmatch(r"weight_hh_l\d{1,4}", key)])
    two = "both directions" if any(key.endswith("_reverse") for key in shapes) else ""
    parts = [f"{inputs} -> {hidden[1]}", f"{layers} layers" if layers > 1 else "", two]
    return f"{_GATES[gates]}{cell}", ", ".join(filter(None, parts))
