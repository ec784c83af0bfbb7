"""Writes tests/data/weights: small files made by torch itself, for the tests of `fastgru.importers.weights`.

    python tools/make_weight_files.py        # needs torch; the files are committed, so the tests do not

Every tensor is `arange(24) / 8` in some dtype, through some view, so that the tests know what to expect.
"""

import argparse
import warnings
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parent.parent / "tests" / "data" / "weights"

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
INTS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16)


def base(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.arange(24, dtype=torch.float64) / 8).reshape(4, 6).to(dtype)


def name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def dtypes() -> dict[str, torch.Tensor]:
    tensors = {name(dtype): base(dtype) for dtype in FLOATS}
    tensors |= {name(dtype): torch.arange(24).reshape(4, 6).to(dtype) for dtype in INTS}
    return tensors | {"bool": base() > 1}


def views() -> dict[str, torch.Tensor]:
    shared = base()
    return {
        "whole": shared,
        "transposed": shared.t(),
        "sliced": shared[1:, ::2],
        "row": shared[2],
        "element": shared[3, 5],
        "expanded": shared[:, :1].expand(4, 3),
        "empty": shared[:0],
        "parameter": torch.nn.Parameter(shared[1:3]),
    }


def gru(**options: Any) -> torch.nn.GRU:
    torch.manual_seed(7)
    return torch.nn.GRU(3, 4, **options)


def checkpoint() -> dict[str, Any]:
    """Return what a training loop saves: a model in DataParallel, an optimizer with state, settings, metrics."""
    model = torch.nn.DataParallel(torch.nn.ModuleDict({"gru": gru(num_layers=2), "fc": torch.nn.Linear(4, 2)}))
    optimizer = torch.optim.Adam(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    losses: defaultdict[str, list[float]] = defaultdict(list)
    losses["train"] += [1.5, 0.5]
    return {
        "epoch": 3,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.1, path=Path("x")),
        "best": np.float64(0.25),
        "history": np.arange(3.0),
        "losses": losses,
        "rng_state": torch.arange(16, dtype=torch.uint8),
        "loss": torch.tensor(0.5),
        "shape": torch.Size([1, 2]),
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "tags": {"a", "b"},
    }


def main() -> None:
    warnings.simplefilter("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)

    both, zipped = (True, False), (True,)  # as zip, and in the legacy form
    for stem, value, forms, options in (
        ("dtypes", dtypes(), both, {}),
        ("views", views(), both, {}),
        ("checkpoint", checkpoint(), both, {}),
        ("two", {"generator": gru().state_dict(), "discriminator": gru(bidirectional=True).state_dict()}, both, {}),
        *((f"protocol{n}", gru().state_dict(), both, {"pickle_protocol": n}) for n in (3, 4, 5)),
        ("complex", {"weight": base(), "phase": base(torch.complex64)}, both, {}),
        ("float8", {"weight": base(), "small": base().to(torch.float8_e4m3fn)}, both, {}),
        ("module", gru(), zipped, {}),  # the legacy form would contain torch's source code, and paths
        ("tensor", base(), both, {}),
        ("numpy", OrderedDict(array=np.arange(3.0), weight=base()), both, {}),
        ("unchecked", gru().state_dict(), zipped, {}),
    ):
        torch.serialization.set_crc32_options(stem != "unchecked")
        for is_zip in forms:
            path = FOLDER / f"{stem}.{'zip' if is_zip else 'legacy'}.pt"
            torch.save(value, path, _use_new_zipfile_serialization=is_zip, **options)


if __name__ == "__main__":
    main()
