"""Writes tests/data/networks/keras.zip: networks with GRUs saved by Keras, and exported by it as ONNX.

    KERAS_BACKEND=torch python tools/make_keras_networks.py

It needs keras, torch, onnx and onnxscript. Members are `<network>.keras`, `<network>.onnx`, and `<network>.npz` with
the inputs as in:<name> and Keras's own outputs as out0, out1...
"""

import tempfile
import warnings
from pathlib import Path

from golden import golden_zip
from keras_networks import NETWORKS, export, make_inputs, make_model, outputs_of


def main() -> None:
    target = Path(__file__).resolve().parent.parent / "tests" / "data" / "networks" / "keras.zip"
    with golden_zip(target) as put:
        for seed, name in enumerate(NETWORKS):
            model = make_model(name, seed)
            inputs = make_inputs(model, seed)
            arrays = {f"in:{key}": x for key, x in inputs.items()}
            arrays |= {f"out{i}": y for i, y in enumerate(outputs_of(model, inputs))}
            with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for suffix, path in export(model, Path(folder)).items():
                    put(f"{name}.{suffix}", path.read_bytes())
            put(f"{name}.npz", arrays)


if __name__ == "__main__":
    main()
