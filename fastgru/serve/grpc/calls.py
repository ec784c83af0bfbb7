"""The two calls that run models: a single request, and a stream of requests.

A stream sends its answers in the order of the requests, as Triton does for such models. A refused request is answered
by an error in its place, and the stream goes on; with the header `triton_grpc_error: true`, it ends instead.
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

_MOST: Final = 128  # when this many requests of a stream wait, no more are read until half of them are answered
_MOST_PENDING: Final = 1 << 20  # above this many bytes of unsent answers, no more requests are read
# The parameter {"triton_final_response": true} of a ModelInferResponse, because a request has only one answer.
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
    """Requests and answers, until either side ends the stream.

    The state of a call is its queue of unanswered requests: jobs, and errors that wait for the answers before them.
    """

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
            return  # its answer follows those of the requests before it, or the call is over
        self._go_on(call, line)

    def _go_on(self, call: Call, line: "deque[InferJob | tuple[ServeError, str]]") -> None:
        """Send the answers that are ready."""
        while line and not call.is_over:
            first = line[0]
            if not isinstance(first, tuple) and first.outputs is None and first.error is None:
                break
            line.popleft()  # before sending, which may call this method again
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
    """Send an error in the place of an answer, or as the end of the stream."""
    if call.headers.get(b"triton_grpc_error") == b"true":
        call.refuse(error)
        return
    call.count(error)
    text, name = error.message.encode("utf-8", "replace"), request_id.encode()
    answer = b"\x0a" + varint(len(text)) + text
    if name:
        answer += b"\x12" + varint(len(name) + 1 + len(varint(len(name)))) + b"\x1a" + varint(len(name)) + name
    call.send(answer)
