"""The layers with weights of make_architecture_golden.py: convolutions, norms, matrices, recurrent layers."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from architecture_cases import Cases
from torch import Tensor, nn


def _title(name: str, options: dict[str, Any]) -> str:
    return f"{name}_{'_'.join(f'{k}-{v}' for k, v in options.items())}"


def convolutions(cases: Cases) -> None:
    line, image = {"x": torch.randn(2, 4, 11)}, {"x": torch.randn(2, 4, 7, 9)}
    for name, options, x in (
        ("Conv1d", {"stride": 2, "padding": 1}, line),
        ("Conv1d", {"padding": "same", "dilation": 2, "groups": 2}, line),
        ("Conv1d", {"padding": 2, "padding_mode": "reflect"}, line),
        ("Conv1d", {"padding": 2, "padding_mode": "circular"}, line),
        ("Conv2d", {"stride": [2, 1], "padding": [1, 0], "dilation": [1, 2]}, image),
        ("Conv2d", {"padding": "same", "groups": 4}, image),
        ("Conv2d", {"padding": "valid", "bias": False}, image),
        ("Conv2d", {"padding": 1, "padding_mode": "replicate"}, image),
        ("ConvTranspose1d", {"stride": 3, "padding": 1, "output_padding": 2}, line),
        ("ConvTranspose1d", {"groups": 2, "dilation": 2}, line),
        ("ConvTranspose2d", {"stride": [2, 1], "padding": 1, "output_padding": [1, 0]}, image),
    ):
        module = getattr(nn, name)(4, 8, 3, **options)
        cases.add(_title(name, options), {"type": name, "kernel_size": 3, **options}, module, x)
    for name, norm in (("old", nn.utils.weight_norm), ("new", nn.utils.parametrizations.weight_norm)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            module = norm(nn.Conv1d(4, 6, 3))
        cases.add(f"weight_norm_{name}", {"type": "Conv1d"}, module, line)
    for name, options, x in (
        ("MaxPool1d", {"kernel_size": 3}, line),
        ("MaxPool1d", {"kernel_size": 2, "stride": 1, "dilation": 3}, line),
        ("MaxPool2d", {"kernel_size": [3, 2], "stride": 2, "padding": 1, "ceil_mode": True}, image),
        ("AvgPool1d", {"kernel_size": 3, "padding": 1}, line),
        ("AvgPool2d", {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}, image),
        ("AvgPool2d", {"kernel_size": 2, "ceil_mode": True}, image),
        ("AdaptiveAvgPool1d", {"output_size": 1}, line),
        ("AdaptiveAvgPool2d", {"output_size": 1}, image),
        ("AdaptiveMaxPool1d", {"output_size": 1}, line),
        ("AdaptiveMaxPool2d", {"output_size": [1, 1]}, image),
        ("Upsample", {"scale_factor": 2}, line),
        ("Upsample", {"scale_factor": 3, "mode": "linear"}, line),
        ("Upsample", {"scale_factor": [2, 3], "mode": "nearest"}, image),
        ("Upsample", {"scale_factor": 2, "mode": "bilinear", "align_corners": True}, image),
    ):
        module = getattr(nn, name)(**{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})
        cases.add(_title(name, options), {"type": name, **options}, module.forward, x)


def normalisations(cases: Cases) -> None:
    line, image = {"x": torch.randn(3, 6, 5)}, {"x": torch.randn(2, 6, 4, 3)}
    for name, made, options, x in (
        ("BatchNorm1d", (6,), {"eps": 1e-3}, line),
        ("BatchNorm1d", (6,), {"affine": False}, {"x": torch.randn(3, 6)}),
        ("BatchNorm2d", (6,), {}, image),
        ("InstanceNorm1d", (6,), {}, line),
        ("InstanceNorm2d", (6,), {"affine": True}, image),
        ("InstanceNorm1d", (6,), {"affine": True, "track_running_stats": True}, line),
        ("GroupNorm", (3, 6), {}, image),
        ("LayerNorm", (5,), {"eps": 1e-2}, line),
        ("LayerNorm", ((6, 5),), {"bias": False}, line),
        ("LayerNorm", (5,), {"elementwise_affine": False}, line),
        ("RMSNorm", (5,), {"eps": 1e-4}, line),
        ("RMSNorm", ((6, 5),), {"elementwise_affine": False, "eps": 1e-6}, line),
    ):
        layer = {"type": name, **options}
        if name == "GroupNorm":
            layer["num_groups"] = made[0]
        if name in ("LayerNorm", "RMSNorm") and not options.get("elementwise_affine", True):
            layer["normalized_shape"] = list(made[0]) if isinstance(made[0], tuple) else made[0]
        cases.add(_title(name, options), layer, getattr(nn, name)(*made, **options), x)


def matrices(cases: Cases) -> None:
    x = {"x": torch.randn(3, 4, 5)}
    cases.add("Linear", {"type": "Linear", "in_features": 5, "out_features": 7, "bias": True}, nn.Linear(5, 7), x)
    cases.add("Linear_nobias", {"type": "Linear"}, nn.Linear(5, 7, bias=False), x)
    ids = {"ids": torch.tensor([[1, 0, 3], [8, 2, 2]])}
    cases.add("Embedding", {"type": "Embedding", "padding_idx": 0}, nn.Embedding(9, 4), ids)
    for batch_first in (False, True):
        module = nn.MultiheadAttention(6, 2, batch_first=batch_first, bias=batch_first)
        layer = {"type": "MultiheadAttention", "num_heads": 2, "batch_first": batch_first}
        cases.add(
            f"MultiheadAttention_{batch_first}",
            layer,
            _called(module, _attend),
            {"x": torch.randn(3, 3, 6)},
            free=batch_first,
        )
    module = nn.MultiheadAttention(6, 3, kdim=4, vdim=5, batch_first=True)
    layer = {"type": "MultiheadAttention", "num_heads": 3, "batch_first": True, "inputs": ["q", "k", "v"]}
    three = {"q": torch.randn(2, 3, 6), "k": torch.randn(2, 7, 4), "v": torch.randn(2, 7, 5)}
    cases.add("MultiheadAttention_cross", layer, _called(module, _attend), three)


def _called(module: nn.Module, compute: Callable[..., Any]) -> nn.Module:
    """Replace the call of a module by compute(its own forward, *inputs), and return the module."""
    module.forward = partial(compute, module.forward)  # type: ignore[method-assign]
    return module


def _attend(forward: Callable[..., Any], q: Tensor, k: Tensor | None = None, v: Tensor | None = None) -> Tensor:
    return forward(q, q if k is None else k, q if v is None else v, need_weights=False)[0]


def _with_states(forward: Callable[..., Any], x: Tensor, *before: Tensor) -> Any:
    return forward(x, before if len(before) > 1 else before[0])


def _flat(forward: Callable[..., Any], x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
    y, after = _with_states(forward, x, *before)
    return (y, *(after if isinstance(after, tuple) else (after,)))


def _packed(forward: Callable[..., Any], x: Tensor, lengths: Tensor) -> Tensor:
    rows = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    return nn.utils.rnn.pad_packed_sequence(forward(rows)[0], total_length=4)[0]


def recurrent(cases: Cases) -> None:
    x = {"x": torch.randn(4, 3, 5)}
    for name, options in (
        ("GRU", {}),
        ("GRU", {"num_layers": 2, "bidirectional": True, "bias": False}),
        ("GRU", {"num_layers": 2, "batch_first": True}),
        ("LSTM", {}),
        ("LSTM", {"num_layers": 3, "bidirectional": True}),
        ("RNN", {"nonlinearity": "relu"}),
        ("RNN", {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    ):
        module = getattr(nn, name)(5, 6, **options)
        rows = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
        batch = x["x"].shape[0 if options.get("batch_first") else 1]
        states = ["h", "c"] if name == "LSTM" else ["h"]
        inputs = x | {f"{s}0": torch.randn(rows, batch, 6) for s in states}
        layer = {"type": name, "inputs": list(inputs), **options}
        outputs = {"y": "y", **{f"{s}n": f"y.{s}_n" for s in states}}
        cases.add(_title(name, options), layer, _called(module, _flat), inputs, free=False, outputs=outputs)
    frame = torch.randn(3, 5)
    for name in ("GRUCell", "LSTMCell", "RNNCell"):
        module = getattr(nn, name)(5, 6)
        states = ["h", "c"] if name == "LSTMCell" else ["h"]
        inputs = {"x": frame} | {f"{s}0": torch.randn(3, 6) for s in states}
        outputs = {"hn": "y", "cn": "y.c_n"} if name == "LSTMCell" else {"hn": "y"}
        layer = {"type": name, "inputs": list(inputs)}
        cases.add(name, layer, _called(module, _with_states), inputs, outputs=outputs)
    module, lengths = nn.GRU(5, 6, bidirectional=True), {"lengths": torch.tensor([2, 4, 1])}
    layer = {"type": "GRU", "inputs": "x", "lengths": "lengths"}
    cases.add("GRU_lengths", layer, _called(module, _packed), x | lengths, free=False)
