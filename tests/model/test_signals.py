"""Signal handlers and finalisers that end a call, or use the model that they come into."""

from __future__ import annotations

import gc
import signal

import numpy as np
import pytest
from users import alone, frames, network

from fastgru import Model
from fastgru.errors import StateError
from fastgru.graph import Graph, Node, TensorSpec

needs_timers = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals here")


class OverError(Exception):
    pass


@needs_timers
@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_of_a_signal_handler_ends_a_call(threads, monkeypatch):
    """A call that would take minutes ends; a stream keeps the state from before it."""
    monkeypatch.setattr("fastgru.engine.worth.Sharing._is_worth", lambda self, trial: True)
    model, x = network(512, threads=threads), np.zeros((1, 64, 512), np.float32)
    stream = model.stream(64)
    stream.push(x)
    before = stream.save_state()
    feeds = {"x": np.zeros((40_000, 64, 512), np.float32), "h0": np.zeros((1, 64, 512), np.float32)}

    def over(*_):
        raise OverError

    old = signal.signal(signal.SIGALRM, over)
    try:
        for call in (lambda: model.run(feeds), lambda: stream.push(feeds["x"]), lambda: model.profile(feeds)):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(OverError):
                call()
            assert stream.save_state() == before
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    short = {"x": x, "h0": feeds["h0"]}
    np.testing.assert_array_equal(model.run(short)["y"], network(512).run(short)["y"])  # nobody waits for nobody


@needs_timers
def test_what_is_interrupted_while_it_compiles_is_taken_up(tmp_path, monkeypatch):
    """An exception in the middle of the import of Numba, or of a compilation, must not end either for good."""
    monkeypatch.setenv("FASTGRU_CACHE_DIR", str(tmp_path / "cache"))
    code = """
        class Over(Exception):
            pass

        def over(*_):
            raise Over

        signal.signal(signal.SIGALRM, over)
        x, interrupted = np.array([[0.0, 1.0, 2.0]], np.float32), 0
        while True:
            signal.setitimer(signal.ITIMER_REAL, 0.02 * 1.2**interrupted)
            try:
                y = fastgru.Softmax(-1)(x)
            except Over:
                interrupted += 1
                continue
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            break
        np.testing.assert_allclose(y, np.exp(x) / np.exp(x).sum(), atol=1e-6)
        print(interrupted)
    """
    assert int(alone(code, timeout=240)) > 2


def test_an_import_that_was_interrupted_is_made_again():
    """What a module entered into a table before a signal ended its import must not stand in the way of the second."""
    code = """
        import importlib
        from fastgru.modules import enter, import_all

        folders = ("reference", "engine.ops", "kernels", "kernels.operands", "exporters.onnx.ops", "importers.onnx.ops",
                   "importers.keras.layers", "importers.keras.ops", "importers.architecture.layers")
        for folder in folders:
            for module in import_all(f"fastgru.{folder}"):
                del sys.modules[module.__name__]
                assert importlib.import_module(module.__name__) is not module
        y = fastgru.Softmax(-1)(np.zeros((1, 2), np.float32))
        np.testing.assert_array_equal(y, np.full((1, 2), 0.5))

        def mine(): ...
        def other(): ...
        table = {}
        enter(table, "softmax", 1, mine)
        enter(table, "softmax", 2, mine)
        try:
            enter(table, "softmax", 3, other)
        except ValueError as error:
            print(table, "softmax is registered already" in str(error))
    """
    assert alone(code) == "{'softmax': 2} True\n"


def test_a_process_ends_whose_waiting_for_a_compilation_was_ended():
    """An exception may come when the main thread has just taken a lock of the threading module's."""
    code = """
        from fastgru.process import undisturbed
        enter, done = threading.Condition.__enter__, threading.Lock()

        def taken(condition):
            enter(condition)
            if threading.get_ident() == threading.main_thread().ident:
                raise KeyboardInterrupt
            return True

        done.acquire()
        threading.Condition.__enter__ = taken
        try:
            undisturbed(done.release)
        except KeyboardInterrupt:
            pass
        threading.Condition.__enter__ = enter
        print(done.acquire(timeout=10))
    """
    assert alone(code) == "True\n"


def again(model: Model, feeds: dict[str, np.ndarray]) -> None:
    for _ in range(50):
        model.run(feeds)


@needs_timers
def test_long_products_end_too():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4096, 2048), dtype=np.float32)
    nodes = {
        "linear": Node("linear", ("x", "w"), ("y",)),
        "matmul": Node("matmul", ("x", "v"), ("y",)),
        "conv": Node("conv", ("i", "k"), ("y",), {"strides": [1], "pads": [8, 8], "dilations": [1], "group": 1}),
    }
    x, i = np.zeros((60_000, 2048), np.float32), np.zeros((1, 512, 60_000), np.float32)
    k = rng.standard_normal((512, 512, 17), dtype=np.float32)

    def over(*_):
        raise OverError

    old = signal.signal(signal.SIGALRM, over)
    try:
        for node in nodes.values():
            feeds = {
                name: a for name, a in {"x": x, "v": np.ascontiguousarray(w.T), "i": i}.items() if name in node.inputs
            }
            constants = {name: a for name, a in {"w": w, "k": k}.items() if name in node.inputs}
            specs = tuple(TensorSpec(name, "float32", (None,) * a.ndim) for name, a in feeds.items())
            model = Model(Graph(specs, (TensorSpec("y", "float32", None),), (node,), constants))
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(OverError):
                again(model, feeds)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


@needs_timers
def test_a_signal_handler_may_run_the_model_that_it_interrupts():
    model = network(16)
    stream, long, short = model.stream(4), frames(3000, 4, 16), frames(1, 4, 16)
    want = model(long, h0 := np.zeros((1, 4, 16), np.float32))[0]
    one = model(short, h0)[0]
    faults: list[str] = []
    calls = []

    def handle(*_):
        steps = 1 + len(calls) % 89
        calls.append(steps)
        y = model(frames(steps, 1, 16), h0[:, :1])[0]
        faults.extend([f"got {y.shape} for {steps} steps"] if y.shape != (steps, 1, 16) else [])
        y = model(short, h0)[0]
        faults.extend([f"{np.argwhere(y != one).tolist()} differ"] if not np.array_equal(y, one) else [])
        try:
            stream.push(short)
        except StateError:
            pass

    old = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
        for n in range(300):
            rows = 1 + n % 4
            np.testing.assert_array_equal(model(long[: 7 * n + 1, :rows], h0[:, :rows])[0], want[: 7 * n + 1, :rows])
            try:
                stream.push(long)
            except StateError:
                pytest.fail("the call that was interrupted has the stream")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert not faults
    assert len(calls) > 10


def test_a_finaliser_may_run_the_model_whatever_it_comes_into():
    """The collector runs it in the middle of planning, too."""
    model, calls, faults = network(16), [], []
    h0 = np.zeros((1, 1, 16), np.float32)
    want = model(long := frames(300, 1, 16), h0)[0]

    class Dying:
        def __init__(self) -> None:
            self.myself = self

        def __del__(self) -> None:
            calls.append(steps := 1 + len(calls) % 151)
            try:
                faults.extend([] if np.array_equal(model(long[:steps], h0)[0], want[:steps]) else [steps])
            except BaseException as error:
                faults.append(error)

    before = gc.get_threshold()
    gc.set_threshold(40, 1, 1)
    try:
        for steps in range(1, 250):
            Dying()
            np.testing.assert_array_equal(model(long[:steps], h0)[0], want[:steps])
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert len(calls) == 249
    assert not faults
