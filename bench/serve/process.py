"""A server as a process of its own, on a core of its own, with its CPU time, memory and descriptors."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

__all__ = ["Process", "fastgru_server", "floor", "free_port", "on_core"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Pin this thread to one core inside the block. It does nothing if the process may not use the core."""
    before = os.sched_getaffinity(0)
    if core in before:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """A process that listens on `port` when the block is entered, and is ended when the block is left.

    ready: a path that answers 200 over HTTP when requests may come.
    """

    def __init__(
        self, words: Sequence[str], port: int, *, core: int | None = None, log: Path | None = None, ready: str = ""
    ) -> None:
        self.ready = ready
        self.words, self.port, self.log = [*self.pinned(core), *words], port, log
        self.ended: int | None = None

    @staticmethod
    def pinned(core: int | None) -> list[str]:
        """Return the words before a command that pin its process to a core."""
        return ["taskset", "-c", str(core)] if core is not None and shutil.which("taskset") else []

    def __enter__(self) -> Process:
        self.output = open(self.log, "wb") if self.log else None
        target = self.output or subprocess.DEVNULL
        self.process = subprocess.Popen(self.words, stdout=target, stderr=target)
        self.pid = self.process.pid
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as probe:
                    if self.ready:
                        probe.sendall(f"GET {self.ready} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                        if b" 200 " not in probe.recv(64):
                            raise ConnectionError
            except OSError:
                time.sleep(0.05)
            else:
                return self
        self.__exit__(None, None, None)
        raise RuntimeError(f"{' '.join(self.words)}: does not listen on port {self.port}\n{self.said()}")

    def said(self) -> str:
        """Return the end of its log, and how it ended, if it did."""
        ended = self.process.poll()
        end = "" if ended is None else f"it has ended with {ended}\n"
        return end + (self.log.read_text(errors="replace")[-2000:] if self.log else "")

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Send SIGTERM, and SIGKILL if the process stays. `ended` is its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.ended = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.ended = self.process.wait()
        if self.output:
            self.output.close()

    def pids(self) -> list[int]:
        """Return the ids of the process and of all that it has started."""
        found = [self.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").iterdir():
                try:
                    found += map(int, (task / "children").read_text().split())
                except OSError:
                    continue
        return found

    def cpu_s(self) -> float:
        """Return the CPU time of all threads of its processes, as counted by the scheduler in nanoseconds."""
        total = 0
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                try:
                    total += int((task / "schedstat").read_text().split()[0])
                except OSError:
                    continue
        return total / 1e9

    def memory(self, what: str = "Private_Dirty") -> int:
        """Return the resident bytes of all its processes: only private ones, or with "Rss" all."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(f"{what}:"):
                    total += int(line.split()[1]) * 1024
        return total

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def fastgru_server(model: Path, port: int, *options: str, core: int | None = None, log: Path | None = None) -> Process:
    """Return `fastgru serve` of this Python as a process."""
    words = [sys.executable, "-m", "fastgru", "serve", str(model), "--port", str(port), *options]
    return Process(words, port, core=core, log=log, ready="/v2/health/ready")


def floor(kind: str, port: int, *arguments: str, core: int | None = None) -> Process:
    """Return a process of `bench.serve.floors`; the kind "echo" is a raw TCP echo."""
    # Imported here, because other servers, such as Triton, need nothing of this package.
    from fastgru.bench.serving.echo import echo_words

    words = (
        echo_words(port, int(arguments[0]))
        if kind == "echo"
        else [sys.executable, "-m", "bench.serve.floors", kind, str(port), *arguments]
    )
    return Process(words, port, core=core)
