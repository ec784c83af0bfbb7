"""Networks with GRUs in them, as PyTorch modules: what the golden files were exported from, and the live tests export.

Each is small here; the shapes in the comments are (N, T, ...) with the batch first, as these networks are served.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from torch import Tensor, nn

__all__ = ["EXPORTERS", "NETWORKS", "Network", "export", "make_module"]

EXPORTERS: Final = {"trace": 17, "dynamo": 20}  # name -> opset


class CRNN(nn.Module):
    """x (N, 1, T, F) -> class scores a frame (N, T/4, K): convolutions and pooling, bidirectional GRUs, linear."""

    def __init__(self, bands: int = 12, channels: int = 6, hidden: int = 7, classes: int = 5) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.gru = nn.GRU(2 * channels * (bands // 4), hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(2 * hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).permute(0, 2, 1, 3).flatten(2)
        return self.fc(self.gru(y)[0]).log_softmax(-1)


class Spotter(nn.Module):
    """x (N, 1, T, F) -> class probabilities (N, K): one strided convolution, bidirectional GRUs, the last frame."""

    def __init__(self, bands: int = 12, channels: int = 4, hidden: int = 6, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels, (8, 5), stride=(4, 2), padding=(2, 2))
        self.gru = nn.GRU(channels * (bands // 2), hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.fc = nn.Sequential(nn.Linear(2 * hidden, 8), nn.ReLU(), nn.Linear(8, classes))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv(x)).transpose(1, 2)
        y, _ = self.gru(y.reshape(y.shape[0], y.shape[1], -1))
        return torch.softmax(self.fc(y[:, -1]), -1)


class Attention(nn.Module):
    """Additive: a query (N, 1, H) over keys (N, S, H) -> context (N, 1, H)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, hidden)
        self.keys = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        scores = self.score(torch.tanh(self.query(query) + self.keys(keys))).squeeze(2).unsqueeze(1)
        return torch.bmm(torch.softmax(scores, -1), keys)


class DecoderStep(nn.Module):
    """token (N, 1), h0 (1, N, H), encoded (N, S, H) -> scores (N, V), hn (1, N, H)."""

    def __init__(self, words: int = 11, hidden: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, hidden)
        self.attention = Attention(hidden)
        self.gru = nn.GRU(2 * hidden, hidden, batch_first=True)
        self.out = nn.Linear(hidden, words)

    def forward(self, token: Tensor, h0: Tensor, encoded: Tensor) -> tuple[Tensor, Tensor]:
        context = self.attention(h0.permute(1, 0, 2), encoded)
        y, hn = self.gru(torch.cat((self.embedding(token), context), 2), h0)
        return self.out(y[:, 0]), hn


class Translator(nn.Module):
    """source (N, S) -> words (N, L) and their scores (N, L, V): encoder, and a greedy decoder of L steps."""

    def __init__(self, words: int = 11, hidden: int = 8, length: int = 4) -> None:
        super().__init__()
        self.length = length
        self.embedding = nn.Embedding(words, hidden)
        self.encoder = nn.GRU(hidden, hidden, batch_first=True)
        self.decoder = DecoderStep(words, hidden)

    def forward(self, source: Tensor) -> tuple[Tensor, Tensor]:
        encoded, h = self.encoder(self.embedding(source))
        token = torch.zeros_like(source[:, :1])
        words, scores = [], []
        for _ in range(self.length):
            y, h = self.decoder(token, h, encoded)
            token = y.argmax(1, keepdim=True)
            words.append(token)
            scores.append(y)
        return torch.cat(words, 1), torch.stack(scores, 1)


class Recommender(nn.Module):
    """items (N, T) -> probabilities of every item (N, V): embedding, GRU, the whole softmax."""

    def __init__(self, items: int = 61, hidden: int = 10) -> None:
        super().__init__()
        self.embedding = nn.Embedding(items, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.out = nn.Linear(hidden, items)

    def forward(self, items: Tensor) -> Tensor:
        y, _ = self.gru(self.embedding(items))
        return torch.softmax(self.out(y[:, -1, :]), dim=-1)


class DecayCell(nn.Module):
    """One step of GRU-D (Che et al. 2018): what is missing decays from its last value to the mean, and so does h."""

    def __init__(self, features: int = 5, hidden: int = 9) -> None:
        super().__init__()
        self.input_rate = nn.Parameter(torch.rand(features))
        self.input_bias = nn.Parameter(torch.zeros(features))
        self.decay = nn.Linear(features, hidden)
        self.cell = nn.GRUCell(2 * features, hidden)
        self.register_buffer("mean", torch.randn(features))

    def forward(self, x: Tensor, mask: Tensor, gap: Tensor, last: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        last = torch.where(mask > 0, x, last)
        gamma = torch.exp(-torch.relu(gap * self.input_rate + self.input_bias))
        filled = mask * x + (1 - mask) * (gamma * last + (1 - gamma) * self.mean)
        h = h * torch.exp(-torch.relu(self.decay(gap)))
        return last, self.cell(torch.cat((filled, mask), -1), h)


class ForecasterStep(nn.Module):
    """x, mask, gap, last (N, F), h (N, H) -> forecast (N, F), last_out, h_out."""

    def __init__(self, features: int = 5, hidden: int = 9) -> None:
        super().__init__()
        self.cell = DecayCell(features, hidden)
        self.out = nn.Linear(hidden, features)

    def forward(self, x: Tensor, mask: Tensor, gap: Tensor, last: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        last, h = self.cell(x, mask, gap, last, h)
        return self.out(h), last, h


class Forecaster(nn.Module):
    """x, mask, gap (N, T, F) with T as it is exported -> forecast (N, F)."""

    def __init__(self, features: int = 5, hidden: int = 9) -> None:
        super().__init__()
        self.cell = DecayCell(features, hidden)
        self.out = nn.Linear(hidden, features)

    def forward(self, x: Tensor, mask: Tensor, gap: Tensor) -> Tensor:
        last = torch.zeros_like(x[:, 0])
        h = x.new_zeros((x.shape[0], self.out.in_features))
        for t in range(x.shape[1]):
            last, h = self.cell(x[:, t], mask[:, t], gap[:, t], last, h)
        return self.out(h)


class MaskNet(nn.Module):
    """x (N, 1, T, F) and the states -> x masked, and the states: what enhances speech frame by frame.

    conv_cache (N, 1, 2, F) holds the two frames before, h0 (1, N, H) is the GRU's state, deconv_cache (N, C, 1, F/4)
    the frame before of the upper layer.
    """

    def __init__(self, bands: int = 17, channels: int = 4, hidden: int = 8) -> None:
        super().__init__()
        self.width = (bands - 1) // 4
        self.channels = channels
        self.conv1 = nn.Conv2d(1, channels, (3, 5), stride=(1, 2), padding=(0, 2))
        self.norm1 = nn.BatchNorm2d(channels)
        self.act1 = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, (1, 3), stride=(1, 2), padding=(0, 1), groups=2)
        self.act2 = nn.PReLU()
        self.gru = nn.GRU(channels * (self.width + 1), hidden, batch_first=True)
        self.fc = nn.Linear(hidden, channels * (self.width + 1))
        self.up1 = nn.ConvTranspose2d(channels, channels, (1, 3), stride=(1, 2), padding=(0, 1))
        self.norm2 = nn.BatchNorm2d(channels)
        self.up2 = nn.ConvTranspose2d(channels, 1, (2, 5), stride=(1, 2), padding=(1, 2))

    def forward(self, x: Tensor, conv_cache: Tensor, h0: Tensor, up_cache: Tensor) -> tuple[Tensor, ...]:
        before = torch.cat((conv_cache, x), 2)
        low = self.act1(self.norm1(self.conv1(before)))
        y = self.act2(self.conv2(low))
        y, hn = self.gru(y.permute(0, 2, 1, 3).flatten(2), h0)
        y = self.fc(y).unflatten(2, (self.channels, self.width + 1)).permute(0, 2, 1, 3)
        y = torch.relu(self.norm2(self.up1(y))) + low
        above = torch.cat((up_cache, y), 2)
        mask = torch.sigmoid(self.up2(above))
        return x * mask, before[:, :, -2:], hn, above[:, :, -1:]


class Sampler(nn.Module):
    """sample (N, 1), condition (N, C), h (N, H) -> probabilities of the next sample (N, 256), h_out: as WaveRNN."""

    def __init__(self, condition: int = 6, hidden: int = 12, inner: int = 10, levels: int = 16) -> None:
        super().__init__()
        self.inner = nn.Linear(condition + 1, hidden)
        self.cell = nn.GRUCell(hidden, hidden)
        self.fc = nn.Linear(hidden + condition, inner)
        self.out = nn.Linear(inner, levels)

    def forward(self, sample: Tensor, condition: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        x = self.inner(torch.cat((sample, condition), 1))
        h = self.cell(x, h)
        y = torch.relu(self.fc(torch.cat((x + h, condition), 1)))
        return torch.softmax(self.out(y), 1), h


@dataclass(frozen=True)
class Network:
    """make: the module; shapes: of its inputs by name, ids where `ids` says how many; free: input -> axis -> name.

    states: input -> output, as a stream has to find them. fixed: free dimensions that are not free in
    the exporter "dynamo": PyTorch 2.13 fails there. binary: inputs of zeros and ones. positive: at least zero.
    """

    make: Callable[..., nn.Module]
    shapes: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    free: Mapping[str, Mapping[int, str]]
    ids: Mapping[str, int] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    binary: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()

    def inputs(self, generator: torch.Generator) -> dict[str, Tensor]:
        found = {}
        for name, shape in self.shapes.items():
            if name in self.ids:
                found[name] = torch.randint(0, self.ids[name], shape, generator=generator)
            elif name in self.binary:
                found[name] = torch.randint(0, 2, shape, generator=generator).float()
            else:
                drawn = torch.randn(shape, generator=generator)
                found[name] = drawn.abs() if name in self.positive else drawn
        return found


_BATCH = {0: "batch"}
_STEP = dict.fromkeys(("x", "mask", "gap", "last", "h"), _BATCH)
NETWORKS: Final[Mapping[str, Network]] = {
    "crnn": Network(CRNN, {"x": (2, 1, 20, 12)}, ("y",), {"x": {0: "batch", 2: "time"}}, fixed=("time",)),
    "spotter": Network(Spotter, {"x": (2, 1, 24, 12)}, ("y",), {"x": {0: "batch", 2: "time"}}, fixed=("time",)),
    "decoderstep": Network(
        DecoderStep,
        {"token": (2, 1), "h0": (1, 2, 8), "encoded": (2, 5, 8)},
        ("scores", "hn"),
        {"token": _BATCH, "h0": {1: "batch"}, "encoded": {0: "batch", 1: "words"}},
        ids={"token": 11},
        states={"h0": "hn"},
        fixed=("words",),
    ),
    "translator": Network(
        Translator,
        {"source": (2, 5)},
        ("words", "scores"),
        {"source": {0: "batch", 1: "words"}},
        ids={"source": 11},
        fixed=("words",),
    ),
    "recommender": Network(
        Recommender,
        {"items": (2, 4)},
        ("probabilities",),
        {"items": {0: "batch", 1: "time"}},
        ids={"items": 61},
        fixed=("time",),
    ),
    "forecasterstep": Network(
        ForecasterStep,
        {"x": (2, 5), "mask": (2, 5), "gap": (2, 5), "last": (2, 5), "h": (2, 9)},
        ("y", "last_out", "h_out"),
        _STEP,
        states={"last": "last_out", "h": "h_out"},
        binary=("mask",),
        positive=("gap",),
    ),
    "forecaster": Network(
        Forecaster,
        {"x": (2, 4, 5), "mask": (2, 4, 5), "gap": (2, 4, 5)},
        ("y",),
        dict.fromkeys(("x", "mask", "gap"), _BATCH),
        binary=("mask",),
        positive=("gap",),
    ),
    "masknet": Network(
        MaskNet,
        {"x": (2, 1, 3, 17), "conv_cache": (2, 1, 2, 17), "h0": (1, 2, 8), "up_cache": (2, 4, 1, 9)},
        ("y", "conv_cache_out", "hn", "up_cache_out"),
        {"x": {0: "batch", 2: "time"}, "conv_cache": _BATCH, "h0": {1: "batch"}, "up_cache": _BATCH},
        states={"conv_cache": "conv_cache_out", "h0": "hn", "up_cache": "up_cache_out"},
        fixed=("time",),
    ),
    "sampler": Network(
        Sampler,
        {"sample": (2, 1), "condition": (2, 6), "h": (2, 12)},
        ("probabilities", "h_out"),
        {"sample": _BATCH, "condition": _BATCH, "h": _BATCH},
        states={"h": "h_out"},
    ),
}


def make_module(network: Network, seed: int, **sizes: int) -> nn.Module:
    """In evaluation mode, with statistics as if it had been trained."""
    torch.manual_seed(seed)
    module = network.make(**sizes)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return module.eval()


def export(
    network: Network, module: nn.Module, inputs: Mapping[str, Tensor], exporter: str, path: Path, *, free: bool
) -> None:
    """Write `path`; without what says where and how the file was made: stack traces and paths."""
    options: dict[str, Any] = {"dynamo": exporter == "dynamo"}
    axes = network.free if free else {}
    torch.compiler.reset()  # an export before this one may have fixed what is to be free
    if exporter == "dynamo":
        options |= {"external_data": False, "verbose": False}
        options["dynamic_shapes"] = {
            name: {
                axis: torch.export.Dim.DYNAMIC for axis, dim in axes.get(name, {}).items() if dim not in network.fixed
            }
            for name in inputs
        }
    else:
        options["dynamic_axes"] = axes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(network.outputs),
            opset_version=EXPORTERS[exporter],
            **options,
        )
    strip(path)


def strip(path: Path) -> None:
    """Take away what says where and how the file was made: stack traces and paths."""
    model = onnx.load(path)
    model.ClearField("metadata_props")
    graphs = [model.graph]
    for graph in graphs:
        for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
            part.ClearField("doc_string")
            part.ClearField("metadata_props")
        graphs += [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    onnx.save(model, path)
