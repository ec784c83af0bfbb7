"""Children of a process that plans, runs or is in the middle of a call."""

from __future__ import annotations

import os

import pytest
from users import alone, network


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
