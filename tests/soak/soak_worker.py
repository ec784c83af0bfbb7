"""A process of `test_soak`: soak_worker.py signals|forks|lives COUNT SEED."""

from __future__ import annotations

import faulthandler
import gc
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing  # which NumPy imports when it is first asked for: no child can finish an import of another thread

import fastgru
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.spec import GRUSpec

H = 32
Array = np.ndarray[Any, Any]


def save_model(path: Path) -> None:
    """A GRU, a layer behind it, and a table before it, so that several handlers run."""
    rng = np.random.default_rng(0)
    shapes = {"table": (50, H), "wi": (3 * H, H), "wh": (3 * H, H), "bi": (3 * H,), "bh": (3 * H,), "w": (H, H)}
    weights = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = (
        Node("embedding", ("ids", "table"), ("e",)),
        Node("gru", ("e", "h0", "", "", "wi", "wh", "bi", "bh"), ("s", "hn"), {"spec": GRUSpec(H, H).to_dict()}),
        Node("linear", ("s", "w"), ("y",)),
    )
    inputs = TensorSpec("ids", "int64", (None, None)), TensorSpec("h0", "float32", (1, None, H))
    outputs = TensorSpec("y", "float32", None), TensorSpec("hn", "float32", None)
    fastgru.Model(Graph(inputs, outputs, nodes, weights, {"h0": "hn"})).save(path)


class World:
    """What is used at random: each use compares its numbers with what one call of an untouched model gave."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.random = path, random.Random(seed)
        self.ids = np.random.default_rng(1).integers(0, 50, (400, 4))
        self.h0 = np.zeros((1, 4, H), np.float32)
        self.want: Array = fastgru.load(path)(self.ids, self.h0)[0]
        self.model = fastgru.load(path, threads=2, spin_us=self.random.choice([0, 50]))
        self.stream, self.at = self.model.stream(4), 0
        self.pool = fastgru.SessionPool(self.model, 8, batch_axes={"ids": 1})

    def uses(self) -> list[Callable[[], None]]:
        return [self.call, self.call, self.push, self.push, self.load, self.sessions, self.states]

    def use(self) -> None:
        self.random.choice(self.uses())()

    def call(self) -> None:
        steps, rows = self.random.randint(1, 400), self.random.randint(1, 4)
        check(self.model(self.ids[:steps, :rows], self.h0[:, :rows])[0], self.want[:steps, :rows])

    def push(self) -> None:
        """The state is that of `at` frames whatever happens: it is read, and compared, before it is pushed on."""
        steps = self.random.choice([1, 1, 1, 7, 150])
        if self.at + steps > 400:
            self.at = 0
            self.stream.reset()
        y = self.stream.push(self.ids[self.at : self.at + steps])
        check(y, self.want[self.at : self.at + steps])
        self.at += steps

    def load(self) -> None:
        model = fastgru.load(self.path, precision=self.random.choice(["float32", "float32", "float64"]))
        stream = model.stream(4)
        y = np.concatenate([stream.push(self.ids[:3]), stream.push(self.ids[3:4])])
        if model.precision == "float32":
            check(y, self.want[:4])
        else:
            numpy.testing.assert_allclose(y, self.want[:4], atol=1e-5)

    def sessions(self) -> None:
        opened = [self.pool.open() for _ in range(self.random.randint(1, 3))]
        try:
            for t in range(3):
                got = self.pool.push({s: self.ids[t : t + 1, k : k + 1] for k, s in enumerate(opened)})
                for k, session in enumerate(opened):
                    check(got[session], self.want[t : t + 1, k : k + 1])
        finally:
            for session in opened:
                self.pool.close(session)

    def states(self) -> None:
        blob = self.stream.save_state()
        twin = self.stream.fork()
        twin.load_state(blob)
        if self.at < 399:
            check(twin.push(self.ids[self.at : self.at + 1]), self.want[self.at : self.at + 1])


def check(got: Any, want: Array) -> None:
    if not np.array_equal(got, want):
        print("a wrong number", flush=True)
        os._exit(3)


class Interrupted(BaseException):
    """Raised by the handler: no `except Exception` may swallow it."""


def signals(world: World, count: int) -> None:
    """SIGINT after a few microseconds to milliseconds, while whatever runs."""
    came, armed = 0, False

    def handler(*_: Any) -> None:
        nonlocal came, armed
        if armed:
            came, armed = came + 1, False
            raise Interrupted

    signal.signal(signal.SIGINT, handler)
    me, shots = os.getpid(), random.Random(world.random.random())
    shooter = os.fork()
    if shooter == 0:
        while os.getppid() == me:
            time.sleep(shots.choice([1e-4, 1e-3, 1e-2]) * shots.random())
            os.kill(me, signal.SIGINT)
        os._exit(0)
    ended = 0
    while came < count:
        try:
            armed = True
            world.use()
            ended += 1
            armed = False
        except Interrupted:
            settle(world)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.kill(shooter, signal.SIGKILL)
    os.waitpid(shooter, 0)
    assert ended > 0
    for _ in range(20):
        settle(world)
        world.use()
    assert world.stream.push(world.ids[:1]).shape == (1, 4, H)
    print(len(world.pool), "sessions left open by what ended in between", flush=True)


def settle(world: World) -> None:
    """After an interruption nobody knows whether the last push counted: begin anew, and close what was left open."""
    world.stream.reset()
    world.at = 0
    for session in world.pool.sessions:
        world.pool.close(session)


def forks(world: World, count: int) -> None:
    """Children made while other threads plan, load and run; each child does all of it, too."""
    done, faults = threading.Event(), []

    def work(seed: int) -> None:
        mine = World(world.path, seed)
        while not done.is_set():
            try:
                mine.use()
            except BaseException as error:
                faults.append(repr(error))
                return

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for n in range(count):
        time.sleep(world.random.random() * 0.02)
        child = os.fork()
        if child == 0:
            faulthandler.dump_traceback_later(60, exit=True)
            try:
                world.random.seed(n)
                for use in world.uses():
                    use()
                os._exit(0)
            except BaseException as error:
                print("in a child:", repr(error), flush=True)
            finally:
                os._exit(4)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status == 0, f"child {n} ended with {status}"
        world.use()
    done.set()
    for thread in threads:
        thread.join()
    assert not faults, faults


def lives(world: World, count: int) -> None:
    """Models, streams and pools come and go: memory and descriptors stay."""

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    first = (0, 0)
    for n in range(count):
        world.load()
        world.sessions()
        world.states()
        pool = fastgru.SessionPool(fastgru.load(world.path), 3, batch_axes={"ids": 1})
        pool.push({pool.open(): world.ids[:1, :1]})
        del pool
        if n == count // 2:
            gc.collect()
            first = resident(), descriptors()
    gc.collect()
    assert descriptors() <= first[1]
    assert resident() - first[0] < 8 << 20, f"{(resident() - first[0]) >> 10} KiB more"


def main() -> None:
    kind, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_model(path)
        {"signals": signals, "forks": forks, "lives": lives}[kind](World(path, seed), count)
    print(count, kind, flush=True)


if __name__ == "__main__":
    main()
