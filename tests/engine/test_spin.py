"""Workers that look out for the next call: the same bits, no wake-up lost, no core kept from others."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from slowness import within
from team_cases import WAYS, frames, network

import fastgru
from fastgru.engine import Executable, threads, worth
from fastgru.engine.ops import gru as lowering
from fastgru.engine.program import Joined
from fastgru.errors import SpecError
from fastgru.graph import Graph
from fastgru.kernels.operands.team import ASLEEP, AWAKE, MEMBER
from fastgru.kernels.operands.ticket import ROSTER
from fastgru.spec import GRUSpec

pytestmark = pytest.mark.skipif(os.name != "posix", reason="teams need POSIX threads")

SPIN_US = 30


@pytest.fixture
def shared(monkeypatch):
    """A network that a team of two runs whatever it gains, an input, and what one thread gives."""
    monkeypatch.setattr(worth.Sharing, "_is_worth", lambda self, trial: self.members > 1)
    monkeypatch.setattr(lowering, "choose", lambda *_: WAYS["units"])
    rng = np.random.default_rng(0)
    graph = network(GRUSpec(5, 100), rng, lengths=False, mask=False, h0=True)
    inputs = frames(graph, rng, 2, 1)
    return graph, inputs, Executable(graph).run(inputs)


def only_awake(monkeypatch) -> None:
    """Have programs gain from a team that is awake, and not from one that sleeps."""

    def is_worth(self: worth.Sharing, trial: object) -> bool:
        self._pays_asleep = False
        return self.members > 1

    monkeypatch.setattr(worth.Sharing, "_is_worth", is_worth)


def wait_until_asleep() -> None:
    words = threads._teams[2]._words[1]
    end = time.monotonic() + within(10)
    while words[MEMBER.wake] != ASLEEP and time.monotonic() < end:
        time.sleep(0.001)
    assert words[MEMBER.wake] == ASLEEP


@pytest.mark.parametrize("way", WAYS)
def test_the_bits_are_those_of_one_thread(monkeypatch, way):
    monkeypatch.setattr(worth.Sharing, "_is_worth", lambda self, trial: self.members > 1)
    monkeypatch.setattr(lowering, "choose", lambda *_: WAYS[way])
    rng = np.random.default_rng(1)
    graph = network(GRUSpec(5, 130, "bidirectional"), rng, lengths=True, mask=False, h0=False)
    inputs = frames(graph, rng, 6, 9)
    alone = Executable(graph).run(inputs)
    for members in (2, 3):
        spinning = Executable(graph, threads=members, spin_us=SPIN_US)
        for _ in range(20):
            for name, array in spinning.run(inputs).items():
                np.testing.assert_array_equal(array, alone[name])


@pytest.mark.parametrize("asleep", [True, False])
@pytest.mark.parametrize("spin_us", [0, 5, SPIN_US])
def test_no_wake_up_is_lost_whenever_the_next_call_comes(monkeypatch, shared, asleep, spin_us):
    """Pauses from none to three times as long as a worker looks out, most of them about as long as that."""
    if not asleep:
        only_awake(monkeypatch)
    graph, inputs, expected = shared
    run = Executable(graph, threads=2, spin_us=spin_us).run
    rng = np.random.default_rng(2)
    around = rng.normal(SPIN_US, SPIN_US / 4, 1000)
    for pause in np.concatenate([around, rng.uniform(0, 3 * SPIN_US, 1000), np.zeros(500)]).tolist():
        end = time.perf_counter_ns() + 1000 * pause
        while time.perf_counter_ns() < end:
            pass
        result = run(inputs)
        assert all(np.array_equal(result[name], array) for name, array in expected.items())


def streams(graph: Graph) -> tuple[fastgru.Stream, fastgru.Stream]:
    """On one thread and on two."""
    graph = Graph(graph.inputs, graph.outputs, graph.nodes, graph.constants, states={"h0": "hn"})
    one, two = (fastgru.Model(graph, **options).stream() for options in ({}, {"threads": 2, "spin_us": SPIN_US}))
    return one, two


def test_a_stream_has_the_bits_of_one_thread(shared):
    graph, inputs, _ = shared
    one, two = streams(graph)
    for _ in range(200):
        np.testing.assert_array_equal(two.push(inputs["x"]), one.push(inputs["x"]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_stream_goes_on_in_a_forked_child(shared):
    graph, inputs, _ = shared
    one, two = streams(graph)
    for _ in range(3):
        np.testing.assert_array_equal(two.push(inputs["x"]), one.push(inputs["x"]))
    child = os.fork()
    equal = [np.array_equal(two.push(inputs["x"]), one.push(inputs["x"])) for _ in range(3)]
    if child == 0:
        os._exit(0 if all(equal) and 2 in threads._teams else 1)
    assert all(equal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_concurrent_calls(shared):
    graph, inputs, expected = shared
    spinning = Executable(graph, threads=2, spin_us=SPIN_US)
    faults: list[str] = []

    def call() -> None:
        for _ in range(300):
            result = spinning.run(inputs)
            faults.extend(name for name in expected if not np.array_equal(result[name], expected[name]))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(within(60))
    assert not any(caller.is_alive() for caller in callers)
    assert not faults


def test_a_program_that_gains_from_a_team_that_is_awake_alone(monkeypatch, shared):
    """After a pause it runs alone, and leaves the workers asleep; the second call of a loop has them."""
    only_awake(monkeypatch)
    graph, inputs, _ = shared
    run, wake = Executable(graph, threads=2, spin_us=10_000).run, threads._teams[2]._words[1]
    run(inputs), run(inputs)
    wait_until_asleep()
    time.sleep(0.03)
    threads._teams[2]._team[ROSTER.late] = 0
    run(inputs)
    assert wake[MEMBER.wake] == ASLEEP
    for _ in range(100):  # a loaded machine may keep the worker from its core, or this thread, for a while
        run(inputs)
        if wake[MEMBER.wake] == AWAKE:
            break
        threads._teams[2]._team[ROSTER.late] = 0
    assert wake[MEMBER.wake] == AWAKE
    wait_until_asleep()


def test_a_member_without_a_core_is_left_alone_for_a_while(monkeypatch, shared):
    """Where other work keeps a worker from its core, calls that want the team awake do without it."""
    only_awake(monkeypatch)
    graph, inputs, _ = shared
    run, team = Executable(graph, threads=2, spin_us=10_000).run, threads._teams[2]
    run(inputs)
    team._team[ROSTER.late] = begin = time.monotonic_ns()
    for _ in range(5):
        before = team._team[ROSTER.missed]
        run(inputs)
        assert team._team[ROSTER.missed] != before or time.monotonic_ns() - begin > 50_000_000
    time.sleep(0.07)
    run(inputs)
    assert team._team[ROSTER.late] != begin


def test_idle_workers_sleep_when_their_time_is_up(shared):
    """What an idle process spends is what it was told to, once."""
    graph, inputs, _ = shared
    Executable(graph, threads=2, spin_us=10_000).run(inputs)
    before = os.times()
    time.sleep(0.5)
    after = os.times()
    assert after.user - before.user + after.system - before.system < 0.1
    wait_until_asleep()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_workers_look_out(shared):
    """The child has none, and makes its own."""
    graph, inputs, expected = shared
    spinning = Executable(graph, threads=2, spin_us=10_000)
    for _ in range(10):
        spinning.run(inputs)
        child = os.fork()
        if child == 0:
            results = [spinning.run(inputs) for _ in range(10)]
            os._exit(0 if all(np.array_equal(r[n], expected[n]) for r in results for n in expected) else 1)
        result = spinning.run(inputs)
        assert all(np.array_equal(result[name], array) for name, array in expected.items())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_signals_in_between(shared):
    graph, inputs, expected = shared
    spinning, heard, over = Executable(graph, threads=2, spin_us=SPIN_US), [], []

    def handle(*_: object) -> None:
        heard.append(spinning.run(inputs))
        if not over:  # only now: on a busy machine a timer that goes on by itself would come into this call
            signal.setitimer(signal.ITIMER_REAL, 0.0007)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    try:
        results = [spinning.run(inputs) for _ in range(2000)]
    finally:
        over.append(True)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert heard
    heard += results
    assert all(np.array_equal(result[name], array) for result in heard for name, array in expected.items())


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    begin = """
        import os, sys, time
        import numpy as np
        import fastgru
        from fastgru.engine import threads, worth

        rng = np.random.default_rng(0)
        weights = {name: rng.normal(0, 0.1, (768, 256)).astype(np.float32) for name in ("weight_ih_l0", "weight_hh_l0")}
        x = rng.standard_normal((3, 1, 256), dtype=np.float32)
        want = fastgru.GRU.from_torch(weights)(x)[0]
    """
    source = textwrap.dedent(begin) + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=within(120))


def test_a_process_ends_while_workers_look_out():
    code = """
        worth.Sharing._is_worth = lambda self, trial: True
        gru = fastgru.GRU.from_torch(weights, threads=2, spin_us=10_000)
        for _ in range(3):
            assert np.array_equal(gru(x)[0], want)
        assert 2 in threads._teams
    """
    done = run_python(code)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no masks of cores here")
def test_a_process_on_one_core_runs_alone():
    code = """
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        gru = fastgru.GRU.from_torch(weights, threads=2, spin_us=50)
        assert np.array_equal(gru(np.tile(x, (200, 8, 1)))[0][:3, :1], want)
        assert not threads._teams
    """
    done = run_python(code)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no masks of cores here")
@pytest.mark.skipif(len(threads.usable_cores()) < 2, reason="one core")
def test_a_thread_that_has_bound_itself_to_a_core_has_a_team_on_others():
    code = """
        import threading

        def call():
            core = min(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {core})
            gru, long = fastgru.GRU.from_torch(weights, threads=2, spin_us=50), np.tile(x, (200, 8, 1))
            print(worth.Sharing(2, 1e9)._is_worth(None))  # there are enough cores for the two
            worth.Sharing._is_worth = lambda self, trial: True
            for _ in range(5):
                assert np.array_equal(gru(long)[0][:3, :1], want)
            assert core not in os.sched_getaffinity(threads._teams[2]._threads[0].native_id)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    """
    done = run_python(code)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.mark.parametrize("spin_us", [-1, float("nan"), float("inf"), 10_001, "50", None, True, 1j])
def test_what_is_no_time_is_refused(shared, spin_us):
    for make in (Executable, fastgru.Model):
        with pytest.raises(fastgru.UnsupportedModelError, match=r"spin_us=.*expected microseconds from 0 to 10,000"):
            make(shared[0], threads=2, spin_us=spin_us)


def test_one_thread_has_none_that_could_look_out(shared):
    with pytest.raises(fastgru.UnsupportedModelError, match=r"spin_us=50 with threads=1.*threads=2"):
        fastgru.Model(shared[0], spin_us=50)
    with pytest.raises(fastgru.UnsupportedModelError, match=r"spin_us=50 with threads=1.*threads=2"):
        fastgru.Linear(np.zeros((2, 3), np.float32), spin_us=50)


def test_models_and_layers_tell_their_time(shared):
    model = fastgru.Model(shared[0], threads=2, spin_us=12.5)
    assert (model.threads, model.spin_us) == (2, 12.5)
    assert pickle.loads(pickle.dumps(model)).spin_us == 12.5
    weights = np.zeros((3, 3), np.float32)
    first, second = (fastgru.Linear(weights, threads=2, spin_us=us) for us in (20, np.int64(30)))
    assert fastgru.Sequential(first, first).spin_us == 20
    assert fastgru.Sequential(first, second, spin_us=5).spin_us == 5
    with pytest.raises(SpecError, match=r"spin_us differs \(Linear 20, Linear 30\)"):
        fastgru.Sequential(first, second)


def test_the_choice_knows_a_team_that_is_awake(monkeypatch):
    """A gain between the costs of both is one in a loop of calls alone."""
    monkeypatch.setattr(worth, "wake_costs", lambda members: worth.Costs(20e-6, 1e-6))
    monkeypatch.setattr(worth, "usable_cores", lambda: {0, 1})
    monkeypatch.setattr(worth, "team_address", lambda members: 1)

    monkeypatch.setattr(worth, "_seconds", lambda trial, team: trial.taken(team), raising=True)

    class Trial:
        def __init__(self, alone: float, awake: float) -> None:
            self.alone, self.awake = alone, awake

        def __call__(self, team: Joined | None) -> None:
            pass

        def taken(self, team: Joined | None) -> float:
            return self.alone if team is None else self.awake + (0 if team.spin_ns else 19e-6)

    def choose(alone: float, awake: float, spin_us: float) -> Joined | None:
        return worth.Sharing(2, alone - awake, spin_us).team(lambda: Trial(alone, awake))

    assert choose(30e-6, 20e-6, 0) is None
    assert choose(30e-6, 20e-6, 50) == Joined(1, 50_000, False)
    assert choose(60e-6, 30e-6, 50) == Joined(1, 50_000, True)
    assert choose(60e-6, 30e-6, 0) == Joined(1, 0, True)
    assert choose(30e-6, 29e-6, 50) is None
    assert choose(30e-6, 29.9e-6, 50) is None
    assert choose(30e-3, 15e-3, 50) == Joined(1, 50_000, True)
