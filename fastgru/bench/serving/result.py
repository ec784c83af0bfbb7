"""The result of a load on a server, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastgru.bench import machine
from fastgru.bench.serving.demand import Demand
from fastgru.bench.serving.outcome import Outcome
from fastgru.bench.serving.server import Server
from fastgru.records import dataclass

__all__ = ["ServingResult", "Step"]


@dataclass(frozen=True)
class Step:
    """value: the offered load in the demand's unit. words: the same for people."""

    value: float
    words: str
    outcome: Outcome


@dataclass(frozen=True)
class ServingResult:
    """shapes: those of the inputs. message_bytes: the size of a request. counted: the growth of the server's counts
    between the first of `steps` and the last. floors: the same load on a raw TCP echo on this machine.
    """

    server: Server
    demand: Demand
    protocol: str
    shapes: tuple[tuple[int, ...], ...]
    message_bytes: int
    steps: tuple[Step, ...]
    floors: tuple[Step, ...]
    counted: Mapping[str, float | None]
    seconds: float

    @property
    def held(self) -> Step | None:
        """The last step before the first that the server could not sustain; None if it sustained none."""
        found = None
        for step in self.steps:
            if not step.outcome.holds(self.demand.late_ms):
                break
            found = step
        return found

    @property
    def answered(self) -> int:
        return sum(step.outcome.answered for step in self.steps)

    @property
    def agrees(self) -> bool | None:
        """Whether the server counted as many answers as came; None if it does not tell."""
        counted = self.counted.get("success")
        return None if counted is None else counted == self.answered

    @property
    def errors_came(self) -> bool:
        """True if a request or connection ended in an error, nothing was answered, or a ramp failed at once."""
        outcomes = [step.outcome for step in self.steps]
        ramp = self.demand.ramp is not None and self.held is None
        return ramp or not self.answered or any(outcome.failed or outcome.broken for outcome in outcomes)

    def to_json(self) -> str:
        demand, server, late = asdict(self.demand), self.server, self.demand.late_ms
        listed = {name: [_step(step, late) for step in getattr(self, name)] for name in ("steps", "floors")}
        whole: dict[str, Any] = {
            "server": {"url_host": server.target.host, "name": server.name, "version": server.version},
            "model": server.model,
            "inputs": [
                {"name": i.name, "datatype": i.datatype, "shape": list(shape)}
                for i, shape in zip(server.inputs, self.shapes, strict=True)
            ],
            "protocol": self.protocol, "message_bytes": self.message_bytes, "demand": demand, **listed,
            "held": None if self.demand.ramp is None or self.held is None else self.held.value,
            "server_counted": dict(self.counted), "counts_agree": self.agrees,
            "client_machine": machine.describe(()), "seconds": self.seconds,
        }  # fmt: skip
        return json.dumps(whole, indent=1)


def _step(step: Step, late_ms: float) -> dict[str, Any]:
    return {"offered": step.value, "words": step.words, **step.outcome.to_dict(late_ms)}
