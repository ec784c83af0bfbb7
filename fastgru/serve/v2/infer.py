"""Inference: from a request to arrays and a job, and from the outputs to an answer."""

from functools import lru_cache
from typing import Final

from fastgru.graph import Array
from fastgru.serve.app import Answer, Request, internal
from fastgru.serve.errors import ServeError
from fastgru.serve.jobs import Job
from fastgru.serve.models import Served
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.settings import Settings
from fastgru.serve.shapes import key_of
from fastgru.serve.text import AS_BYTES, read_json
from fastgru.serve.v2.answers import Answers
from fastgru.serve.v2.frames import Region, bind_raw, take
from fastgru.serve.v2.lists import LONG_BYTES, around, read_list
from fastgru.serve.v2.plan import Outputs, Plan, addressed, plan_of
from fastgru.serve.v2.request import Parameters, bad, read_query, read_request

__all__ = ["HEADER", "Inference"]

_KEPT: Final = 1_024  # how many JSON objects are cached with their plans: a stream repeats its own
_KEPT_BYTES: Final = 2_048  # the largest JSON object that is cached
HEADER: Final = b"inference-header-content-length"  # the length of the JSON object, which the tensors follow


class Inference:
    """Answers the requests of one model. answers: writes its outputs."""

    def __init__(self, served: Served, scheduler: Scheduler, settings: Settings) -> None:
        self.served, self.scheduler, self._settings = served, scheduler, settings
        self._depth, self._deadline_ns = settings.max_json_depth, int(settings.deadline_seconds * 1e9)
        self._kept_plan, self._kept_raw = lru_cache(_KEPT)(self._plan), lru_cache(_KEPT)(self._plan_raw)
        self.answers = Answers(served)
        self._other: Inference | None = None  # for another model of the same name, loaded before or since
        self._binary: Outputs = tuple([(i, True) for i in range(len(served.outputs))])

    async def answer(self, request: Request) -> Answer:
        """Answer a request. Raises `ServeError`."""
        body = await request.body()
        return await (self if self.served.is_alone else self._of(body, request))._answer(body, request)

    def _of(self, body: bytes, request: Request) -> "Inference":
        """Return the inference for the request, by its sequence, when several models have this name."""
        parameters = self._parameters(body, request)
        of = self.served.of(parameters.sequence, request.identity.key, begins=parameters.begins)
        if of is self.served:
            return self
        if self._other is None or self._other.served is not of:
            self._other = Inference(of, self.scheduler, self._settings)
        return self._other

    def _parameters(self, body: bytes, request: Request) -> Parameters:
        """Return the parameters of a request for any model, or empty ones if it will be refused."""
        length, text = request.headers.get(HEADER), body
        try:
            if length is None:
                found = around(body, _KEPT_BYTES)
                text = body if found is None else found[0]
            elif length.isdigit() and len(length) < 10:
                text = body[: int(length)]
                if not text:
                    return read_query(request.query)
            return read_request(text, request.query, self._depth).parameters
        except ServeError:
            return Parameters()

    async def _answer(self, body: bytes, request: Request) -> Answer:
        length, key = request.headers.get(HEADER), request.identity.key
        if length is None and len(body) > LONG_BYTES:
            try:
                plan, frames = await self._read_long(body, request.query)
                job = self._job(plan, frames, key)
            except ServeError as error:
                self.served.statistics.fail(error.reason)
                raise
        else:
            plan, job = self.job(body, 0, length, request.query, key)
        await self.scheduler.run(job)
        if job.outputs is None:
            raise job.error or internal()
        return await self.answers.write(plan.id, plan.outputs, job.outputs)

    def job(self, data: bytes, at: int, length: bytes | None, query: bytes, key: str | None) -> tuple[Plan, Job]:
        """Return the plan and the job of the body data[at:], which must not be long JSON.

        length: that of the JSON object, from the header. Raises `ServeError`.
        """
        try:
            plan, frames = self._read_json(data[at:], query) if length is None else self._read(data, at, length, query)
            return plan, self._job(plan, frames, key)
        except ServeError as error:
            self.served.statistics.fail(error.reason)
            raise

    def refusal(
        self, data: bytes, at: int, size: int, length: bytes | None, query: bytes, key: str | None, waited_ns: int = 0
    ) -> ServeError | None:
        """Return the error for a body that would be answered too late, as far as its first bytes data[at:] tell.

        Returns None if the body may be taken, or if the first bytes do not tell. size: the bytes of the whole body.
        waited_ns: how long the request may have waited unread.
        """
        served = self.served
        try:
            if length is None:
                found = self._around(data[at:], query) if len(data) - at == size else None
                if found is None:
                    return None
                plan = found[0]
            else:
                start = int(length) if length.isdigit() and len(length) < 5 else 0
                if not 0 < start <= min(_KEPT_BYTES, len(data) - at):
                    return None
                plan = self._kept_plan(data[at : at + start], query, size - start)
            sequence, begins, _, _, timeout_us, _ = plan.parameters
            if sequence is not None:
                if served.sessions is None:
                    return None
                if not begins:
                    served.sessions.get(sequence, key)
        except ServeError:  # the request gets this error when the whole body is here
            return None
        group = served.groups.get(key_of(tuple([region.shape for region in plan.inputs])))
        if group is None:
            return None
        most_ns = self._deadline_ns
        return self.scheduler.admission.refusal(
            served, group, most_ns if timeout_us is None else min(most_ns, timeout_us * 1_000), waited_ns
        )

    def _job(self, plan: Plan, frames: tuple[Array, ...], key: str | None) -> Job:
        return addressed(Job(self.served, None, frames, plan.limit_ns(self._deadline_ns), _nothing), plan, key)

    def _read(self, data: bytes, at: int, length: bytes, query: bytes) -> tuple[Plan, tuple[Array, ...]]:
        """Return the plan of a body with a known length of its JSON object, and the inputs. Raises `ServeError`."""
        size = len(data) - at
        if not length.isdigit() or len(length) > 9 or (start := int(length)) > size:
            raise bad(
                f"Inference-Header-Content-Length is {length!r:.40}, expected at most {size}, the length of the body",
                "header",
            )
        if start == 0:
            plan = self._kept_raw(size, query)
        elif start <= _KEPT_BYTES:
            plan = self._kept_plan(data[at : at + start], query, size - start)
        else:
            plan = self._plan(data[at : at + start], query, size - start)
        return plan, take(plan.inputs, data, at + start)

    def _read_json(self, body: bytes, query: bytes) -> tuple[Plan, tuple[Array, ...]]:
        """Return the plan and the inputs of a JSON body. Raises `ServeError`.

        If the body has a single flat list, the plan is cached by the text around the list.
        """
        if (found := self._around(body, query)) is not None:
            plan, flat, region = found
            values = read_json(flat, what=f"input {region.field.name!r}: data", way=AS_BYTES)
            return plan, take(plan.inputs, body, 0, values)
        plan = self._plan(body, query, 0)
        return plan, take(plan.inputs, body, 0)

    def _around(self, body: bytes, query: bytes) -> tuple[Plan, bytes, Region] | None:
        """Return the plan, the list and the input of a request with one flat list; None for any other request."""
        if (found := around(body, _KEPT_BYTES)) is None:
            return None
        plan = self._kept_plan(found[0], query, 0)
        lists = [region for region in plan.inputs if region.data is not None]
        return (plan, found[1], lists[0]) if len(lists) == 1 and not lists[0].data else None

    async def _read_long(self, body: bytes, query: bytes) -> tuple[Plan, tuple[Array, ...]]:
        """Do what `_read_json` does for a long body, whose list is read in parts."""
        if (found := self._around(body, query)) is None:
            return self._read_json(body, query)
        plan, flat, region = found
        return plan, take(plan.inputs, body, 0, await read_list(flat, region.shape, region.field))

    def _plan(self, text: bytes, query: bytes, following: int) -> Plan:
        request = read_request(text, query, self._depth)
        served = self.served
        if request.model not in (None, served.name) or request.version not in (None, "", served.version):
            raise bad(
                f"the request is for model {request.model!r:.80}, version {request.version!r:.40}, its URL for"
                f" {served.name!r}, {served.version!r}",
                "model",
            )
        return plan_of(served, request, following)

    def _plan_raw(self, size: int, query: bytes) -> Plan:
        return Plan("", read_query(query), bind_raw(self.served, size), self._binary)


def _nothing(job: Job) -> None:
    """Do nothing: a placeholder for `Job.done`, which is replaced before the job is submitted."""
