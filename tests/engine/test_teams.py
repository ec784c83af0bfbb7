"""Same bits: a call shared by rows, by units or by directions, in any chunks, gives what one thread gives."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slowness import within
from team_cases import WAYS, frames, network

import fastgru
from fastgru.engine import Executable, threads, worth
from fastgru.engine.ops import gru as lowering
from fastgru.engine.ops import sequence
from fastgru.graph import Graph
from fastgru.kernels.run import HEAD, MEETS, PROGRAM
from fastgru.reference import run_graph
from fastgru.spec import DIRECTIONS, GRUSpec

pytestmark = pytest.mark.skipif(os.name != "posix", reason="teams need POSIX pipes")


@given(
    seed=st.integers(0, 2**32 - 1),
    H=st.sampled_from([1, 7, 33, 100, 130]),
    T=st.sampled_from([0, 1, 4, 9]),
    N=st.sampled_from([0, 1, 2, 5, 13]),
    direction=st.sampled_from(DIRECTIONS),
    reset_after=st.booleans(),
    extras=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
@settings(max_examples=25, deadline=None)
def test_every_way_of_sharing_and_chunking(seed, H, T, N, direction, reset_after, extras):
    rng = np.random.default_rng(seed)
    lengths, mask, h0 = extras
    graph = network(GRUSpec(5, H, direction, reset_after), rng, lengths=lengths, mask=mask, h0=h0)
    inputs = frames(graph, rng, T, N)
    alone = Executable(graph).run(inputs)
    for name, expected in run_graph(graph, inputs).items():
        np.testing.assert_allclose(alone[name], expected, rtol=0, atol=1e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worth.Sharing, "_is_worth", lambda self, trial: self.members > 1)
        for way in WAYS.values():
            patch.setattr(lowering, "choose", lambda *_, way=way: way)
            for threads in (2, 3):
                shared = Executable(graph, threads=threads).run(inputs)
                for name, array in alone.items():
                    np.testing.assert_array_equal(shared[name], array, err_msg=f"{way} {threads}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequence, "chunk_steps", lambda *_: 2)
        for name, array in Executable(graph).run(inputs).items():
            np.testing.assert_array_equal(array, alone[name])


def test_directions_side_by_side_wait_for_what_they_read(monkeypatch):
    monkeypatch.setattr(lowering, "choose", lambda *_: WAYS["directions"])
    graph = network(GRUSpec(5, 7, "bidirectional"), np.random.default_rng(0), lengths=True, mask=False, h0=False)
    plan = Executable(graph, threads=2).program({"x": (4, 2, 5), "lengths": (2,)})
    heads = plan.words[PROGRAM.heads :][: HEAD.words * plan.words[PROGRAM.count]].reshape(-1, HEAD.words)
    first = next(i for i, name in enumerate(plan.names) if name.startswith("gru"))
    assert first > 0  # the lengths are checked before
    assert heads[first - 1, HEAD.after] & MEETS


@pytest.fixture
def big() -> tuple[Graph, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A network that is worth a team, an input, and what one thread gives."""
    rng = np.random.default_rng(0)
    graph = network(GRUSpec(256, 256), rng, lengths=False, mask=False, h0=False)
    inputs = frames(graph, rng, 100, 4)
    return graph, inputs, Executable(graph).run(inputs)


def test_concurrent_calls(big):
    """One call has the team, the others run alone: the same bits, no waiting for each other."""
    graph, inputs, expected = big
    shared = Executable(graph, threads=2)
    faults: list[str] = []

    def call() -> None:
        for _ in range(3):
            result = shared.run(inputs)
            faults.extend(name for name in expected if not np.array_equal(result[name], expected[name]))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(within(60))
    assert not any(caller.is_alive() for caller in callers)
    assert not faults


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_its_own_team(big):
    graph, inputs, expected = big
    shared = Executable(graph, threads=2)
    shared.run(inputs)
    child = os.fork()
    if child == 0:
        result = shared.run(inputs)
        os._exit(0 if all(np.array_equal(result[n], expected[n]) for n in expected) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_workers_sleep_between_calls(big):
    """The processor time of the process stands still while no call runs."""
    graph, inputs, _ = big
    Executable(graph, threads=2).run(inputs)
    assert 2 in threads._teams
    before = os.times()
    threading.Event().wait(0.3)
    after = os.times()
    assert after.user - before.user + after.system - before.system < 0.1


def test_a_program_may_close_descriptors_that_it_does_not_know(tmp_path):
    """As daemons do. The team has none, so it goes on, and nothing is written into what has their numbers then."""
    code = """
        import os, sys
        import numpy as np
        import fastgru

        rng = np.random.default_rng(0)
        weights = {name: rng.normal(0, 0.1, (768, 256)).astype(np.float32) for name in ("weight_ih_l0", "weight_hh_l0")}
        gru = fastgru.GRU.from_torch(weights, threads=2)
        x = rng.standard_normal((400, 4, 256), dtype=np.float32)
        want = gru(x)[0]
        os.closerange(3, 256)
        kept = [os.open(sys.argv[1], os.O_RDWR) for _ in range(8)]
        assert np.array_equal(gru(x)[0], want)
        os._exit(0)
    """
    (file := tmp_path / "own").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), file], capture_output=True, text=True, timeout=within(120)
    )
    assert done.returncode == 0, done.stderr
    assert file.read_bytes() == b""


def test_a_process_ends_while_a_daemon_thread_is_in_a_call():
    """Handlers that run at exit may wait for it, too: nothing of a team is given up before the process ends."""
    code = """
        import atexit, threading
        import numpy as np

        stop, calls = threading.Event(), []

        def wait() -> None:
            stop.set()
            thread.join()
            print("ended", len(calls) > 0, flush=True)

        atexit.register(wait)
        import fastgru
        from fastgru.engine import worth

        worth.Sharing._is_worth = lambda self, trial: True
        rng = np.random.default_rng(0)
        weights = {name: rng.normal(0, 0.1, (768, 256)).astype(np.float32) for name in ("weight_ih_l0", "weight_hh_l0")}
        gru, x = fastgru.GRU.from_torch(weights, threads=2), rng.standard_normal((300, 4, 256), dtype=np.float32)
        want = gru(x)[0]

        def run() -> None:
            while not stop.is_set():
                calls.append(np.array_equal(gru(x)[0], want))
            assert all(calls)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while not calls:
            pass
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=within(120)
    )
    assert (done.returncode, done.stdout) == (0, "ended True\n"), done.stderr


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2", 257, 2**40])
def test_what_is_no_number_of_threads_is_refused(big, threads):
    with pytest.raises(fastgru.UnsupportedModelError, match="threads is"):
        Executable(big[0], threads=threads)


def test_a_small_program_stays_on_one_thread():
    rng = np.random.default_rng(0)
    graph = network(GRUSpec(8, 8), rng, lengths=False, mask=False, h0=False)
    plan = Executable(graph, threads=2).program({"x": (1, 1, 8)})
    assert worth.Sharing(plan.members, plan.gain_s).team(lambda: lambda team: None) is None


def test_a_system_that_refuses_threads_is_named_and_asked_again(monkeypatch):
    before = threading.active_count()
    start, started = threading.Thread.start, []

    def refuse(thread: threading.Thread) -> None:
        if len(started) % 3 == 2:
            started.append(thread)
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(2):
        with pytest.raises(fastgru.UnsupportedModelError, match=r"threads is 17.*can't start new thread"):
            threads.team_address(17)
    assert 17 not in threads._teams
    assert threading.active_count() == before  # those that had started have ended
