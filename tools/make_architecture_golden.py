"""Write tests/data/architecture: descriptions of networks, their weights as torch saves them, torch's outputs.

    python tools/make_architecture_golden.py

Needs torch. layers.json and layers.safetensors hold one small network for every type of layer: its description, its
state dict, its inputs, and what torch computes from these in float64, rounded to float32. The networks (a recogniser of
text lines, a mask for speech, a recommender) are a .yaml, a .pt and the arrays of networks.npz. Values depend on
torch's generator, so another version of torch may write others; they are right all the same.
"""

import json
from pathlib import Path

import numpy as np
import torch
from architecture_cases import Arrays, Cases, elementwise, moving
from architecture_layers import convolutions, matrices, normalisations, recurrent
from architecture_networks import networks
from safetensors.numpy import save_file

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "data" / "architecture"


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
