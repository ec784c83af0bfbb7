"""The reasons for which a job does not run: an error for each case."""

from typing import Final

from fastgru.serve.errors import ServeError
from fastgru.serve.jobs import Job
from fastgru.serve.session import Session

__all__ = [
    "draining",
    "ended",
    "failed_before",
    "late",
    "loaded_anew",
    "no_sequences",
    "not_run",
    "out_of_order",
    "too_early",
    "too_long_an_answer",
    "too_many_bytes",
]

_SOON_S: Final = 0.001


def loaded_anew(name: str) -> ServeError:
    """Return the error for a model that was replaced or unloaded since the request was read."""
    text = f"model {name!r} was loaded again or unloaded while the request was read: send the request again"
    return ServeError(503, text, reason="busy", retry_after_s=_SOON_S)


def no_sequences(name: str, can_open: bool) -> ServeError:
    """Return the error for a sequence of a model without a state. can_open: see `Served`."""
    way = "; its states begin inside its file: start the server with --open-states to keep them" if can_open else ""
    return ServeError(400, f"model {name!r} keeps no state, so it has no sequences{way}", reason="sequence_id")


def draining() -> ServeError:
    """Return the error for a request that comes while the server shuts down."""
    return ServeError(503, "the server is shutting down", reason="draining", retry_after_s=1.0)


def ended(session: Session) -> ServeError:
    """Return the error for a session that has ended."""
    return ServeError(410, f"sequence {session.id!r} has ended: {session.ended}", reason="ended")


def late(cost_ns: float, ahead_ns: float, limit_ns: int, waited_ns: int, waiting: int) -> ServeError:
    """The job would not be done before its deadline.

    cost_ns: the time of the job. ahead_ns: the time of the work before it. limit_ns: the time from the arrival of the
    request to its deadline. waited_ns: how long it may have waited already. waiting: how many jobs are in progress.
    """
    limit, left = max(0, limit_ns), limit_ns - waited_ns
    if cost_ns > limit:
        return ServeError(
            503,
            f"the request would take about {cost_ns / 1e6:.3g} ms, but its deadline is {limit / 1e6:.3g} ms after it"
            " came",
            reason="too_long",
        )
    if left > 0:
        text = (
            f"the request would be ready in about {(ahead_ns + cost_ns) / 1e6:.3g} ms, but its deadline is in"
            f" {left / 1e6:.3g} ms: {waiting} requests are before it"
        )
    else:
        text = (
            f"the server was so busy that it did not read the request for up to {waited_ns / 1e6:.3g} ms, but its"
            f" deadline is {limit / 1e6:.3g} ms after it came"
        )
    again_s = max(_SOON_S, (ahead_ns + cost_ns - limit) / 1e9)
    return ServeError(503, text, reason="overload", retry_after_s=again_s)


def too_many_bytes(job: Job, waiting: int, most: int, ahead_ns: float) -> ServeError:
    """Return the error for a job with which the frames and answers of all jobs would exceed the limit."""
    return ServeError(
        503,
        f"the server already has {waiting} bytes of requests and answers in progress; this request of {job.bytes} bytes"
        f" would exceed the limit of {most}",
        reason="in_flight",
        retry_after_s=max(_SOON_S, ahead_ns / 1e9),
    )


def too_long_an_answer(size: int, most: int) -> ServeError:
    """Return the error for a job whose outputs alone would exceed the limit for all jobs."""
    text = f"the answer would have {size} bytes, more than the limit of {most} for all requests: ask for less at once"
    return ServeError(413, text, reason="answer")


def out_of_order(session: Session, step: int, most_early: int) -> ServeError:
    """Return the error for a step that has already come, or that comes when too many jobs wait for earlier steps."""
    if step < session.next or step in session.early:
        return ServeError(
            409,
            f"step {step} of sequence {session.id!r} has already come; the next step is {session.next}",
            reason="step",
        )
    return ServeError(
        503,
        f"step {step} of sequence {session.id!r} is too early: {most_early} others wait for step {session.next}",
        reason="step",
        retry_after_s=_SOON_S,
    )


def too_early(session: Session, step: int) -> ServeError:
    """Return the error for a job whose earlier steps have not come in time."""
    if session.ended:
        return ended(session)
    text = f"step {step} of sequence {session.id!r} came too early: step {session.next} has not come"
    return ServeError(503, text, reason="step", retry_after_s=_SOON_S)


def failed_before(session: Session, step: int) -> ServeError:
    """Return the error for a job that would run as another step than it names, because the step before has failed."""
    text = f"step {step} of sequence {session.id!r} cannot be run: step {session.step} has failed"
    return ServeError(409, text, reason="step")


def not_run(job: Job, now_ns: int) -> ServeError:
    """Return the error for a job that was cancelled, or whose deadline has passed."""
    if job.cancelled:
        return ServeError(499, "the client has closed the connection", reason="cancelled")
    text = f"the deadline of the request passed {(now_ns - job.deadline_ns) / 1e6:.3g} ms before it could run"
    return ServeError(503, text, reason="deadline", retry_after_s=_SOON_S)
