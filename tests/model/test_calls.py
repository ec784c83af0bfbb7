"""Arrays of a call that nobody else holds, that are made, replaced or changed while it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from users import H, alone, frames, network

from fastgru import Model
from fastgru.graph import Graph, Node, TensorSpec


class Made(Mapping[str, np.ndarray]):
    """Makes an array whenever it is asked for one, and keeps none."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays = arrays

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name].copy()

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def test_inputs_that_nobody_else_holds_last_as_long_as_the_call(saved):
    code = """
        import io
        model = fastgru.load(sys.argv[1])
        x = np.random.default_rng(0).standard_normal((300, 4, 64), dtype=np.float32)
        feeds, file = {"x": x, "h0": np.zeros((1, 4, 64), np.float32)}, io.BytesIO()
        np.savez(file, **feeds)
        file.seek(0)
        archive, want = np.load(file), model.run(feeds)
        for given in [archive] * 5:
            for name, array in model.run(given).items():
                np.testing.assert_array_equal(array, want[name])
            for name, array in zip(want, model(*(feeds[spec.name].copy() for spec in model.inputs))):
                np.testing.assert_array_equal(array, want[name])
    """
    alone(code, saved)


def test_a_mapping_that_makes_its_arrays():
    model = network()
    feeds = {"x": frames(300, 4), "h0": np.zeros((1, 4, H), np.float32)}
    want = model.run(feeds)["y"]
    for _ in range(5):
        np.testing.assert_array_equal(model.run(Made(feeds))["y"], want)
        out = {"y": np.empty_like(want), "hn": np.empty((1, 4, H), np.float32)}
        np.testing.assert_array_equal(model.run(Made(feeds), out)["y"], want)
        np.testing.assert_array_equal(model.run(Made(feeds), Made(out))["y"], want)


@pytest.mark.parametrize("what", ["feeds", "out"])
def test_arrays_replaced_during_a_call(saved, what):
    code = """
        model = fastgru.load(sys.argv[1])
        x = np.random.default_rng(0).standard_normal((2000, 4, 64), dtype=np.float32)
        feeds = {"x": x.copy(), "h0": np.zeros((1, 4, 64), np.float32)}
        want, done = model.run(feeds), False
        out = {name: np.empty_like(array) for name, array in want.items()} if sys.argv[2] == "out" else None

        def replace():
            while not done:
                if out is None:
                    feeds["x"] = x.copy()
                else:
                    out["y"] = np.empty_like(want["y"])

        thread = threading.Thread(target=replace)
        thread.start()
        try:
            for _ in range(40):
                np.testing.assert_array_equal(model.run(feeds, out)["y"], want["y"])
        finally:
            done = True
            thread.join()
    """
    alone(code, saved, what)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_lengths_that_change_during_a_call():
    """Another process changes them: results, or an error, never memory of others."""
    model = network(2, lengths=True)
    model.save(path := f"{os.environ.get('TMPDIR', '/tmp')}/fastgru-lengths-{os.getpid()}.safetensors")
    code = """
        import mmap
        model, N = fastgru.load(sys.argv[1]), 50_000
        x, lengths = np.zeros((2, N, 2), np.float32), np.frombuffer(mmap.mmap(-1, 8 * N), np.int64)
        lengths[:] = 2
        feeds = {"x": x, "h0": np.zeros((1, N, 2), np.float32), "n": lengths}
        model.run(feeds)
        if (child := os.fork()) == 0:
            signal.alarm(60)
            while True:
                lengths[0] = -(1 << 38)
                for _ in range(1500): pass
                lengths[0] = 2
                for _ in range(3000): pass
        refused = 0
        for _ in range(400):
            try:
                model.run(feeds)
            except fastgru.ShapeError:
                refused += 1
        os.kill(child, 9)
        print(refused)
    """
    try:
        assert int(alone(code, path)) > 0
    finally:
        os.unlink(path)


def test_bools_of_other_bytes_are_true():
    b, true = np.array([0, 1, 2, 255, 128], np.uint8).view(bool), np.ones(5, bool)
    nodes = {
        "not": (Node("unary", ("b",), ("y",), {"kind": "not"}), [1, 0, 0, 0, 0]),
        "cast": (Node("cast", ("b",), ("y",), {"to": "int64"}), [0, 1, 1, 1, 1]),
        "xor": (Node("logical", ("b", "t"), ("y",), {"kind": "xor"}), [1, 0, 0, 0, 0]),
        "itself": (Node("reshape", ("b", "s"), ("y",)), [0, 1, 1, 1, 1]),
    }
    for name, (node, want) in nodes.items():
        spec = TensorSpec("y", "int64" if name == "cast" else "bool", None)
        for given in ("input", "constant"):
            graph = Graph(
                (TensorSpec("b", "bool", (5,)),) if given == "input" else (TensorSpec("t", "bool", (5,)),),
                (spec,),
                (node,),
                {"s": np.array([5]), **({"t": true} if given == "input" else {"b": b})},
            )
            got = Model(graph).run({"b": b} if given == "input" else {"t": true})["y"]
            assert got.view(np.uint8).tolist() == np.array(want, got.dtype).view(np.uint8).tolist(), (name, given)
