"""What all measurements share: where the server and the client run, for how long, and the figures."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

import fastgru
from bench.serve.process import Process, fastgru_server, free_port, on_core
from bench.serve.replayed import Replayed
from fastgru.bench.serving.load import Load
from fastgru.bench.serving.target import Target
from fastgru.bench.serving.wire import PROTOCOLS, Wire

__all__ = ["Figure", "Setting"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Figure:
    """A number and its bound. `holds` is None for a number without a bound."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    holds: bool | None = None

    def line(self) -> str:
        bound = "" if self.bound is None else f"at most {self.bound:g}" if self.unit != "share" else ""
        verdict = {None: "", True: "holds", False: "MISSED"}[self.holds]
        return f"{self.name:<64} {self.value:>12.4g} {self.unit:<8} {bound:<16} {verdict}"


@dataclass
class Setting:
    """The server runs on one core, the client on another. `full` takes the full times, otherwise a tenth.

    part: the part of a measurement that is wanted; all of it by default. sessions: their number, instead of the
        default.
    """

    folder: Path
    full: bool = False
    client_core: int = 0
    server_core: int = 1
    gtcrn: Path | None = None
    verbose: bool = False
    part: str = ""
    sessions: int | None = None
    triton: Path | None = None
    figures: list[Figure] = field(default_factory=list)
    ids: Iterator[int] = field(default_factory=lambda: count(1))

    def wants(self, part: str) -> bool:
        return self.part in ("", part)

    def seconds(self, full: float) -> float:
        return full if self.full else max(2.0, full / 10)

    def found(self, name: str, value: float, unit: str, bound: float | None = None, *, least: bool = False) -> None:
        """Print a figure. It holds if it is at most its bound, or with `least` at least its bound."""
        holds = None if bound is None else bool(value >= bound if least else value <= bound)
        figure = Figure(name, value, unit, bound, holds)
        self.figures.append(figure)
        line = figure.line()
        print(line.replace("at most", "at least") if least else line, flush=True)

    def note(self, text: str) -> None:
        if self.verbose:
            print(f"    {text}", flush=True)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps([asdict(figure) for figure in self.figures], indent=1))

    @contextmanager
    def server(self, model: Path, *options: str) -> Iterator[Process]:
        port = free_port()
        log = self.folder / f"server-{port}.log"
        with fastgru_server(model, port, *options, core=self.server_core, log=log) as process:
            yield process
        if process.ended != 0:
            raise RuntimeError(f"the server ended with {process.ended}\n{log.read_text(errors='replace')[-2000:]}")

    @contextmanager
    def load(self, wire: Wire, sessions: int, frames: Sequence[Array], *, alone: bool = False) -> Iterator[Load]:
        """Open so many sessions, each with a connection, from the client's core; no garbage is collected in the block.

        alone: send requests without a sequence.
        """
        with on_core(self.client_core):
            ids = [0 if alone else next(self.ids) for _ in range(sessions)]
            load = Load([Replayed(wire, session, frames, 7 * i) for i, session in enumerate(ids)])
            if load.out.broken:
                raise ConnectionError(f"no connection: {dict(load.out.broken)}")
            gc.collect()
            gc.disable()
            try:
                yield load
            finally:
                gc.enable()
                load.close()

    def wire(self, protocol: str, process: Process, model: str = "gru", **more: Any) -> Wire:
        return PROTOCOLS[protocol](Target.local(process.port), model, **more)

    def replay(self, load: Load, model: Path, name: str, most: int = 16) -> None:
        """Push what at most `most` sessions sent into a stream in process, and count those with other bits."""
        loaded = fastgru.load(model)
        some = load.connections[:: max(1, len(load.connections) // most)]
        wrong = sum(connection.replay(loaded.stream(1)) != connection.digest for connection in some)
        self.found(f"{name}: of {len(some)} sessions replayed in process, other bits", wrong, "sessions", 0)
