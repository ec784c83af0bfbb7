"""Who uses a stream, and when: one at a time, from any thread, in a forked child, too."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest
from users import H, frames, network

from fastgru.errors import StateError
from fastgru.kernels.operands.ticket import STATE
from fastgru.process import EPOCH, process


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
