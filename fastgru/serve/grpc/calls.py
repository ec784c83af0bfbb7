"""The two calls that run models: one request, and a stream of them.

A stream gives its answers in the order of the requests, as Triton's does for such models. A request that is refused is
answered by an error in its place, and the stream goes on; with the header `triton_grpc_error: true` it ends instead.
"""

from collections import deque
from typing import Final

from fastgru.serve.app import internal
from fastgru.serve.errors import ServeError
from fastgru.serve.grpc.call import Call
from fastgru.serve.grpc.infer import Inferences, InferJob, id_of, varint
from fastgru.serve.refusals import draining
from fastgru.serve.scheduler import Scheduler

__all__ = ["ModelInfer", "ModelStreamInfer"]

_MOST: Final = 128  # requests of a stream that wait; no more are read until half of them are answered
_MOST_PENDING: Final = 1 << 20  # bytes of answers that the client does not take; no more are read until it does
# Of ModelInferResponse: {"triton_final_response": true} among the parameters, as every answer is the only one.
_FINAL: Final = b"\x22\x1b\x0a\x15triton_final_response\x12\x02\x08\x01"


class ModelInfer:
    """One request, one answer."""

    is_stream = is_health = False

    def __init__(self, inferences: Inferences, scheduler: Scheduler) -> None:
        self._inferences, self._scheduler = inferences, scheduler

    def message(self, call: Call, data: bytes) -> None:
        """See `call.Method`."""
        try:
            call.state = job = self._inferences.job(call, data, self._done)
            self._scheduler.submit(job, at_once=True)
        except ServeError as error:
            call.refuse(error)

    @staticmethod
    def _done(job: InferJob) -> None:
        if job.outputs is None:
            job.call.refuse(job.error or internal())
        else:
            job.call.finish(job.answer())

    def sent(self, call: Call) -> None:
        """See `call.Method`."""

    def end(self, call: Call) -> None:
        """See `call.Method`."""

    def cancel(self, call: Call) -> None:
        """See `call.Method`."""
        if call.state is not None:
            call.state.cancel()

    def drain(self, call: Call) -> None:
        """See `call.Method`."""


class ModelStreamInfer:
    """Requests and answers, until either side ends it. The state of a call is the line of those not answered yet:
    jobs, and answers that wait for those before them."""

    is_stream, is_health = True, False

    def __init__(self, inferences: Inferences, scheduler: Scheduler) -> None:
        self._inferences, self._scheduler = inferences, scheduler

    def message(self, call: Call, data: bytes) -> None:
        """See `call.Method`."""
        line = _line(call)
        job: InferJob | None = None
        try:
            job = self._inferences.job(call, data, self._done)
            line.append(job)
            if len(line) >= _MOST or len(call.pending) > _MOST_PENDING:
                call.pause()
            self._scheduler.submit(job, at_once=True)
        except ServeError as error:
            if job is not None:
                line.pop()
            line.append((error, id_of(data)))
            self._go_on(call, line)

    def _done(self, job: InferJob) -> None:
        call = job.call
        line = _line(call)
        if call.is_over or not line or line[0] is not job:
            return  # it is told when those before it are, or to nobody
        self._go_on(call, line)

    def _go_on(self, call: Call, line: "deque[InferJob | tuple[ServeError, str]]") -> None:
        """Answer what is ready."""
        while line and not call.is_over:
            first = line[0]
            if not isinstance(first, tuple) and first.outputs is None and first.error is None:
                break
            line.popleft()  # first of all: to send may be to go on with those behind it
            if isinstance(first, tuple):
                _refuse(call, *first)
            elif first.outputs is not None:
                answer = first.answer() + _FINAL
                call.send(b"\x12" + varint(len(answer)) + answer)
            elif first.error is not None:
                _refuse(call, first.error, first.plan.id)
        if call.is_over:
            self.cancel(call)
        elif call.is_paused and len(line) <= _MOST // 2 and len(call.pending) <= _MOST_PENDING:
            call.resume()
        elif not line and call.is_whole:
            call.finish()

    def sent(self, call: Call) -> None:
        """See `call.Method`."""
        self._go_on(call, _line(call))

    def end(self, call: Call) -> None:
        """See `call.Method`."""
        if not _line(call):
            call.finish()

    def cancel(self, call: Call) -> None:
        """See `call.Method`."""
        for job in _line(call):
            if isinstance(job, InferJob):
                job.cancel()

    def drain(self, call: Call) -> None:
        """See `call.Method`."""
        call.refuse(draining())
        self.cancel(call)


def _line(call: Call) -> "deque[InferJob | tuple[ServeError, str]]":
    if call.state is None:
        call.state = deque()
    line: deque[InferJob | tuple[ServeError, str]] = call.state
    return line


def _refuse(call: Call, error: ServeError, request_id: str) -> None:
    """In the place of an answer, or as the end of the stream."""
    if call.headers.get(b"triton_grpc_error") == b"true":
        call.refuse(error)
        return
    call.count(error)
    text, name = error.message.encode("utf-8", "replace"), request_id.encode()
    answer = b"\x0a" + varint(len(text)) + text
    if name:
        answer += b"\x12" + varint(len(name) + 1 + len(varint(len(name)))) + b"\x1a" + varint(len(name)) + name
    call.send(answer)
