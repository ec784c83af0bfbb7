"""Write tests/data/architecture: descriptions of networks, their weights as torch saves them, torch's outputs.

    python tools/make_architecture_golden.py

Needs torch. layers.json and layers.safetensors hold one small network for every type of layer: its description, its
state dict, its inputs, and what torch computes from these in float64, rounded to float32. The networks (a recogniser of
text lines, a mask for speech, a recommender) are a .yaml, a .pt and the arrays of networks.npz. Values depend on
torch's generator, so another version of torch may write others; they are right all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "data" / "architecture"
F = nn.functional

Arrays = dict[str, np.ndarray]
Layer = dict[str, Any]


class Cases:
    """What layers.json and layers.safetensors will hold."""

    def __init__(self) -> None:
        self.descriptions: dict[str, Any] = {}
        self.arrays: Arrays = {}

    def add(
        self,
        name: str,
        layer: Layer | list[Layer],
        compute: Callable[..., Any],
        inputs: Mapping[str, Tensor],
        *,
        free: bool = True,
        outputs: Any = None,
    ) -> None:
        """A network of `layer` at the prefix "m", which is compute(*inputs), a module or a function of torch."""
        layers = [layer] if isinstance(layer, dict) else layer
        if isinstance(compute, nn.Module):
            for entry in layers:
                entry.setdefault("prefix", "m") if entry.get("weights", True) else entry.pop("weights")
            for key, buffer in compute.named_buffers():
                if "var" in key:
                    buffer.data = torch.rand_like(buffer) + 0.5
                elif "mean" in key:
                    buffer.data = torch.randn_like(buffer)
            for parameter in compute.parameters():
                parameter.data = parameter.data + 0.1 * torch.randn_like(parameter)
            self.arrays |= {f"{name}/state/m.{key}": t.numpy().copy() for key, t in compute.state_dict().items()}
            compute.eval()
            compute.double()
        # The first axis is free, under one name.
        shapes = {
            n: {"shape": ["N" if free else t.shape[0], *t.shape[1:]], "dtype": _dtype(t)} for n, t in inputs.items()
        }
        self.descriptions[name] = {"inputs": shapes, "layers": layers, "outputs": outputs or "y"}
        layers[-1].setdefault("name", "y")
        with torch.no_grad():
            got = compute(*(t.double() if t.is_floating_point() else t for t in inputs.values()))
        for i, y in enumerate(got if isinstance(got, tuple) else (got,)):
            self.arrays[f"{name}/y/{i}"] = (y.float() if y.is_floating_point() else y).numpy()
        self.arrays |= {f"{name}/x/{n}": t.numpy() for n, t in inputs.items()}


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def elementwise(cases: Cases) -> None:
    x = {"x": 2 * torch.randn(3, 4, 5)}
    plain = (
        "ReLU",
        "SELU",
        "SiLU",
        "Sigmoid",
        "Tanh",
        "Softsign",
        "Hardsigmoid",
        "Hardswish",
        "Mish",
        "LogSigmoid",
        "ReLU6",
    )
    for name in plain:
        cases.add(name, {"type": name}, getattr(F, name.lower(), None) or getattr(nn, name)().forward, x)
    for name in ("Abs", "Cos", "Erf", "Exp", "Neg", "Reciprocal", "Sign", "Sin"):
        cases.add(name, {"type": name}, getattr(torch, name.lower()), x)
    positive = {"x": torch.rand(3, 4) + 0.1}
    for name in ("Log", "Log1p", "Sqrt"):
        cases.add(name, {"type": name}, getattr(torch, name.lower()), positive)
    for name, options in (
        ("ELU", {"alpha": 0.7}),
        ("LeakyReLU", {"negative_slope": 0.2}),
        ("GELU", {}),
        ("GELU", {"approximate": "tanh"}),
        ("Softplus", {}),
        ("Softplus", {"beta": 2.0}),
        ("Hardtanh", {"min_val": -0.5, "max_val": 0.75}),
        ("Softmax", {"dim": 1}),
        ("LogSoftmax", {"dim": -1}),
    ):
        case = f"{name}_{'_'.join(map(str, options.values()))}"
        cases.add(case, {"type": name, **options}, getattr(nn, name)(**options).forward, x)
    cases.add("GLU", {"type": "GLU", "dim": 1}, lambda x: F.glu(x, 1), x)
    cases.add("Clamp", {"type": "Clamp", "min": -0.5}, lambda x: x.clamp(min=-0.5), x)
    cases.add("Pow", {"type": "Pow", "exponent": 0.3}, lambda x: x**0.3, positive)
    cases.add("Affine", {"type": "Affine", "scale": -1, "offset": 1}, lambda x: 1 - x, x)
    cases.add("Dropout", [{"type": "Dropout", "p": 0.3}, {"type": "ReLU"}], torch.relu, x)
    cases.add("PReLU", {"type": "PReLU"}, nn.PReLU(4), x)
    cases.add("PReLU_1", {"type": "PReLU", "num_parameters": 1}, nn.PReLU(), x)
    two = {"a": torch.randn(3, 4, 5), "b": torch.randn(1, 5).abs() + 0.5}
    for name in ("Add", "Div", "Maximum", "Minimum", "Mul", "Sub"):
        layer = {"type": name, "inputs": ["a", "b"]}
        cases.add(name, layer, getattr(torch, name.lower()), two, free=False)


def moving(cases: Cases) -> None:
    x = {"x": torch.randn(3, 4, 1, 6)}
    for name, options, compute in (
        ("Transpose", {"dim0": 1, "dim1": -1}, lambda x: x.transpose(1, -1)),
        ("Permute", {"dims": [3, 1, 0, 2]}, lambda x: x.permute(3, 1, 0, 2)),
        ("Unsqueeze", {"dim": -1}, lambda x: x.unsqueeze(-1)),
        ("Squeeze", {"dim": 2}, lambda x: x.squeeze(2)),
        ("Slice", {"dim": 1, "start": 1, "end": -1}, lambda x: x[:, 1:-1]),
        ("Slice_step", {"dim": -1, "start": -5, "step": 2}, lambda x: x[..., -5::2]),
        ("Select", {"dim": 0, "index": -1}, lambda x: x[-1]),
        ("Flip", {"dim": 3}, lambda x: x.flip(3)),
        ("Flatten", {}, lambda x: x.flatten(1)),
        ("Flatten_middle", {"start_dim": 1, "end_dim": 2}, lambda x: x.flatten(1, 2)),
        ("Flatten_first", {"start_dim": 0, "end_dim": 1}, lambda x: x.flatten(0, 1)),
        ("Unflatten", {"dim": 3, "unflattened_size": [2, -1]}, lambda x: x.unflatten(3, (2, -1))),
        ("Reshape", {"shape": [0, -1, 8]}, lambda x: x.reshape(3, -1, 8)),
        ("Reshape_named", {"shape": [24, "N"]}, lambda x: x.reshape(24, 3)),
        ("Expand", {"sizes": [-1, 4, 3, -1]}, lambda x: x.expand(-1, 4, 3, -1)),
        ("Pad", {"pad": [1, 2, 0, 3], "value": 0.5}, lambda x: F.pad(x, (1, 2, 0, 3), value=0.5)),
        (
            "Pad_reflect",
            {"pad": [4, 1], "mode": "reflect"},
            lambda x: F.pad(x[:, :, 0], (4, 1), mode="reflect")[:, :, None],
        ),
        ("Pad_negative", {"pad": [-1, 2]}, lambda x: F.pad(x, (-1, 2))),
        ("Mean", {"dim": [1, -1]}, lambda x: x.mean((1, -1))),
        ("Sum", {"dim": 3, "keepdim": True}, lambda x: x.sum(3, keepdim=True)),
        ("Max", {"dim": 1}, lambda x: x.amax(1)),
        ("Min", {"dim": 1}, lambda x: x.amin(1)),
        ("LogSumExp", {"dim": 3}, lambda x: x.logsumexp(3)),
        ("ArgMax", {"dim": 3}, lambda x: x.argmax(3)),
        ("ArgMin", {"dim": 1, "keepdim": True}, lambda x: x.argmin(1, keepdim=True)),
        ("CumSum", {"dim": 3}, lambda x: x.cumsum(3)),
    ):
        cases.add(name, {"type": name.split("_")[0], **options}, compute, x)
    for name in ("ConstantPad2d", "ZeroPad2d", "ReplicationPad2d"):
        options = {"padding": [1, 2, 0, 1], **({"value": -1.5} if name == "ConstantPad2d" else {})}
        cases.add(name, {"type": name, **options}, getattr(nn, name)(**options).forward, x)
    cases.add(
        "ReflectionPad2d",
        {"type": "ReflectionPad2d", "padding": 1},
        nn.ReflectionPad2d(1).forward,
        {"x": torch.randn(2, 3, 3, 4)},
    )
    line = {"x": torch.randn(2, 3, 5)}
    for name in ("ZeroPad1d", "ReflectionPad1d", "ReplicationPad1d", "CircularPad1d"):
        cases.add(name, {"type": name, "padding": [2, 1]}, getattr(nn, name)((2, 1)).forward, line)
    cases.add(
        "ConstantPad1d", {"type": "ConstantPad1d", "padding": 2, "value": 3}, nn.ConstantPad1d(2, 3.0).forward, line
    )
    cases.add(
        "CircularPad2d",
        {"type": "CircularPad2d", "padding": 1},
        nn.CircularPad2d(1).forward,
        x | {"x": torch.randn(2, 3, 3, 4)},
    )
    cut = [
        {"type": "Split", "name": "cut", "dim": 2, "sizes": [1, 4]},
        {"type": "Concat", "dim": 2, "inputs": ["cut.1", "cut.0"]},
    ]
    cases.add("Split", cut, lambda x: torch.cat((x[..., 1:], x[..., :1]), 2), line)
    cut = [{"type": "Chunk", "name": "cut", "dim": 2, "chunks": 2}, {"type": "Identity", "inputs": "cut.1"}]
    cases.add("Chunk", [*cut[:1], {"type": "Neg", "inputs": "cut.1"}], lambda x: -x.chunk(2, 2)[1], line)
    pair = {"a": torch.randn(2, 3, 5), "b": torch.randn(2, 5, 4)}
    cases.add("MatMul", {"type": "MatMul", "inputs": ["a", "b"]}, torch.matmul, pair)
    cast = [{"type": "Cast", "to": "int64"}, {"type": "Cast", "to": "float32"}]
    cases.add("Cast", cast, lambda x: x.trunc(), {"x": 3 * torch.randn(3, 4)})
    cases.add("LastStep", {"type": "LastStep", "batch_first": True}, lambda x: x[:, -1], line)


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
        case = f"{name}_{'_'.join(f'{k}-{v}' for k, v in options.items())}"
        cases.add(case, {"type": name, "kernel_size": 3, **options}, module, x)
    for name, norm in (("old", nn.utils.weight_norm), ("new", nn.utils.parametrizations.weight_norm)):
        import warnings

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
        case = f"{name}_{'_'.join(f'{k}-{v}' for k, v in options.items())}"
        cases.add(case, {"type": name, **options}, module.forward, x)


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
        case = f"{name}_{'_'.join(f'{k}-{v}' for k, v in options.items())}"
        cases.add(case, layer, getattr(nn, name)(*made, **options), x)


def products(cases: Cases) -> None:
    x = {"x": torch.randn(3, 4, 5)}
    cases.add("Linear", {"type": "Linear", "in_features": 5, "out_features": 7, "bias": True}, nn.Linear(5, 7), x)
    cases.add("Linear_nobias", {"type": "Linear"}, nn.Linear(5, 7, bias=False), x)
    ids = {"ids": torch.tensor([[1, 0, 3], [8, 2, 2]])}
    cases.add("Embedding", {"type": "Embedding", "padding_idx": 0}, nn.Embedding(9, 4), ids)
    for batch_first in (False, True):
        module = nn.MultiheadAttention(6, 2, batch_first=batch_first, bias=batch_first)
        layer = {"type": "MultiheadAttention", "num_heads": 2, "batch_first": batch_first}
        cases.add(
            f"MultiheadAttention_{batch_first}", layer, _attended(module), {"x": torch.randn(3, 3, 6)}, free=batch_first
        )
    module = nn.MultiheadAttention(6, 3, kdim=4, vdim=5, batch_first=True)
    layer = {"type": "MultiheadAttention", "num_heads": 3, "batch_first": True, "inputs": ["q", "k", "v"]}
    three = {"q": torch.randn(2, 3, 6), "k": torch.randn(2, 7, 4), "v": torch.randn(2, 7, 5)}
    cases.add("MultiheadAttention_cross", layer, _attended(module), three)


def _attended(module: nn.MultiheadAttention) -> nn.Module:
    forward = module.forward

    def attend(q: Tensor, k: Tensor | None = None, v: Tensor | None = None) -> Tensor:
        return forward(q, q if k is None else k, q if v is None else v, need_weights=False)[0]

    module.forward = attend  # type: ignore[method-assign]
    return module


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
        forward = module.forward

        def with_states(x: Tensor, *before: Tensor, forward: Any = forward) -> tuple[Tensor, ...]:
            y, after = forward(x, before if len(before) > 1 else before[0])
            return (y, *(after if isinstance(after, tuple) else (after,)))

        module.forward = with_states
        layer = {"type": name, "inputs": list(inputs), **options}
        outputs = {"y": "y", **{f"{s}n": f"y.{s}_n" for s in states}}
        case = f"{name}_{'_'.join(f'{k}-{v}' for k, v in options.items())}"
        cases.add(case, layer, module, inputs, free=False, outputs=outputs)
    frame = torch.randn(3, 5)
    for name in ("GRUCell", "LSTMCell", "RNNCell"):
        module = getattr(nn, name)(5, 6)
        states = ["h", "c"] if name == "LSTMCell" else ["h"]
        inputs = {"x": frame} | {f"{s}0": torch.randn(3, 6) for s in states}
        forward = module.forward

        def step(x: Tensor, *before: Tensor, forward: Any = forward) -> Any:
            return forward(x, before if len(before) > 1 else before[0])

        module.forward = step
        outputs = {"hn": "y", "cn": "y.c_n"} if name == "LSTMCell" else {"hn": "y"}
        cases.add(name, {"type": name, "inputs": list(inputs)}, module, inputs, outputs=outputs)
    lengths = torch.tensor([2, 4, 1])
    module = nn.GRU(5, 6, bidirectional=True)
    forward = module.forward

    def packed(x: Tensor, lengths: Tensor) -> Tensor:
        rows = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(forward(rows)[0], total_length=4)[0]

    module.forward = packed  # type: ignore[method-assign]
    cases.add(
        "GRU_lengths",
        {"type": "GRU", "inputs": "x", "lengths": "lengths"},
        module,
        x | {"lengths": lengths},
        free=False,
    )


class Recogniser(nn.Module):
    """Lines of text: convolutions, a GRU of two layers and directions over the columns, a softmax a column."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.LeakyReLU(0.1),
            nn.MaxPool2d((2, 1)),
        )
        self.rnn = nn.GRU(6 * 3, 5, num_layers=2, bidirectional=True)
        self.fc = nn.Linear(10, 7)

    def forward(self, x: Tensor) -> Tensor:
        columns = self.cnn(x).flatten(1, 2).permute(2, 0, 1)
        return F.log_softmax(self.fc(self.rnn(columns)[0]), -1)


class Mask(nn.Module):
    """A mask for a frame of a spectrum: a convolution over frequency, a GRU over time, the way back with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 4, 5, stride=2, padding=2))
        self.act = nn.PReLU(4)
        self.norm = nn.LayerNorm(8)
        self.gru = nn.GRU(4 * 8, 6)
        self.fc = nn.Linear(6, 4 * 8)
        self.up = nn.ConvTranspose1d(8, 1, 5, stride=2, padding=2)

    def forward(self, spectrum: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        T, N, _ = spectrum.shape
        skip = self.act(self.down(spectrum.reshape(T * N, 1, 15)))
        y, hn = self.gru(self.norm(skip).reshape(T, N, 32), h0)
        back = F.silu(self.fc(y)).reshape(T * N, 4, 8)
        mask = torch.sigmoid(self.up(torch.cat((back, skip), 1))).reshape(T, N, 15)
        return spectrum * mask, hn


class Recommender(nn.Module):
    """The next item of a session: a GRU over its items, then attention of the last state over all steps."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Embedding(30, 6, padding_idx=0)
        self.gru = nn.GRU(6, 6, batch_first=True)
        self.query = nn.Linear(6, 6, bias=False)
        self.v = nn.Parameter(torch.randn(6))
        self.bias = nn.Parameter(torch.randn(30))

    def forward(self, session: Tensor) -> Tensor:
        y, h = self.gru(self.items(session))
        weights = torch.softmax((torch.tanh(y + self.query(h[-1])[:, None]) * self.v).sum(-1, keepdim=True), 1)
        return (weights * y).sum(1) @ self.items.weight.T + self.bias


RECOGNISER = """\
name: recogniser
inputs:
  image: [N, 1, 12, W]
layers:
  - {type: Conv2d, prefix: cnn.0, padding: 1}
  - {type: BatchNorm2d, prefix: cnn.1}
  - ReLU
  - {type: MaxPool2d, kernel_size: 2}
  - {type: Conv2d, prefix: cnn.4, padding: 1}
  - {type: BatchNorm2d, prefix: cnn.5, eps: 1e-5}
  - {type: LeakyReLU, negative_slope: 0.1}
  - {type: MaxPool2d, kernel_size: [2, 1]}
  - {type: Flatten, start_dim: 1, end_dim: 2}
  - {type: Permute, dims: [2, 0, 1]} # (W, N, C)
  - {type: GRU, prefix: rnn}
  - {type: Linear, prefix: fc}
  - {name: log_probabilities, type: LogSoftmax, dim: -1}
"""
MASK = """\
inputs:
  spectrum: [T, N, 15]
layers:
  - {type: Reshape, shape: [-1, 1, 15]}
  - {type: Conv1d, prefix: down, stride: 2, padding: 2}
  - {name: skip, type: PReLU, prefix: act}
  - {type: LayerNorm, prefix: norm}
  - {type: Reshape, shape: [T, N, 32]}
  - {type: GRU, prefix: gru, states: {h0: hn}}
  - {type: Linear, prefix: fc}
  - SiLU
  - {name: back, type: Reshape, shape: [-1, 4, 8]}
  - {type: Concat, inputs: [back, skip], dim: 1}
  - {type: ConvTranspose1d, prefix: up, stride: 2, padding: 2}
  - Sigmoid
  - {name: mask, type: Reshape, shape: [T, N, 15]}
  - {name: enhanced, type: Mul, inputs: [spectrum, mask]}
"""
RECOMMENDER = """\
inputs:
  session: {shape: [N, T], dtype: int64}
layers:
  - {name: items, type: Embedding, padding_idx: 0}
  - {name: gru, type: GRU, batch_first: true}
  - {type: Select, inputs: gru.h_n, dim: 0, index: -1}
  - {name: query, type: Linear}
  - {name: wanted, type: Unsqueeze, dim: 1}
  - {type: Add, inputs: [gru, wanted]}
  - {name: tanh, type: Tanh}
  - {name: v, type: Parameter, prefix: "", key: v}
  - {type: Mul, inputs: [tanh, v]}
  - {type: Sum, dim: -1, keepdim: true}
  - {name: weights, type: Softmax, dim: 1}
  - {type: Mul, inputs: [weights, gru]}
  - {type: Sum, dim: 1}
  - {name: scores, type: Linear, keys: {weight: items.weight, bias: bias}}
"""


def networks(arrays: Arrays) -> None:
    image, frames, h0 = torch.randn(2, 1, 12, 9), torch.randn(5, 2, 15), torch.randn(1, 2, 6)
    session = torch.tensor([[3, 7, 29, 1], [5, 5, 0, 2]])
    for name, net, text, inputs, wrap in (
        ("recogniser", Recogniser(), RECOGNISER, {"image": image}, lambda state: {"epoch": 4, "model": state}),
        (
            "mask",
            Mask(),
            MASK,
            {"spectrum": frames, "h0": h0},
            lambda state: {f"module.{k}": t for k, t in state.items()},
        ),
        ("recommender", Recommender(), RECOMMENDER, {"session": session}, lambda state: state),
    ):
        for key, buffer in net.named_buffers():
            if "running" in key:
                buffer.data = torch.rand_like(buffer) + 0.5
        torch.save(wrap({key: tensor.clone() for key, tensor in net.state_dict().items()}), FOLDER / f"{name}.pt")
        (FOLDER / f"{name}.yaml").write_text(text)
        with torch.no_grad():
            got = net.eval().double()(*(t.double() if t.is_floating_point() else t for t in inputs.values()))
        arrays |= {f"{name}/x/{n}": t.numpy() for n, t in inputs.items()}
        arrays |= {f"{name}/y/{i}": y.numpy() for i, y in enumerate(got if isinstance(got, tuple) else (got,))}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(20260101)
    cases = Cases()
    for family in (elementwise, moving, convolutions, normalisations, products, recurrent):
        family(cases)
    lines = (f"{json.dumps(name)}: {json.dumps(found)}" for name, found in cases.descriptions.items())
    (FOLDER / "layers.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    save_file({name: np.ascontiguousarray(a) for name, a in cases.arrays.items()}, FOLDER / "layers.safetensors")
    arrays: Arrays = {}
    networks(arrays)
    np.savez_compressed(FOLDER / "networks.npz", **arrays)
    total = sum(path.stat().st_size for path in FOLDER.iterdir())
    print(f"{FOLDER}: {len(cases.descriptions)} layers, {total} bytes")


if __name__ == "__main__":
    main()
