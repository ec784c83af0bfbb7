"""Inference requests that repeat the head of an earlier one, see `repetition`."""

import asyncio
import logging
import time

from fastgru.serve.app import Answer, Request, internal
from fastgru.serve.errors import ServeError
from fastgru.serve.groups import Group
from fastgru.serve.jobs import Job
from fastgru.serve.repetition import Asker
from fastgru.serve.v2.infer import HEADER, Inference
from fastgru.serve.v2.lists import LONG_BYTES
from fastgru.serve.v2.plan import Plan

__all__ = ["Again"]

_log = logging.getLogger("fastgru.serve")


class Again:
    """Answers requests that repeat the head of `request`, one at a time."""

    __slots__ = (
        "_asker",
        "_fail",
        "_group",
        "_inference",
        "_key",
        "_length",
        "_limit_ns",
        "_plan",
        "_query",
        "_waited_ns",
        "_writing",
    )

    _asker: Asker
    _plan: Plan

    def __init__(self, inference: Inference, request: Request) -> None:
        self._inference, self._fail, self._key = inference, request.fail, request.identity.key
        self._length, self._query = request.headers.get(HEADER), request.query
        self._writing: asyncio.Task[None] | None = None
        self._group: Group | None = None  # that of the last request, which the next is likely to have
        self._limit_ns = self._waited_ns = 0  # of the last request: its limit, and how long it lay unread

    def takes(self, size: int) -> bool:
        """Return False for long JSON, which is read in parts, and for a model that shares its name with another."""
        return self._inference.served.is_alone and (self._length is not None or size <= LONG_BYTES)

    def refusal(self, data: bytes, at: int, size: int) -> Answer | None:
        """Return the error for a request that would be answered too late, if that is known before its body is here."""
        error = self._refusal(data, at, size, 0)
        return None if error is None else self._fail(error)

    def _refusal(self, data: bytes, at: int, size: int, waited_ns: int) -> ServeError | None:
        return self._inference.refusal(data, at, size, self._length, self._query, self._key, waited_ns)

    def begin(self, data: bytes, at: int, asker: Asker) -> Job | None:
        """Answer a body; return its job, or None if it is answered already."""
        self._asker = asker
        group, scheduler, line = self._group, self._inference.scheduler, asker.line
        waited_ns = self._waited_ns = scheduler.resting.waited_ns(line) if line.unread_ns else 0
        if group is None or scheduler.admission.is_late(group, self._limit_ns, waited_ns):
            error = self._refusal(data, at, len(data) - at, waited_ns)
            if error is not None:
                self._refuse(error)
                return None
        try:
            self._plan, job = self._inference.job(data, at, self._length, self._query, self._key)
            limit_ns = job.deadline_ns - time.monotonic_ns()
            job.waited_ns = waited_ns
            job.done = self._done
            scheduler.submit(job, at_once=True)
        except ServeError as error:
            self._refuse(error)
        except Exception:
            self._failed()
        else:
            self._group, self._limit_ns = job.group, limit_ns
            return job
        return None

    def _refuse(self, error: ServeError) -> None:
        self._asker.reply(self._fail(error))
        if not self._waited_ns:
            self._inference.scheduler.resting.refused(self._asker.line, error)

    def _failed(self) -> None:
        _log.exception("a request of model %s failed", self._inference.served.name)
        self._asker.reply(self._fail(internal()))

    def _done(self, job: Job) -> None:
        plan, outputs, answers = self._plan, job.outputs, self._inference.answers
        if outputs is None:
            self._refuse(job.error or internal())
            return
        try:
            if answers.is_long(plan.outputs, outputs):
                self._writing = asyncio.ensure_future(self._write(job))
                return
            answer = answers.write_now(plan.id, plan.outputs, outputs)
        except Exception:
            self._failed()
        else:
            self._asker.reply(answer)

    async def _write(self, job: Job) -> None:
        """Write an answer with long lists in parts."""
        assert job.outputs is not None
        try:
            answer = await self._inference.answers.write(self._plan.id, self._plan.outputs, job.outputs)
        except Exception:
            self._failed()
        else:
            self._asker.reply(answer)
