"""Inference requests that come with the head of one before: see `repetition`."""

import asyncio
import logging
from collections.abc import Callable

from fastgru.serve.app import Answer, Request, internal
from fastgru.serve.errors import ServeError
from fastgru.serve.groups import Group
from fastgru.serve.jobs import Job
from fastgru.serve.v2.infer import HEADER, Inference
from fastgru.serve.v2.lists import LONG_BYTES
from fastgru.serve.v2.plan import Plan

__all__ = ["Again"]

_log = logging.getLogger("fastgru.serve")


class Again:
    """request: the one before. There is never more than one at a time."""

    __slots__ = (
        "_fail",
        "_group",
        "_inference",
        "_key",
        "_length",
        "_limit_ns",
        "_plan",
        "_query",
        "_reply",
        "_writing",
    )

    _plan: Plan
    _reply: Callable[[Answer], None]

    def __init__(self, inference: Inference, request: Request) -> None:
        self._inference, self._fail, self._key = inference, request.fail, request.identity.key
        self._length, self._query = request.headers.get(HEADER), request.query
        self._writing: asyncio.Task[None] | None = None
        self._group: Group | None = None  # of the last one, which tells what the next may be like
        self._limit_ns = 0

    def takes(self, size: int) -> bool:
        """Not long JSON, which is read in parts; and nothing for a model that is not the only one of its name."""
        return self._inference.served.is_alone and (self._length is not None or size <= LONG_BYTES)

    def refusal(self, data: bytes, at: int, size: int) -> Answer | None:
        """The error of one that would be too late, which is known before it is here."""
        inference = self._inference
        error = inference.refusal(data, at, size, self._length, self._query, self._key)
        return None if error is None else self._fail(error)

    def begin(self, data: bytes, at: int, reply: Callable[[Answer], None]) -> Job | None:
        """None where it is answered already."""
        self._reply = reply
        group, scheduler = self._group, self._inference.scheduler
        if group is None or scheduler.admission.is_late(group, self._limit_ns):
            refused = self.refusal(data, at, len(data) - at)
            if refused is not None:
                reply(refused)
                return None
        try:
            self._plan, job = self._inference.job(data, at, self._length, self._query, self._key)
            job.done = self._done
            scheduler.submit(job, at_once=True)
        except ServeError as error:
            reply(self._fail(error))
        except Exception:
            self._failed()
        else:
            self._group, self._limit_ns = job.group, job.deadline_ns - job.submitted_ns
            return job
        return None

    def _failed(self) -> None:
        _log.exception("a request of model %s failed", self._inference.served.name)
        self._reply(self._fail(internal()))

    def _done(self, job: Job) -> None:
        plan, outputs, answers = self._plan, job.outputs, self._inference.answers
        try:
            if outputs is None:
                answer = self._fail(job.error or internal())
            elif answers.is_long(plan.outputs, outputs):
                self._writing = asyncio.ensure_future(self._write(job))
                return
            else:
                answer = answers.write_now(plan.id, plan.outputs, outputs)
        except Exception:
            self._failed()
        else:
            self._reply(answer)

    async def _write(self, job: Job) -> None:
        """Lists that are long, in parts."""
        assert job.outputs is not None
        try:
            answer = await self._inference.answers.write(self._plan.id, self._plan.outputs, job.outputs)
        except Exception:
            self._failed()
        else:
            self._reply(answer)
