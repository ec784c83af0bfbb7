"""The methods of `inference.GRPCInferenceService` and of gRPC's own health check, by path."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError

import fastgru
from fastgru.serve.app import Identity, internal
from fastgru.serve.errors import ServeError
from fastgru.serve.grpc.call import Call, Method
from fastgru.serve.grpc.calls import ModelInfer, ModelStreamInfer
from fastgru.serve.grpc.infer import Inferences
from fastgru.serve.grpc.messages import message
from fastgru.serve.grpc.methods import NOT_HERE
from fastgru.serve.repository import Repository
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.settings import Settings
from fastgru.serve.v2 import repository
from fastgru.serve.v2.metadata import model_config, model_metadata, model_statistics, server_metadata
from fastgru.serve.v2.request import bad

__all__ = ["Service"]

Make = Callable[[Any, Identity], dict[str, Any] | Awaitable[dict[str, Any]]]

_SERVICE: Final = "/inference.GRPCInferenceService/"
_HEALTH: Final = "/grpc.health.v1.Health/"
_SERVING, _NOT_SERVING = 1, 2
_PATHS: Final = 256  # how many unknown paths are cached
_log = logging.getLogger("fastgru.serve")


class Service:
    """The methods, over the models and the scheduler of a server. is_ready: returns whether new requests are taken."""

    def __init__(
        self, models: Repository, scheduler: Scheduler, settings: Settings, is_ready: Callable[[], bool]
    ) -> None:
        self._models, self._scheduler, self._settings, self._is_ready = models, scheduler, settings, is_ready
        self._tasks: set[asyncio.Task[None]] = set()
        inferences = Inferences(models, settings)
        simple: dict[str, Make] = {
            "ServerLive": lambda request, identity: {"live": True},
            "ServerReady": lambda request, identity: {"ready": is_ready()},
            "ModelReady": lambda request, identity: {"ready": self._is_loaded(request)},
            "ServerMetadata": lambda request, identity: server_metadata(fastgru.__version__),
            "ModelMetadata": lambda request, identity: model_metadata(self._served(request)),
            "ModelConfig": lambda request, identity: {
                "config": model_config(self._served(request), settings.idle_seconds)
            },
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        self._methods: dict[bytes, Method] = {
            f"{_SERVICE}{name}".encode(): _Unary(self._run, make, f"{name}Request", f"{name}Response")
            for name, make in simple.items()
        }
        self._methods[f"{_SERVICE}ModelInfer".encode()] = ModelInfer(inferences, scheduler)
        self._methods[f"{_SERVICE}ModelStreamInfer".encode()] = ModelStreamInfer(inferences, scheduler)
        self._methods[f"{_HEALTH}Check".encode()] = _Unary(
            self._run, self._health, "HealthCheckRequest", "HealthCheckResponse"
        )
        self._absent = lru_cache(_PATHS)(_absent)

    def find(self, path: bytes) -> Method:
        """Return the method of this path, or one that refuses every call."""
        return self._methods.get(path) or self._absent(path)

    def _served(self, request: Any) -> Any:
        return self._models.get(request.name, request.version or None)

    def _is_loaded(self, request: Any) -> bool:
        """Return whether the model is loaded. As with Triton, an unknown model is not ready, rather than an error."""
        try:
            self._served(request)
        except ServeError:
            return False
        return True

    def _statistics(self, request: Any, identity: Identity) -> dict[str, Any]:
        models = [self._served(request)] if request.name else self._models
        return {"model_stats": [model_statistics(served) for served in models]}

    def _index(self, request: Any, identity: Identity) -> dict[str, Any]:
        _one_repository(request)
        return {"models": repository.index(self._models, request.ready)}

    async def _load(self, request: Any, identity: Identity) -> dict[str, Any]:
        _one_repository(request)
        await repository.load(self._models, self._scheduler, request.model_name, identity, _parameters(request))
        return {}

    async def _unload(self, request: Any, identity: Identity) -> dict[str, Any]:
        _one_repository(request)
        await repository.unload(self._models, request.model_name, identity, _parameters(request))
        return {}

    def _health(self, request: Any, identity: Identity) -> dict[str, Any]:
        if request.service not in ("", _SERVICE[1:-1]):
            raise ServeError(404, f"the service {request.service!r:.160} does not exist", reason="path")
        return {"status": _SERVING if self._is_ready() else _NOT_SERVING}

    def _run(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Unary:
    """A method with one message and one answer. An answer that takes long is awaited in a task."""

    is_stream = False

    def __init__(self, run: Callable[[Awaitable[None]], None], make: Make, request: str, response: str) -> None:
        self._run, self._make, self._request, self._response = run, make, request, response
        self.is_health = request in ("ServerLiveRequest", "ServerReadyRequest", "HealthCheckRequest")

    def message(self, call: Call, data: bytes) -> None:
        """See `call.Method`."""
        try:
            try:
                request = message(self._request).FromString(data)
            except DecodeError:
                raise bad(f"the message is not a {self._request}") from None
            made = self._make(request, call.identity)
            if isinstance(made, dict):
                self._answer(call, made)
            else:
                self._run(self._wait(call, made))
        except ServeError as error:
            call.refuse(error)

    async def _wait(self, call: Call, made: Awaitable[dict[str, Any]]) -> None:
        try:
            self._answer(call, await made)
        except ServeError as error:
            call.refuse(error)
        except Exception:
            _log.exception("a call has failed")
            call.refuse(internal())

    def _answer(self, call: Call, made: dict[str, Any]) -> None:
        answer = ParseDict(made, message(self._response)(), ignore_unknown_fields=True)
        call.finish(answer.SerializeToString())

    def sent(self, call: Call) -> None:
        """See `call.Method`."""

    def end(self, call: Call) -> None:
        """See `call.Method`."""

    def cancel(self, call: Call) -> None:
        """See `call.Method`."""

    def drain(self, call: Call) -> None:
        """See `call.Method`."""


class _Absent(_Unary):
    """A method that is not implemented. It refuses every call, and names an alternative if there is one."""

    def __init__(self, text: str) -> None:
        self._text, self.is_health = text, False

    def message(self, call: Call, data: bytes) -> None:
        """See `call.Method`."""
        call.refuse(ServeError(405, self._text, reason="method"))


def _absent(path: bytes) -> Method:
    text = path.decode("latin-1")
    name = text.removeprefix(_SERVICE)
    if name in NOT_HERE:
        return _Absent(f"this server does not implement {name}: {NOT_HERE[name]}")
    return _Absent(f"the method {text!r:.200} does not exist")


def _one_repository(request: Any) -> None:
    if request.repository_name:
        raise ServeError(405, "repository_name must be empty, because the server has one repository", reason="method")


def _parameters(request: Any) -> dict[str, Any]:
    """Return the values of the parameters, None for a parameter without a value."""
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "", None)
        for name, value in request.parameters.items()
    }
