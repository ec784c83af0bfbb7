"""Inference requests as messages: from messages to jobs, and from outputs to messages."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final
from weakref import WeakKeyDictionary

from google.protobuf.message import DecodeError

from fastgru.graph import Array
from fastgru.serve.errors import ServeError
from fastgru.serve.fields import dtype_of
from fastgru.serve.grpc.call import Call
from fastgru.serve.grpc.messages import message
from fastgru.serve.grpc.split import Parts, split
from fastgru.serve.jobs import Job
from fastgru.serve.models import Served
from fastgru.serve.repository import Repository
from fastgru.serve.settings import Settings
from fastgru.serve.v2.frames import take
from fastgru.serve.v2.plan import Outputs, Plan, addressed, plan_of
from fastgru.serve.v2.request import (
    InferRequest,
    Tensor,
    Wanted,
    bad,
    check_name,
    check_shape,
    others_of,
    read_parameters,
)

__all__ = ["InferJob", "Inferences", "id_of", "varint"]

_MOST_HEAD: Final = 1 << 20  # bytes of a request without its raw contents; other requests wait while it is read
_MOST_VALUES: Final = 1 << 17
_KEPT: Final = 1_024  # how many plans are cached: a stream repeats its requests
_KEPT_BYTES: Final = 2_048  # the largest request, without raw contents, whose plan is cached
_SHAPES: Final = 256
# The field of InferTensorContents that has the values of a datatype.
_CONTENTS: Final = {
    "BOOL": "bool_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "INT64": "int64_contents",
    "UINT64": "uint64_contents", **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
}  # fmt: skip
_FINAL: Final = "triton_enable_empty_final_response"


class InferJob(Job):
    """A job of a call. call: waits for the job. plan: the plan of its request."""

    __slots__ = ("_answers", "call", "plan")

    def __init__(
        self, served: Served, frames: tuple[Array, ...], plan: Plan, call: Call, until_ns: int, answers: "_Answers"
    ) -> None:
        super().__init__(served, None, frames, until_ns, _nothing)
        self.plan, self.call, self._answers = plan, call, answers

    def answer(self) -> bytes:
        """Return the outputs as a ModelInferResponse."""
        assert self.outputs is not None
        return self._answers.write(self.plan.id, self.plan.outputs, self.outputs)


class Inferences:
    """Reads requests for any model."""

    def __init__(self, repository: Repository, settings: Settings) -> None:
        self._repository, self._deadline_ns = repository, int(settings.deadline_seconds * 1e9)
        self._of: WeakKeyDictionary[Served, tuple[_Answers, dict[Any, Plan]]] = WeakKeyDictionary()

    def job(self, call: Call, data: bytes, done: Callable[[Any], None]) -> InferJob:
        """Return the job of a ModelInferRequest. Raises `ServeError`."""
        parts = split(data)
        served = self._repository.get(_text(parts.model), _text(parts.version) or None)
        if not served.is_alone:
            served = _of(served, parts, call.identity.key)
        try:
            if not served.is_alone:
                asked = _read(parts.head, parts.raw).parameters
                served = served.of(asked.sequence, call.identity.key, begins=asked.begins)
            return self._job(served, parts, call, done)
        except ServeError as error:
            served.statistics.fail(error.reason)
            raise

    def _job(self, served: Served, parts: Parts, call: Call, done: Callable[[Any], None]) -> InferJob:
        kept = self._of.get(served)
        if kept is None:
            kept = self._of[served] = _Answers(served), {}
        answers, plans = kept
        raw = parts.raw
        key = parts.head, len(raw[0]) if len(raw) == 1 else tuple(map(len, raw))
        plan = plans.get(key)
        if plan is None:
            plan = plan_of(served, _read(parts.head, raw), sum(map(len, raw)))
            if raw and len(parts.head) <= _KEPT_BYTES:
                if len(plans) >= _KEPT:
                    plans.clear()
                plans[key] = plan
        if parts.id:
            plan = plan._replace(id=check_name(_text(parts.id)))
        frames = take(plan.inputs, raw[0] if len(raw) == 1 else b"".join(raw), 0)
        until_ns = plan.limit_ns(self._deadline_ns)
        if call.until_ns is not None:
            until_ns = min(until_ns, call.until_ns)
        job = addressed(InferJob(served, frames, plan, call, until_ns, answers), plan, call.identity.key)
        job.done = done
        return job


def _of(served: Served, parts: Parts, key: str | None) -> Served:
    """Return the model for the request, by its sequence, when several models have this name."""
    try:
        parameters = _read(parts.head, parts.raw).parameters
    except ServeError:
        return served  # `Inferences._job` will refuse the request
    return served.of(parameters.sequence, key, begins=parameters.begins)


class _Answers:
    """Writes the answers of one model, without keeping the model alive."""

    def __init__(self, served: Served) -> None:
        self._name, self._version, self._fields = served.name, served.version, served.outputs
        self._heads = lru_cache(_SHAPES)(self._head)

    def write(self, request_id: str, wanted: Outputs, arrays: tuple[Array, ...]) -> bytes:
        """Return a ModelInferResponse with the wanted outputs."""
        parts = [self._heads(wanted, tuple([arrays[i].shape for i, _ in wanted]))]
        if request_id:
            name = request_id.encode()
            parts += (b"\x1a", varint(len(name)), name)
        for i, _ in wanted:
            raw = arrays[i].tobytes()
            parts += (b"\x32", varint(len(raw)), raw)
        return b"".join(parts)

    def _head(self, wanted: Outputs, shapes: tuple[tuple[int, ...], ...]) -> bytes:
        answer = message("ModelInferResponse")(model_name=self._name, model_version=self._version)
        for (i, _), shape in zip(wanted, shapes, strict=True):
            answer.outputs.add(name=self._fields[i].name, datatype=self._fields[i].datatype, shape=shape)
        made: bytes = answer.SerializeToString()
        return made


def varint(value: int) -> bytes:
    """Return the number as protobuf encodes lengths."""
    if value < 128:
        return b"%c" % value
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)


def id_of(data: bytes) -> str:
    """Return the id of a refused request, or "" if it cannot be read."""
    try:
        return check_name(_text(split(data).id))
    except ServeError:
        return ""


def _read(head: bytes, raw: list[bytes]) -> InferRequest:
    """Read a request from its message, without its id and its raw contents. Raises `ServeError`."""
    if len(head) > _MOST_HEAD:
        raise ServeError(
            413,
            f"got {len(head)} bytes besides raw contents, expected at most {_MOST_HEAD}: send raw_input_contents",
            reason="body",
        )
    try:
        given = message("ModelInferRequest").FromString(head)
    except DecodeError:
        raise bad("the message is not a ModelInferRequest") from None
    parameters = _parameters(given.parameters)
    final = parameters.pop(_FINAL, False)
    if type(final) is not bool:
        raise bad(f"{_FINAL} is {final!r:.80}, expected true or false")
    if "binary_data_output" in parameters:
        raise bad("binary_data_output is only for HTTP: here outputs come in raw_output_contents")
    if raw and len(raw) != len(given.inputs):
        raise bad(f"got {len(raw)} raw_input_contents, expected one for each of {len(given.inputs)} inputs", "inputs")
    inputs = [_tensor(given.inputs[i], raw[i] if raw else None) for i in range(len(given.inputs))]
    outputs = []
    for output in given.outputs:
        if output.parameters:
            raise bad(
                f"output {output.name!r:.80} has the parameters {others_of(output.parameters, ())}, expected none"
            )
        outputs.append(Wanted(output.name, True))
    read = read_parameters(parameters)._replace(binary=True)
    return InferRequest("", read, tuple(inputs), tuple(outputs), given.model_name, given.model_version)


def _tensor(given: Any, raw: bytes | None) -> Tensor:
    name, datatype = given.name, given.datatype
    if given.parameters:
        raise bad(f"input {name!r:.80} has the parameters {others_of(given.parameters, ())}, expected none")
    shape = check_shape(name, given.shape)
    if raw is not None:
        if given.HasField("contents"):
            raise bad(
                f"input {name!r:.80} has contents, but the request has raw_input_contents: send only one of the two"
            )
        return Tensor(name, datatype, shape, len(raw), None)
    dtype_of(datatype)
    wanted = _CONTENTS[datatype]
    for field, values in given.contents.ListFields():
        if field.name != wanted:
            raise bad(f"input {name!r:.80}: got {field.name}, expected {wanted} for {datatype}", "data")
        if len(values) > _MOST_VALUES:
            raise ServeError(
                413,
                f"input {name!r:.80}: got {len(values)} values, expected at most {_MOST_VALUES}: send"
                " raw_input_contents",
                reason="body",
            )
    return Tensor(name, datatype, shape, None, list(getattr(given.contents, wanted)))


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    made = {}
    for name, value in given.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is None:
            raise bad(f"parameter {name!r:.80} has no value")
        made[name] = getattr(value, kind)
    return made


def _text(given: bytes) -> str:
    try:
        return given.decode()
    except UnicodeDecodeError:
        raise bad("a text in the message is not UTF-8") from None


def _nothing(job: Job) -> None:
    """Do nothing: a placeholder for `Job.done`, which `Inferences.job` replaces."""
