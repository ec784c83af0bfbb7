"""The cases of single layers for make_architecture_golden.py, and those cases that have no weight matrix."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

F = nn.functional

Arrays = dict[str, np.ndarray]
Layer = dict[str, Any]


class Cases:
    """Collects the contents of layers.json and layers.safetensors."""

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
        """Add a network of `layer` at the prefix "m". compute: the same network as a module or function of torch."""
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
        # The first axis is free, with one name.
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
    for name, layer, compute, given in (
        ("GLU", {"dim": 1}, lambda x: F.glu(x, 1), x),
        ("Clamp", {"min": -0.5}, lambda x: x.clamp(min=-0.5), x),
        ("Pow", {"exponent": 0.3}, lambda x: x**0.3, positive),
        ("Affine", {"scale": -1, "offset": 1}, lambda x: 1 - x, x),
        ("PReLU", {}, nn.PReLU(4), x),
        ("PReLU_1", {"num_parameters": 1}, nn.PReLU(), x),
    ):
        cases.add(name, {"type": name.partition("_")[0], **layer}, compute, given)
    cases.add("Dropout", [{"type": "Dropout", "p": 0.3}, {"type": "ReLU"}], torch.relu, x)
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
    tall, line, square = ({"x": torch.randn(size)} for size in ((2, 3, 3, 4), (2, 3, 5), (2, 3, 3, 4)))
    for name, options, given in (
        ("ConstantPad2d", {"padding": [1, 2, 0, 1], "value": -1.5}, x),
        ("ZeroPad2d", {"padding": [1, 2, 0, 1]}, x),
        ("ReplicationPad2d", {"padding": [1, 2, 0, 1]}, x),
        ("ReflectionPad2d", {"padding": 1}, tall),
        ("ZeroPad1d", {"padding": [2, 1]}, line),
        ("ReflectionPad1d", {"padding": [2, 1]}, line),
        ("ReplicationPad1d", {"padding": [2, 1]}, line),
        ("CircularPad1d", {"padding": [2, 1]}, line),
        ("ConstantPad1d", {"padding": 2, "value": 3}, line),
        ("CircularPad2d", {"padding": 1}, square),
    ):
        cases.add(name, {"type": name, **options}, getattr(nn, name)(**options).forward, given)
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
