"""`/v2/overview`: all data of the page in one object, which is made quickly however many sessions there are."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from fastgru import __version__
from fastgru.serve.app import Answer, Identity, Request, json_answer
from fastgru.serve.errors import ServeError
from fastgru.serve.fields import Field, field_of
from fastgru.serve.gate import Gate
from fastgru.serve.models import Served
from fastgru.serve.repository import Repository
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.statistics import Statistics
from fastgru.serve.v2.sequences import shown
from fastgru.simd.target import TARGET

__all__ = ["Overview"]

_LISTED: Final = 100  # how many sessions of a model are listed


class Overview:
    """The overview of one server. is_ready: returns whether new requests are taken."""

    def __init__(self, repository: Repository, scheduler: Scheduler, gate: Gate, is_ready: Callable[[], bool]) -> None:
        self._repository, self._scheduler, self._gate, self._is_ready = repository, scheduler, gate, is_ready
        self._began = time.monotonic()
        self._described: WeakKeyDictionary[Served, dict[str, Any]] = WeakKeyDictionary()
        for served in repository:  # now, while the first group is the one that was tried at load
            self._describe(served)

    async def show(self, request: Request) -> Answer:
        """Answer with the overview. Raises `ServeError`, 400, for parameters in the URL.

        Sessions are those of the client's key; an administrator sees all.
        """
        if request.query:
            raise ServeError(400, f"the URL has {request.query!r:.80}, expected no parameters", reason="request")
        identity, gate = request.identity, self._gate
        served = {model.name: model for model in self._repository}
        return json_answer(
            {
                "server": {
                    "version": __version__,
                    "target": TARGET.short,
                    "ready": self._is_ready(),
                    "uptime_seconds": time.monotonic() - self._began,
                    "cpu_seconds": time.process_time(),
                    "connections": gate.open,
                    "in_flight_bytes": gate.in_flight,
                    "pending": self._scheduler.jobs,
                    "refused": gate.refused,
                },
                "key": identity.key,
                "is_admin": identity.is_admin,
                "models": [
                    {"name": name, "version": version, "state": state, "reason": reason}
                    | (self._of_model(served[name], identity) if state == "READY" else {})
                    for name, version, state, reason in self._repository.index()
                ],
            }
        )

    def _of_model(self, served: Served, identity: Identity) -> dict[str, Any]:
        return {
            **self._describe(served),
            "statistics": _counts(served.counts),
            "sessions": None if served.sessions is None else _sessions(served, identity),
        }

    def _describe(self, served: Served) -> dict[str, Any]:
        """Return what stays the same while the model is loaded.

        shortest: shapes of inputs that the model takes, None if none were found.
        """
        found = self._described.get(served)
        if found is None:
            model, group = served.model, next(iter(served.groups.values()), None)
            specs = {spec.name: spec for spec in model.inputs}
            found = self._described[served] = {
                "precision": model.precision,
                "inputs": _fields(served.inputs),
                "outputs": _fields(served.outputs),
                "states": _fields([field_of(specs[name]) for name in model.graph.states]),
                "shortest": None if group is None else group.shapes,
            }
        return found


def _fields(fields: Sequence[Field]) -> list[dict[str, Any]]:
    return [{"name": field.name, "datatype": field.datatype, "shape": field.shape} for field in fields]


def _counts(counts: Statistics) -> dict[str, Any]:
    """Return the counts of a model.

    execution_times: {nanoseconds: how many executions took less than this, and at least half of it}. tick_sizes:
    {requests: how many executions had at most this many, and more than half of it}. Both leave zeros out.
    """
    return {
        "requests": counts.requests,
        "failed": counts.failed,
        "nonfinite": counts.nonfinite,
        "pending": counts.pending,
        "executions": counts.executions,
        "queue_ns": counts.queue_ns,
        "compute_ns": counts.compute_ns,
        "last_ms": counts.last_ms,
        "execution_times": {str(1 << bits): n for bits, n in enumerate(counts.times) if n},
        "tick_sizes": {str(1 << bits): n for bits, n in enumerate(counts.sizes) if n},
    }


def _sessions(served: Served, identity: Identity) -> dict[str, Any]:
    """Return the counts and the list of a model's sessions, the newest first."""
    sessions = served.sessions
    assert sessions is not None
    mine = list(sessions) if identity.is_admin else sessions.of(identity.key)
    listed = [shown(session) for session in mine[: -_LISTED - 1 : -1]]
    return {
        "open": len(sessions),
        "capacity": sessions.capacity,
        "evicted": sessions.evicted,
        "parked": None if served.keeper is None else sum([each.parked for each in (served, *served.formers)]),
        "former": sum([each.live for each in served.formers]),
        "visible": len(mine),
        "listed": listed,
        "more": len(mine) - len(listed),
    }
