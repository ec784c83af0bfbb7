"""Write GRU cells in loops as torch's two exporters make them, for `tests/importers/test_onnx_control.py`.

    python tools/make_loop_golden.py tests/data/onnx_loops

Needs torch and onnxscript. `loop.onnx`: a scripted loop by the old exporter; `scan.onnx`: `scan` by the new one.
"""

import sys
import warnings
from pathlib import Path

import golden  # noqa: F401  (the way to torch_networks)
import torch
from torch._higher_order_ops.scan import scan
from torch_networks import strip


class Cell(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.ih, self.hh = torch.nn.Linear(3, 12), torch.nn.Linear(4, 12)

    def forward(self, x, h):
        xr, xz, xn = self.ih(x).chunk(3, -1)
        hr, hz, hn = self.hh(h).chunk(3, -1)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        n = torch.tanh(xn + r * hn)
        return z * h + (1 - z) * n


class Scripted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = Cell()

    def forward(self, x, h):
        for t in range(x.size(0)):
            h = self.cell(x[t], h)
        return h


class Scanned(Scripted):
    def forward(self, x, h):
        def step(state, x_t):
            after = self.cell(x_t, state)
            return after, after.clone()

        return scan(step, h, x, dim=0)


def main(folder):
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    x, h = torch.randn(5, 2, 3), torch.randn(2, 4)
    folder.mkdir(parents=True, exist_ok=True)
    for name, model, more in (
        ("loop", torch.jit.script(Scripted()), {"dynamo": False, "dynamic_axes": {"x": {0: "T"}}, "opset_version": 17}),
        ("scan", Scanned(), {"dynamo": True, "verbose": False}),
    ):
        path = folder / f"{name}.onnx"
        outputs = ["hn"] if name == "loop" else ["hn", "y"]
        torch.onnx.export(model, (x, h), path, input_names=["x", "h"], output_names=outputs, **more)
        strip(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
