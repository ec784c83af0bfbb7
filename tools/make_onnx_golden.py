"""Writes the small PyTorch exports that the tests of the ONNX importer read, with torch's own inputs and outputs.

    python tools/make_onnx_golden.py tests/data/onnx

It needs torch, onnx and onnxscript. Every model is written by the tracing exporter and by the one based on
torch.export. `golden.npz` has `<model>.in.<input>` and `<model>.out.<output>`, the same for both.
"""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import arrays_of
from torch import Tensor, nn
from torch_networks import strip


class Classifier(nn.Module):
    """Ids (N, T) -> class probabilities: embedding, bidirectional stack, last step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.gru = nn.GRU(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(10, 4)

    def forward(self, ids: Tensor) -> Tensor:
        y, _ = self.gru(self.embedding(ids))
        return torch.softmax(self.fc(y[:, -1]), dim=-1)


class Denoiser(nn.Module):
    """A frame and a state -> a masked frame and the next state: a model for streams."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(7, 6)
        self.norm = nn.LayerNorm(6)
        self.gru = nn.GRU(6, 8, num_layers=2)
        self.out = nn.Linear(8, 7)

    def forward(self, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        y, hn = self.gru(torch.relu(self.norm(self.inner(x))), h0)
        return torch.sigmoid(self.out(y)) * x, hn


class Forecaster(nn.Module):
    """x (N, T, 3) -> (N, 2): batch normalisation, a GRU without bias, the mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.gru = nn.GRU(3, 9, bias=False, batch_first=True)
        self.fc = nn.Sequential(nn.Linear(9, 5), nn.GELU(), nn.Dropout(0.3), nn.Linear(5, 2))

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.gru(self.norm(x.transpose(1, 2)).transpose(1, 2))
        return self.fc(y.mean(dim=1))


class Ragged(nn.Module):
    """x (T, N, 4) with lengths (N,), longest first, as nn.utils.rnn packs them."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 3, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths)
        y, hn = self.gru(packed)
        return nn.utils.rnn.pad_packed_sequence(y)[0], hn


class Mixed(nn.Module):
    """Ids (T, N) and the states of three kinds of layers -> scores (T, N, 4) and the next states."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 7, num_layers=2)
        self.rnn = nn.RNN(7, 5, nonlinearity="relu")
        self.gru = nn.GRU(5, 5)
        self.fc = nn.Linear(5, 4)

    def forward(self, ids: Tensor, h0: Tensor, c0: Tensor, rnn_h0: Tensor, gru_h0: Tensor) -> tuple[Tensor, ...]:
        y, (hn, cn) = self.lstm(self.embedding(ids), (h0, c0))
        y, rnn_hn = self.rnn(y, rnn_h0)
        y, gru_hn = self.gru(y, gru_h0)
        return self.fc(y), hn, cn, rnn_hn, gru_hn


class Tagger(nn.Module):
    """x (N, T, 4) -> tags: an LSTM in both directions, then a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(10, 6, batch_first=True)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.gru(self.lstm(x)[0])[0])


class LastStep(nn.Module):
    """x (N, T, 4) and lengths (N,) -> scores (N, 3): a GRU, and the last valid step of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 6, batch_first=True)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y, _ = self.gru(x)
        last = (lengths - 1).view(-1, 1, 1).expand(-1, -1, y.size(2))
        return self.fc(y.gather(1, last).squeeze(1))


@dataclass(frozen=True)
class Case:
    module: Callable[[], nn.Module]
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    free: dict[str, dict[int, str]]
    exporters: dict[str, int]  # name -> opset


def _cases() -> dict[str, Case]:
    # New cases draw from `own`, so that existing files stay the same.
    normal, own = torch.randn, torch.Generator().manual_seed(21)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=own)

    return {
        "classifier": Case(
            Classifier,
            {"ids": torch.randint(0, 11, (3, 5))},
            ("probabilities",),
            {"ids": {0: "batch", 1: "time"}},
            {"trace": 11, "dynamo": 18},
        ),
        "denoiser": Case(
            Denoiser,
            {"x": normal(1, 2, 7), "h0": normal(2, 2, 8)},
            ("y", "hn"),
            {"x": {0: "time"}},
            {"trace": 17, "dynamo": 20},
        ),
        "forecaster": Case(Forecaster, {"x": normal(4, 6, 3)}, ("y",), {"x": {0: "batch"}}, {"trace": 9, "dynamo": 18}),
        "ragged": Case(
            Ragged,
            {"x": normal(5, 3, 4), "lengths": torch.tensor([5, 3, 1])},
            ("y", "hn"),
            {"x": {0: "time", 1: "batch"}, "lengths": {0: "batch"}},
            {"trace": 14},
        ),
        "mixed": Case(
            Mixed,
            {
                "ids": torch.randint(0, 11, (5, 2), generator=own),
                "h0": drawn(2, 2, 7),
                "c0": drawn(2, 2, 7),
                "rnn_h0": drawn(1, 2, 5),
                "gru_h0": drawn(1, 2, 5),
            },
            ("y", "hn", "cn", "rnn_hn", "gru_hn"),
            {"ids": {0: "time"}},
            {"trace": 17, "dynamo": 20},
        ),
        "tagger": Case(Tagger, {"x": drawn(2, 6, 4)}, ("y",), {"x": {0: "batch"}}, {"trace": 13, "dynamo": 18}),
        "laststep": Case(
            LastStep,
            {"x": drawn(3, 5, 4), "lengths": torch.tensor([5, 2, 4])},
            ("scores",),
            {"x": {0: "batch", 1: "time"}, "lengths": {0: "batch"}},
            {"trace": 17, "dynamo": 18},
        ),
    }


def _export(case: Case, module: nn.Module, exporter: str, opset: int, path: Path) -> None:
    options: dict[str, Any] = {"dynamo": exporter == "dynamo"}
    if exporter == "dynamo":
        options["dynamic_shapes"] = {
            name: {axis: torch.export.Dim(dim, min=1) for axis, dim in case.free.get(name, {}).items()} or None
            for name in case.inputs
        }
        options["external_data"] = False
        options["verbose"] = False
    else:
        options["dynamic_axes"] = case.free
    torch.onnx.export(
        module,
        tuple(case.inputs.values()),
        str(path),
        input_names=list(case.inputs),
        output_names=list(case.outputs),
        opset_version=opset,
        **options,
    )
    strip(path)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    torch.manual_seed(20)
    for name, case in _cases().items():
        module = case.module()
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm1d):
                nn.init.normal_(layer.running_mean)
                nn.init.uniform_(layer.running_var, 0.5, 2.0)
        module.eval()
        with torch.no_grad():
            arrays |= arrays_of(name, case.inputs, case.outputs, module(*case.inputs.values()))
            for exporter, opset in case.exporters.items():
                path = folder / f"{name}_{exporter}_{opset}.onnx"
                _export(case, module, exporter, opset, path)
                print(f"{path.name}: {path.stat().st_size} bytes")
    np.savez(folder / "golden.npz", **arrays)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
