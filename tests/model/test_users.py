"""Who uses a model or a stream, and when: threads, signal handlers, forks, arrays that come and go during a call."""

from __future__ import annotations

import gc
import os
import pickle
import platform
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from fastgru import Model
from fastgru.errors import ShapeError, StateError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.kernels.operands.ticket import STATE
from fastgru.process import EPOCH, process
from fastgru.spec import GRUSpec

H = 64


def network(width: int = H, *, lengths: bool = False, threads: int = 1) -> Model:
    rng = np.random.default_rng(0)
    shapes = {"wi": (3 * width, width), "wh": (3 * width, width), "bi": (3 * width,), "bh": (3 * width,)}
    weights = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    inputs = [TensorSpec("x", "float32", (None, None, width)), TensorSpec("h0", "float32", (1, None, width))]
    inputs += [TensorSpec("n", "int64", (None,))] if lengths else []
    node = Node(
        "gru", ("x", "h0", "n" if lengths else "", "", *weights), ("y", "hn"), {"spec": GRUSpec(width, width).to_dict()}
    )
    outputs = TensorSpec("y", "float32", None), TensorSpec("hn", "float32", None)
    return Model(Graph(tuple(inputs), outputs, (node,), weights, {"h0": "hn"}), threads=threads)


def frames(steps: int, rows: int = 1, width: int = H) -> np.ndarray:
    return np.random.default_rng(steps).standard_normal((steps, rows, width), dtype=np.float32)


def alone(code: str, *arguments: str, timeout: int = 120) -> str:
    """What Python prints that runs `code`, with memory that malloc hands out or takes back full of rubbish."""
    script = "import os, signal, sys, threading, time\nimport numpy as np\nimport fastgru\n" + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:.*fork.*:DeprecationWarning", "-c", script, *arguments],
        env={**os.environ, "MALLOC_PERTURB_": "165", "FASTGRU_QUIET": "1"},
        capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr or done.returncode
    return done.stdout


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


@pytest.fixture
def saved(tmp_path) -> str:
    network().save(tmp_path / "model.safetensors")
    return str(tmp_path / "model.safetensors")


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


def test_a_stream_has_one_user_at_a_time():
    """A push of another thread, and whatever looks at the state or changes it, is refused while one runs."""
    stream, long, short = network(512).stream(), np.zeros((15_000, 1, 512), np.float32), frames(1, 1, 512)
    for x in (long[:1], long):  # planned and bound
        stream.push(x)
    before, pushed = stream.save_state(), []
    uses = {
        "push": lambda: stream.push(short),
        "state": lambda: stream.state,
        "set_state": lambda: stream.set_state({}),
        "reset": stream.reset,
        "reset a row": lambda: stream.reset([0]),
        "save": stream.save_state,
        "load": lambda: stream.load_state(before),
        "fork": stream.fork,
    }

    def push() -> None:
        while not pushed:
            try:
                pushed.append(stream.push(long))
            except StateError:
                pass

    messages = {}
    for name, use in uses.items():
        for _ in range(20):  # a thread that is not in its push yet is tried again, not raced: it would always lose
            pushed.clear()
            other = threading.Thread(target=push)
            other.start()
            time.sleep(0.2)
            try:
                use()
            except StateError as error:
                messages[name] = str(error)
            other.join()
            if name in messages:
                break
    assert set(messages) == set(uses)
    assert all("in use" in message for message in messages.values())
    stream.load_state(before)
    assert stream.save_state() == before


def test_what_several_threads_push_is_pushed_whole_or_refused():
    model = network()
    stream, x = model.stream(4), frames(200, 4)
    stream.push(x)
    faults: list[str] = []

    def push() -> None:
        for _ in range(50):
            y = np.full((200, 4, H), 777, np.float32)
            try:
                stream.push(x, out=y)
            except StateError:
                if not (y == 777).all():
                    faults.append("a refused push wrote")
                continue
            if (y == 777).any():
                faults.append("a push left its output unwritten")

    threads = [threading.Thread(target=push) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_a_stream_may_go_from_thread_to_thread():
    model, x = network(), frames(30)
    want, stream, got = model.stream().push(x), model.stream(), []
    for frame in np.split(x, 30):
        thread = threading.Thread(target=lambda frame=frame: got.append(stream.push(frame)))
        thread.start()
        thread.join()
    np.testing.assert_array_equal(np.concatenate(got), want)


def test_a_part_of_a_state_is_not_written_over_what_came_in_between(monkeypatch):
    stream, x = network().stream(3), frames(1, 3)
    stream.push(x)
    plain, pushed = stream._by_row, []

    def by_row(state):
        if not pushed:
            pushed.append(stream.push(x))
        return plain(state)

    monkeypatch.setattr(stream, "_by_row", by_row)
    with pytest.raises(StateError, match="in use"):
        stream.reset([1])
    assert (stream.state["h0"] == pushed[0][0]).all()


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
            signal.setitimer(signal.ITIMER_REAL, 0.02 * (1 + interrupted))
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
    assert int(alone(code)) > 2


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_may_use_a_stream_that_a_thread_of_its_parent_was_pushing(monkeypatch):
    stream, x = network().stream(4), frames(1, 4)
    stream.push(x)
    copy = stream.fork()
    want = copy.push(x)
    stream._banks.words[STATE.busy] = process[EPOCH]  # as a push of a thread leaves it that is not in the child
    with pytest.raises(StateError, match="in use"):
        stream.push(x)
    if (child := os.fork()) == 0:
        try:
            os._exit(0 if np.array_equal(stream.push(x), want) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    stream._banks.words[STATE.busy] = 0
    np.testing.assert_array_equal(stream.push(x), want)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forks_while_other_threads_plan_and_run(saved):
    code = """
        import numpy.random  # imports of others are nobody's but Python's
        model = fastgru.load(sys.argv[1], threads=2)
        gru = {"weight_ih_l0": np.ones((192, 64), np.float32), "weight_hh_l0": np.ones((192, 64), np.float32)}
        end, faults = time.time() + 5, []

        def work(seed):
            rng = np.random.default_rng(seed)
            while time.time() < end:
                steps, rows = rng.integers(1, 300), rng.integers(1, 5)
                try:
                    model(np.zeros((steps, rows, 64), np.float32), np.zeros((1, rows, 64), np.float32))
                    fastgru.load(sys.argv[1]).stream(int(rows)).push(np.zeros((int(steps), int(rows), 64), np.float32))
                    fastgru.GRU.from_torch(gru)(np.ones((2, 1, 64), np.float32))
                except BaseException as error:
                    faults.append(repr(error))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
        [thread.start() for thread in threads]
        forks = 0
        while time.time() < end:
            if (child := os.fork()) == 0:
                signal.alarm(30)
                x = np.zeros((forks % 97 + 1, 3, 64), np.float32)
                model(x, np.zeros((1, 3, 64), np.float32))
                model.stream(3).push(x)
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status:
                faults.append(f"a child ended with {status}")
            forks += 1
        [thread.join() for thread in threads]
        print(*faults[:3])
    """
    assert alone(code, saved).strip() == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_signal_handler_may_fork_inside_a_call(threads, tmp_path):
    """The parent's call goes on. So does the child's where it needs no other thread; else it ends in an error there."""
    network(256).save(path := tmp_path / "model.safetensors")
    code = """
        from fastgru.engine import worth
        worth.Sharing._is_worth = lambda self, trial: True
        model, threads = fastgru.load(sys.argv[1], threads=int(sys.argv[2])), int(sys.argv[2])
        x = np.random.default_rng(0).standard_normal((6000, 4, 256), dtype=np.float32)
        h0 = np.zeros((1, 4, 256), np.float32)
        want, children = model(x, h0)[0], []

        def handle(*_):
            if not children:
                children.append(os.fork())

        signal.signal(signal.SIGALRM, handle)
        me = os.getpid()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            while not children:
                y = model(x, h0)[0]
            ended = np.array_equal(y, want)
        except fastgru.StateError as error:
            ended = threads > 1 and os.getpid() != me and "forked inside a call" in str(error)
        if os.getpid() != me:
            again = np.array_equal(model(x[:500], h0)[0], want[:500])
            os._exit(0 if ended and again else 1)
        assert ended
        assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    """
    alone(code, str(path), threads)


def test_the_callers_floating_point_mode_changes_no_bit(saved):
    """Rounding upwards and flushing denormals, set before the model is loaded: the same bits, and the mode is kept."""
    code = """
        x = np.random.default_rng(0).standard_normal((50, 2, 64), dtype=np.float32)
        from fastgru.kernels.run import mode_exchanger
        before = mode_exchanger()(-1)
        mode = before ^ int(sys.argv[2])
        mode_exchanger()(mode)
        model = fastgru.load(sys.argv[1])
        y, hn = model(x, np.zeros((1, 2, 64), np.float32))
        parts = model.stream(2).push(x)
        assert (mode_exchanger()(before) ^ mode) & ~63 == 0  # but for the exceptions that have come
        sys.stdout.write(y.tobytes().hex() + hn.tobytes().hex() + parts.tobytes().hex())
    """
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):  # MXCSR: rounding upwards, flushing results and operands to zero
        modes = 2 << 13, 1 << 15 | 1 << 6
    elif machine in ("aarch64", "arm64"):  # FPCR: the same
        modes = 1 << 22, 1 << 24
    else:
        pytest.skip(f"the mode of a {machine} is not known")
    plain = alone(code, saved, "0")
    for mode in modes:
        assert alone(code, saved, str(mode)) == plain


def test_a_subinterpreter_gets_a_result_or_a_plain_refusal():
    """NumPy refuses an isolated one by an ImportError of its own, and warns in one that shares the GIL."""
    pytest.importorskip("_xxsubinterpreters", reason="no subinterpreters of this name here")
    code = """
        import warnings
        import _xxsubinterpreters as interpreters
        script = (
            "import warnings\\nwarnings.simplefilter('ignore')\\n"
            "try:\\n"
            "  import numpy as np, fastgru\\n"
            "  gru = fastgru.GRU.from_torch({f'weight_{n}_l0': np.ones((6, 2), 'f4') for n in ('ih', 'hh')})\\n"
            "  print(gru(np.ones((2, 1, 2), 'f4'))[0].shape, flush=True)\\n"
            "except ImportError:\\n"
            "  print('ImportError', flush=True)\\n"
        )
        for isolated in (False, True):
            interpreters.run_string(interpreters.create(isolated=isolated), script)
        exec(script)
        os._exit(0)
    """
    first, second, last = alone(code).split("\n")[:3]
    assert {first, second} <= {"(2, 1, 2)", "ImportError"}
    assert last == "(2, 1, 2)"


def test_free_threaded_python_is_refused_by_name():
    code = "import sys\nsys.version += ' free-threading build'\nimport fastgru"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: fastgru has not been tested on a free-threaded build of Python" in done.stderr


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


def test_a_stream_of_arrays_with_dtypes_of_their_own():
    stream, x = network().stream(4), frames(2, 4)
    want, copy = stream.fork().push(x), pickle.loads(pickle.dumps(x))
    for _ in range(2):
        np.testing.assert_array_equal(stream.fork().push(copy), want)
        np.testing.assert_array_equal(stream.fork().push(x.view(np.recarray), out=np.empty_like(copy)), want)


def test_whole_numbers_that_a_state_does_not_hold():
    node = Node("binary", ("x", "s"), ("n",), {"kind": "add"})
    specs = TensorSpec("x", "int32", (None,)), TensorSpec("s", "int32", (None,))
    outputs = (TensorSpec("y", "int32", None), TensorSpec("n", "int32", None))
    copy = Node("binary", ("x", "x"), ("y",), {"kind": "add"})
    stream = Model(Graph(specs, outputs, (copy, node), {}, {"s": "n"})).stream(2)
    stream.set_state({"s": np.array([7, -1], np.int64)})
    with pytest.raises(ShapeError, match="does not hold"):
        stream.set_state({"s": np.array([2**40 + 7, -1])})
    assert stream.state["s"].tolist() == [7, -1]
    y = stream.push(np.array([1, 2], np.int32), out=np.zeros(2, np.int32))
    assert y.tolist() == [2, 4]
    with pytest.raises(ShapeError, match="share memory"):
        stream.push(np.array([1, 2], np.int32), out=np.lib.stride_tricks.as_strided(np.zeros(1, np.int32), (2,), (0,)))


def test_a_closed_stderr_keeps_no_model_from_running(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FASTGRU_CACHE_DIR", str(tmp_path / "file" / "below"))
    code = """
        del os.environ["FASTGRU_QUIET"]
        sys.stderr.close()
        print(fastgru.ReLU()(np.array([[-1.0, 2.0]], np.float32)).tolist())
    """
    assert alone(code) == "[[0.0, 2.0]]\n"


def test_a_state_that_is_no_mapping():
    with pytest.raises(StateError, match="NoneType"):
        network().stream().set_state(None)


def test_plans_of_a_stream_have_a_bound():
    graph = network().graph
    model = Model(graph, plan_bytes=4 << 20)
    stream, held = model.stream(4), model._runnable.budget
    for steps in range(1, 120):
        stream.push(frames(steps, 4))
        assert held.used <= 4 << 20
    assert len(stream._others) < 118
    want = Model(graph).stream(4)
    for steps in range(1, 120):
        want.push(frames(steps, 4))
    np.testing.assert_array_equal(stream.push(frames(3, 4)), want.push(frames(3, 4)))
    before = held.used
    del stream
    model.run({"x": frames(1), "h0": np.zeros((1, 1, H), np.float32)})
    assert held.used < before
