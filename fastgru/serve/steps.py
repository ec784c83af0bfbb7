"""Steps on disk: the steps of a push are recorded before they are answered, and the last answer can be repeated."""

from collections.abc import Sequence

from fastgru.graph import Array
from fastgru.serve.durable.keeper import Keeper
from fastgru.serve.errors import ServeError
from fastgru.serve.jobs import Job

__all__ = ["kept_answer", "record"]


def record(keeper: Keeper, jobs: Sequence[Job]) -> None:
    """Record the jobs of one push. A job that cannot be recorded fails, and its session is as it was before."""
    recorded = []
    for job in jobs:
        session, outputs = job.session, job.outputs
        if session is None or outputs is None or session.ended:
            continue
        try:
            pool = job.served.pool
            assert pool is not None
            step = 1 if job.begins else session.step + 1
            if job.ends and job.step is not None:
                keeper.finish(session, pool, step, outputs)
            else:
                keeper.record(session, pool, step, outputs)
        except ServeError as error:
            job.outputs, job.error = None, error
        else:
            recorded.append(job)
    try:
        keeper.sync()
    except ServeError as error:
        for job in recorded:
            if job.session is not None and job.served.pool is not None:
                keeper.undo(job.session, job.served.pool)
            job.outputs, job.error = None, error


def kept_answer(job: Job) -> tuple[Array, ...] | None:
    """Return the kept answer for a job that repeats the last step of its session, or None if there is none."""
    keeper, session = job.served.keeper, job.session
    if keeper is None or session is None or job.begins or job.step is None or job.step != session.step - 1:
        return None
    return keeper.answer(session)
