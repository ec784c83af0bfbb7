"""Writes tests/data/torch: GRU state dicts as torch saves them, with torch's outputs. It needs torch.

    python tools/make_torch_golden.py

The files have one to three layers, one and two directions, with and without bias, in float16, bfloat16, float32 and
float64, as zip and as legacy files; a GRUCell; and a checkpoint with a state dict next to an optimiser's. golden.npz
has, by case, the inputs and torch's outputs for the stored weights in float64. Values depend on torch's generator, so
another version of torch may write other values, which are equally right.
"""

from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "data" / "torch"
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
I, H, T, N = 3, 4, 5, 3


def module(num_layers: int, bidirectional: bool, bias: bool, dtype: torch.dtype) -> torch.nn.GRU:
    return torch.nn.GRU(I, H, num_layers, bidirectional=bidirectional, bias=bias).to(dtype)


def outputs(net: torch.nn.GRU, golden: dict[str, np.ndarray], case: str) -> None:
    exact = net.double()
    rows = net.num_layers * (1 + net.bidirectional)
    x, h0 = torch.randn(T, N, I, dtype=torch.float64), torch.randn(rows, N, H, dtype=torch.float64)
    lengths = torch.tensor([2, 5, 1])
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    with torch.no_grad():
        y, h_n = exact(x, h0)
        y_packed, h_n_packed = exact(packed, h0)
    y_lengths, _ = torch.nn.utils.rnn.pad_packed_sequence(y_packed, total_length=T)
    arrays = {
        "x": x,
        "h0": h0,
        "lengths": lengths,
        "y": y,
        "h_n": h_n,
        "y_lengths": y_lengths,
        "h_n_lengths": h_n_packed,
    }
    golden.update({f"{case}/{name}": array.numpy() for name, array in arrays.items()})


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(20240229)
    golden: dict[str, np.ndarray] = {}
    forms = [(layers, two, bias) for layers in (1, 2, 3) for two in (False, True) for bias in (True, False)]
    for k, (layers, two, bias) in enumerate(forms):
        dtype, is_zip = DTYPES[(k + k // 4) % 4], k % 2 == 0
        case = (
            f"{layers}_{'bi' if two else 'uni'}_{'bias' if bias else 'nobias'}"
            f"_{str(dtype).removeprefix('torch.')}_{'zip' if is_zip else 'legacy'}"
        )
        net = module(layers, two, bias, dtype)
        state = {f"gru.{key}": tensor for key, tensor in net.state_dict().items()}
        torch.save(state, FOLDER / f"{case}.pt", _use_new_zipfile_serialization=is_zip)
        outputs(net, golden, case)

    net = module(2, True, True, torch.float32)
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.randn(T, N, I))[0].sum().backward()
    optimiser.step()
    state = {f"module.encoder.{key}": tensor for key, tensor in net.state_dict().items()}
    torch.save({"epoch": 3, "model": state, "optimizer": optimiser.state_dict()}, FOLDER / "nested.tar")
    outputs(net, golden, "nested")

    cell = torch.nn.GRUCell(I, H)
    torch.save(cell.state_dict(), FOLDER / "cell.pth")
    x, h = torch.randn(N, I), torch.randn(N, H)
    with torch.no_grad():
        golden.update({"cell/x": x.numpy(), "cell/h": h.numpy(), "cell/y": cell(x, h).numpy()})

    np.savez_compressed(FOLDER / "golden.npz", **golden)
    total = sum(path.stat().st_size for path in FOLDER.iterdir())
    print(f"{len(golden)} arrays, {total / 1024:.0f} KiB in {FOLDER.name}")


if __name__ == "__main__":
    main()
