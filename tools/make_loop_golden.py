"""Writes GRUs in loops from several exporters, with their frameworks' outputs, for tests/importers/test_loop_golden.py.

    python tools/make_loop_golden.py tests/data/onnx_loops torch        needs torch and onnxscript
    python tools/make_loop_golden.py tests/data/onnx_loops keras        needs keras 3, tensorflow and tf2onnx
    python tools/make_loop_golden.py tests/data/onnx_loops tensorflow   needs tensorflow 2.15 and tf2onnx

Torch's old exporter writes a scripted loop as Loop, and its new exporter writes `scan` as Scan. keras.Model.export and
tf2onnx write Loop, but tf2onnx writes TensorFlow 1's dynamic_rnn as Scan.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.update(CUDA_VISIBLE_DEVICES="", KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")

import numpy as np
import onnx

I, H, N, T = 3, 4, 2, 6
RNG = np.random.default_rng(0)


def strip(graph):
    """Remove what the exporter says about its source, such as paths, and everything that follows from the graph."""
    for node in graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        for attribute in node.attribute:
            if attribute.HasField("g"):
                strip(attribute.g)
    for field in ("doc_string", "metadata_props", "value_info"):
        graph.ClearField(field)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.ClearField("metadata_props")


def shorten(graph, names):
    """Give every value and node a short name, except the model's inputs and outputs."""

    def short(name):
        return names.setdefault(name, f"v{len(names)}") if name else ""

    for value in (*graph.input, *graph.initializer, *graph.output):
        value.name = short(value.name)
    for node in graph.node:
        node.input[:], node.output[:] = map(short, node.input), map(short, node.output)
        node.name = short(node.name)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                shorten(attribute.g, names)


def keep(folder, name, model, inputs, outputs):
    """Save the model with its inputs and outputs."""
    model.ClearField("metadata_props")
    strip(model.graph)
    shorten(model.graph, {value.name: value.name for value in (*model.graph.input, *model.graph.output)})
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    arrays = {f"x.{key}": array for key, array in inputs.items()}
    np.savez_compressed(folder / f"{name}.npz", **arrays, **{f"y{i}": np.asarray(y) for i, y in enumerate(outputs)})


def of_torch(folder):
    import torch
    from torch._higher_order_ops.scan import scan

    class Cell(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.ih, self.hh = torch.nn.Linear(I, 3 * H), torch.nn.Linear(H, 3 * H)

        def forward(self, x, h):
            xr, xz, xn = self.ih(x).chunk(3, -1)
            hr, hz, hn = self.hh(h).chunk(3, -1)
            r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
            n = torch.tanh(xn + r * hn)
            return z * h + (1 - z) * n

    class Columns(torch.nn.Module):
        """A GRU cell with the reset before the product, and with one column per row of the batch."""

        def __init__(self):
            super().__init__()
            self.W, self.U, self.b = (torch.nn.Parameter(0.5 * torch.randn(3, H, n)) for n in (I, H, 1))

        def forward(self, x, h):
            x, h = x.t(), h.t()
            r = torch.sigmoid(self.W[0] @ x + self.U[0] @ h + self.b[0])
            z = torch.sigmoid(self.W[1] @ x + self.U[1] @ h + self.b[1])
            n = torch.tanh(self.W[2] @ x + self.U[2] @ (r * h) + self.b[2])
            return (h + z * (n - h)).t()

    class Forward(torch.nn.Module):
        def __init__(self, cell):
            super().__init__()
            self.cell = cell

        def forward(self, x, h):
            for t in range(x.size(0)):
                h = self.cell(x[t], h)
            return h

    class Backward(Forward):
        def forward(self, x, h):
            for t in range(x.size(0) - 1, -1, -1):
                h = self.cell(x[t], h)
            return h

    class BatchFirst(Forward):
        def forward(self, x, h):
            for t in range(x.size(1)):
                h = self.cell(x[:, t, :], h)
            return h

    class Lists(Forward):
        def forward(self, x, h):
            ys = []
            for x_t in x.unbind(0):
                h = self.cell(x_t, h)
                ys.append(h)
            return torch.stack(ys), h

    class Scanned(Forward):
        reverse = False

        def forward(self, x, h):
            def step(state, x_t):
                after = self.cell(x_t, state)
                return after, after.clone()

            return scan(step, h, x, dim=0, reverse=self.reverse)

    class Reversed(Scanned):
        reverse = True

    class Stack(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.GRUCell(I, H), torch.nn.GRUCell(H, H)

        def forward(self, x, h):
            def step(states, x_t):
                first = self.first(x_t, states[0])
                second = self.second(first, states[1])
                return [first, second], second.clone()

            (_, last), y = scan(step, [h, 0.5 * h], x, dim=0)
            return last, y

    torch.manual_seed(0)
    x, h = torch.randn(T, N, I), torch.randn(N, H)
    named = {"input_names": ["x", "h"]}
    for name, model, given in (
        ("loop", Forward(Cell()), x),
        ("columns", Forward(Columns()), x),
        ("backward", Backward(Cell()), x),
        ("batch_first", BatchFirst(Cell()), x.transpose(0, 1).contiguous()),
        ("lists", Lists(Cell()), x),
        ("scan", Scanned(Cell()), x),
        ("scan_reverse", Reversed(Cell()), x),
        ("scan_stack", Stack(), x),
    ):
        with tempfile.TemporaryDirectory() as scratch, torch.no_grad():
            path, time = Path(scratch) / "m.onnx", int(name == "batch_first")
            outputs = model(given, h)
            if name.startswith("scan"):
                torch.onnx.export(model, (given, h), path, dynamo=True, verbose=False, **named)
            else:
                model.cell = torch.jit.trace(model.cell, (x[0], h))
                axes = {"x": {time: "T", 1 - time: "N"}, "h": {0: "N"}}
                script = torch.jit.script(model)
                torch.onnx.export(script, (given, h), path, dynamo=False, opset_version=17, dynamic_axes=axes, **named)
            outputs = [y.numpy() for y in (outputs if isinstance(outputs, tuple) else (outputs,))]
            keep(folder, name, onnx.load(path), {"x": given.numpy(), "h": h.numpy()}, outputs)


def of_keras(folder):
    from keras import Input, Model, layers

    networks = {
        "keras_after": lambda x: layers.GRU(H, return_sequences=True)(x),
        "keras_before": lambda x: layers.GRU(H, reset_after=False, go_backwards=True)(x),
        "keras_hard": lambda x: layers.GRU(H, recurrent_activation="hard_sigmoid", activation="relu")(x),
        "keras_cells": lambda x: layers.RNN([layers.GRUCell(H), layers.GRUCell(5, reset_after=False)])(x),
        "keras_mask": lambda x: layers.GRU(H, return_sequences=True, return_state=True)(layers.Masking(0.0)(x)),
        "keras_both": lambda x: layers.Bidirectional(layers.GRU(H, return_sequences=True))(layers.Masking(0.0)(x)),
    }
    for name, network in networks.items():
        x = Input((None, I), name="x")
        model = Model(x, network(x))
        for weights in model.weights:
            weights.assign(RNG.normal(0, 0.5, weights.shape))
        given = RNG.standard_normal((N, T, I)).astype(np.float32)
        given[0, 3:], given[1, 0] = 0, 0
        outputs = model(given)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "m.onnx"
            model.export(path, format="onnx", verbose=False)
            keep(
                folder, name, onnx.load(path), {"x": given}, outputs if isinstance(outputs, list | tuple) else [outputs]
            )


def of_tensorflow(folder):
    import tensorflow.compat.v1 as tf
    import tf2onnx

    tf.disable_v2_behavior()
    cell = tf.nn.rnn_cell

    def plain(x, lengths):
        y, states = tf.nn.dynamic_rnn(cell.MultiRNNCell([cell.GRUCell(H), cell.GRUCell(5)]), x, dtype=tf.float32)
        return [y, *states]

    def of_lengths(x, lengths):
        return tf.nn.dynamic_rnn(cell.GRUCell(H), x, sequence_length=lengths, dtype=tf.float32)

    def both(x, lengths):
        ways = cell.GRUCell(H), cell.GRUCell(H)
        y, states = tf.nn.bidirectional_dynamic_rnn(*ways, x, sequence_length=lengths, dtype=tf.float32)
        return [tf.concat(y, 2), *states]

    for name, network in {"tf1_cells": plain, "tf1_lengths": of_lengths, "tf1_both": both}.items():
        with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
            x = tf.placeholder(tf.float32, (None, None, I), "x")
            lengths = tf.placeholder(tf.int32, (None,), "lengths")
            outputs = [tf.identity(y, f"y{i}") for i, y in enumerate(network(x, lengths))]
            for variable in tf.global_variables():
                variable.load(RNG.normal(0, 0.5, variable.shape.as_list()), session)
            given = {"x:0": RNG.standard_normal((N, T, I)).astype(np.float32)}
            if name != "tf1_cells":
                given["lengths:0"] = np.array([T, 3], np.int32)
            found = session.run(outputs, given)
            names = [y.op.name for y in outputs]
            frozen = tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), names)
        ends = {"input_names": list(given), "output_names": [f"{n}:0" for n in names]}
        model, _ = tf2onnx.convert.from_graph_def(frozen, opset=15, **ends)
        keep(folder, name, model, given, found)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    {"torch": of_torch, "keras": of_keras, "tensorflow": of_tensorflow}[sys.argv[2]](place)
