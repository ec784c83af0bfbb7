"""Writes GRUs as tf2onnx exports them from Keras 2, with TensorFlow's outputs, for `tests/importers/test_onnx_tf.py`.

    python tools/make_tf_golden.py tests/data/onnx_tensorflow

It needs tensorflow, tf_keras and tf2onnx. A GRU of the cuDNN form becomes ONNX's operator. Any other GRU stays a loop
that carries its weights and bounds as states.
"""

import os
import sys
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf
import tf2onnx
from tf_keras import Input, Model, layers

I, H = 3, 4
NETWORKS = {
    "operator": lambda x: layers.GRU(H, return_sequences=True)(x),
    "before": lambda x: layers.GRU(H, reset_after=False, return_sequences=True)(x),
    "relu": lambda x: layers.GRU(H, activation="relu", return_sequences=True)(x),
    "hard": lambda x: layers.GRU(H, recurrent_activation="hard_sigmoid", reset_after=False)(x),
    "backwards": lambda x: layers.GRU(H, reset_after=False, go_backwards=True, return_sequences=True)(x),
    "both": lambda x: layers.Bidirectional(layers.GRU(H, reset_after=False, return_sequences=True))(x),
    "stack": lambda x: layers.Dense(2, activation="softmax")(
        layers.GRU(H, reset_after=False)(layers.GRU(H, activation="relu", return_sequences=True)(x))
    ),
    "unbiased": lambda x: layers.GRU(H, reset_after=False, use_bias=False, return_state=True)(x)[1],
}
OPSETS = {"before": 11, "hard": 13, "both": 18, "relu": 9}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for name, network in NETWORKS.items():
        tf.random.set_seed(len(arrays))
        time = 5 if name == "stack" else None
        x = Input((time, I))
        model = Model(x, network(x))
        for weights in model.weights:
            weights.assign(tf.random.normal(weights.shape, stddev=0.7))
        spec = [tf.TensorSpec((None, time, I), tf.float32, name="x")]
        opset = OPSETS.get(name, 15)
        proto, _ = tf2onnx.convert.from_keras(model, input_signature=spec, opset=opset)
        (folder / f"{name}_{opset}.onnx").write_bytes(proto.SerializeToString())
        arrays[f"{name}.x"] = np.random.default_rng(0).standard_normal((2, time or 6, I)).astype(np.float32)
        arrays[f"{name}.y"] = model(arrays[f"{name}.x"]).numpy()
    np.savez_compressed(folder / "golden.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
