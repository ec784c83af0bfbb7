"""Writes tests/data/architecture: descriptions of networks, their weights as torch saves them, and torch's outputs.

    python tools/make_architecture_golden.py

It needs torch. layers.json and layers.safetensors have one small network for every type of layer: its description, its
state dict, its inputs, and torch's outputs in float64, rounded to float32. The networks (a recogniser of text lines, a
mask for speech, a recommender) are a .yaml file, a .pt file and arrays in networks.npz. Values depend on torch's
generator, so another version of torch may write other values, which are equally right.
"""

import json
from pathlib import Path

import numpy as np
import torch
from architecture_cases import Arrays, Cases, elementwise, moving
from architecture_layers import convolutions, matrices, normalisations, recurrent
from safetensors.numpy import save_file
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "data" / "architecture"
F = nn.functional


class Recogniser(nn.Module):
    """A recogniser of text lines: convolutions, a GRU with two layers and directions over the columns, a softmax."""

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
    """A mask for a frame of a spectrum: a convolution over frequency, a GRU over time, and the way back with a skip."""

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


def networks(folder: Path, arrays: Arrays) -> None:
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
        torch.save(wrap({key: tensor.clone() for key, tensor in net.state_dict().items()}), folder / f"{name}.pt")
        (folder / f"{name}.yaml").write_text(text)
        with torch.no_grad():
            got = net.eval().double()(*(t.double() if t.is_floating_point() else t for t in inputs.values()))
        arrays |= {f"{name}/x/{n}": t.numpy() for n, t in inputs.items()}
        arrays |= {f"{name}/y/{i}": y.numpy() for i, y in enumerate(got if isinstance(got, tuple) else (got,))}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(20260101)
    cases = Cases()
    for family in (elementwise, moving, convolutions, normalisations, matrices, recurrent):
        family(cases)
    lines = (f"{json.dumps(name)}: {json.dumps(found)}" for name, found in cases.descriptions.items())
    (FOLDER / "layers.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    save_file({name: np.ascontiguousarray(a) for name, a in cases.arrays.items()}, FOLDER / "layers.safetensors")
    arrays: Arrays = {}
    networks(FOLDER, arrays)
    np.savez_compressed(FOLDER / "networks.npz", **arrays)
    total = sum(path.stat().st_size for path in FOLDER.iterdir())
    print(f"{FOLDER}: {len(cases.descriptions)} layers, {total} bytes")


if __name__ == "__main__":
    main()
