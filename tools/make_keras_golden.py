"""Writes tests/data/keras/<name>.zip: small models saved by Keras in both of its formats, with Keras's outputs.

    KERAS_BACKEND=torch python tools/make_keras_golden.py keras keras3     # Keras 3
    python tools/make_keras_golden.py tf_keras keras2                      # Keras 2, from pip install tf_keras
    KERAS_BACKEND=torch python tools/make_keras_golden.py keras keras3_recurrent   # LSTM and SimpleRNN
    KERAS_BACKEND=torch python tools/make_keras_golden.py keras keras3_networks    # convolutions, pools, attention
    python tools/make_keras_golden.py tf_keras keras2_networks
    python tools/make_keras_golden.py keras keras3_custom          # custom layers and functions
    python tools/make_keras_golden.py tf_keras keras2_custom

The zip has <case>.keras, <case>.h5 and <case>.npz: the inputs by name, the outputs as out0, out1..., and for a
stateful model the outputs of a second call as again0...
"""

import importlib
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import keras_custom  # noqa: F401  (its cases)
import keras_grus  # noqa: F401
import keras_recurrent  # noqa: F401
import numpy as np
from golden import golden_zip
from keras_networks import CASES, INTEGERS, T

HERE = Path(__file__).resolve().parent.parent / "tests" / "data" / "keras"


def randomise(model: Any, rng: np.random.Generator) -> None:
    """Set weights that no initialiser would make, so that a misplaced weight is noticed."""
    values = []
    for array in model.get_weights():
        scale = 1.0 / np.sqrt(array.shape[0]) if array.ndim == 2 else 0.3
        values.append(
            np.abs(rng.normal(0.5, 0.2, array.shape)) if array.ndim == 1 else rng.normal(0, scale, array.shape)
        )
    model.set_weights([v.astype(a.dtype) for v, a in zip(values, model.get_weights(), strict=True)])


def make_input(tensor: Any, stem: str, rng: np.random.Generator) -> np.ndarray:
    shape = [2 if i == 0 else (5 if s is None else int(s)) for i, s in enumerate(tensor.shape)]
    if stem in ("embedding", "encoder_decoder", "encoder_decoder_lstm", *INTEGERS):
        x = rng.integers(1, 7, shape)
        x[0, -2:], x[1, :1] = (0, 0) if stem == "embedding" else (x[0, -2:], x[1, :1])
        return x.astype(np.float32)
    x = rng.normal(0, 1, shape).astype(np.float32)
    if len(shape) == 3 and shape[1] == T:  # hide steps for Masking(-1) and Masking(0.5), at both ends and inside
        x[0, 0], x[0, 3], x[1, 4:] = -1.0, -1.0, 0.5 if tensor.name.startswith("z") else -1.0
        x[1, 1] = 0.5
    return x


def main() -> None:
    module, name = sys.argv[1:3]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    k = importlib.import_module(module)
    with golden_zip(HERE / f"{name}.zip") as put:
        group = name.rpartition("_")[2]
        for stem, build in CASES.get(group, CASES["grus"]).items():
            k.utils.set_random_seed(0)
            rng = np.random.default_rng(sum(map(ord, stem)))
            model = build(k, k.layers)
            if model is None:
                continue
            randomise(model, rng)
            inputs = {tensor.name: make_input(tensor, stem, rng) for tensor in model.inputs}
            with tempfile.TemporaryDirectory() as folder:
                for suffix in ("keras", "h5"):
                    path = f"{folder}/model.{suffix}"
                    model.save(path)
                    put(f"{stem}.{suffix}", Path(path).read_bytes())
            arrays = {f"in:{key}": x for key, x in inputs.items()}
            for call in ("out", "again") if stem.startswith("stateful") else ("out",):
                result = model([*inputs.values()] if len(inputs) > 1 else next(iter(inputs.values())), training=False)
                for n, y in enumerate(result if isinstance(result, list | tuple) else [result]):
                    arrays[f"{call}{n}"] = k.ops.convert_to_numpy(y) if module == "keras" else y.numpy()
            put(f"{stem}.npz", arrays)
        put("version.txt", k.__version__.encode())


if __name__ == "__main__":
    main()
