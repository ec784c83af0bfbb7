"""Write tests/data/networks/keras.zip: networks around GRUs saved by Keras, and exported by it as ONNX.

    KERAS_BACKEND=torch python tools/make_keras_networks.py

Needs keras, torch, onnx and onnxscript. `<network>.keras`, `<network>.onnx`, and `<network>.npz` with the inputs as
in:<name> and Keras's own outputs as out0, out1...
"""

import io
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "networks"))
from keras_networks import NETWORKS, export, make_inputs, make_model, outputs_of


def main() -> None:
    target = Path(__file__).resolve().parent.parent / "tests" / "data" / "networks" / "keras.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:

        def put(member: str, content: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(member, (2020, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED, 9)

        for seed, name in enumerate(NETWORKS):
            model = make_model(name, seed)
            inputs = make_inputs(model, seed)
            arrays = {f"in:{key}": x for key, x in inputs.items()}
            arrays |= {f"out{i}": y for i, y in enumerate(outputs_of(model, inputs))}
            with tempfile.TemporaryDirectory() as folder:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    paths = export(model, Path(folder))
                for suffix, path in paths.items():
                    put(f"{name}.{suffix}", path.read_bytes())
                    print(f"{name}.{suffix}: {path.stat().st_size} bytes")
            buffer = io.BytesIO()
            np.savez(buffer, **arrays)
            put(f"{name}.npz", buffer.getvalue())
    print(f"{target.name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
