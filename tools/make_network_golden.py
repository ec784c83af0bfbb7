"""Writes the small networks that the tests of whole models read, with both of PyTorch's exporters.

    python tools/make_network_golden.py tests/data/networks

It needs torch, onnx and onnxscript. Files are `<network>_<exporter>_<free or static>.onnx`. `golden.npz` has torch's
own `<network>.in.<input>` and `<network>.out.<output>`, the same for all files of a network.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from golden import arrays_of
from torch_networks import EXPORTERS, NETWORKS, export, make_module


def main(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for seed, (name, network) in enumerate(NETWORKS.items()):
        if names and name not in names:
            continue
        module = make_module(network, seed)
        inputs = network.inputs(torch.Generator().manual_seed(seed))
        with torch.no_grad():
            arrays |= arrays_of(name, inputs, network.outputs, module(*inputs.values()))
            for exporter in EXPORTERS:
                for free in (True, False):
                    path = folder / f"{name}_{exporter}_{'free' if free else 'static'}.onnx"
                    export(network, module, inputs, exporter, path, free=free)
                    print(f"{path.name}: {path.stat().st_size} bytes")
    np.savez(folder / "golden.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
