"""The plan of an inference request: its meaning for the model, whichever protocol it came by."""

import time
from typing import NamedTuple, TypeVar

from fastgru.serve.jobs import Job
from fastgru.serve.models import Served
from fastgru.serve.refusals import loaded_anew, no_sequences
from fastgru.serve.v2.frames import Region, bind
from fastgru.serve.v2.request import InferRequest, Parameters, bad

__all__ = ["Outputs", "Plan", "addressed", "plan_of"]

Outputs = tuple[tuple[int, bool], ...]  # the index of each output of the model, and whether it is sent as bytes
J = TypeVar("J", bound=Job)


class Plan(NamedTuple):
    """The meaning of a request. inputs: in the order of the model's inputs."""

    id: str
    parameters: Parameters
    inputs: tuple[Region, ...]
    outputs: Outputs

    def limit_ns(self, most_ns: int) -> int:
        """Return the deadline by `time.monotonic_ns`. most_ns: the time that the server allows."""
        timeout_us = self.parameters.timeout_us
        return time.monotonic_ns() + (most_ns if timeout_us is None else min(most_ns, timeout_us * 1_000))


def plan_of(served: Served, request: InferRequest, following: int) -> Plan:
    """Return the plan of a request. following: the bytes of inputs outside the request. Raises `ServeError`, 400."""
    inputs = bind(served, request, following)
    if not request.outputs:
        outputs = tuple([(i, request.parameters.binary) for i in range(len(served.outputs))])
        return Plan(request.id, request.parameters, inputs, outputs)
    names = [field.name for field in served.outputs]
    wanted = {output.name: output.binary for output in request.outputs}
    if len(wanted) < len(request.outputs) or not wanted.keys() <= {*names}:
        asked = ", ".join(f"{output.name!r:.80}" for output in request.outputs[:8])
        raise bad(f"got outputs {asked}, expected outputs of model {served.name!r}: {', '.join(names)}", "outputs")
    outputs = tuple([(names.index(name), binary) for name, binary in wanted.items()])
    return Plan(request.id, request.parameters, inputs, outputs)


def addressed(job: J, plan: Plan, key: str | None) -> J:
    """Return the job after setting its session, to the one that the request names among the sessions of `key`.

    Its model must be the one that `Served.of` returns for the sequence. Raises `ServeError`.
    """
    served, (sequence, begins, ends, step, _, _) = job.served, plan.parameters
    if sequence is not None:
        if served.sessions is None:
            raise no_sequences(served.name, served.can_open)
        sessions, numbered = served.sessions, step is not None
        job.session = sessions.anew(sequence, key) if begins else sessions.get(sequence, key, numbered=numbered)
    if not served.is_loaded or (job.session is not None and job.session.home is not served):
        raise loaded_anew(served.name)
    job.begins, job.ends, job.step = begins, ends, step
    return job
