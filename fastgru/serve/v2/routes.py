"""All endpoints of the protocol, by path."""

from collections.abc import Awaitable, Callable
from typing import Any

import fastgru
from fastgru.serve.app import Answer, Handler, Request, json_answer
from fastgru.serve.models import Served
from fastgru.serve.repository import Repository
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.settings import Settings
from fastgru.serve.text import read_json
from fastgru.serve.v2 import repository, sequences
from fastgru.serve.v2.again import Again
from fastgru.serve.v2.infer import Inference
from fastgru.serve.v2.metadata import model_config, model_metadata, model_statistics, server_metadata
from fastgru.serve.v2.request import bad

__all__ = ["Protocol"]


class Protocol:
    """The Open Inference Protocol over a repository and a scheduler. is_ready: returns whether requests are taken."""

    def __init__(
        self, models: Repository, scheduler: Scheduler, settings: Settings, is_ready: Callable[[], bool]
    ) -> None:
        self._repository, self._scheduler, self._settings, self._is_ready = models, scheduler, settings, is_ready
        self._inferences: dict[str, Inference] = {}

    def routes(self) -> dict[str, Handler]:
        """Return the routes for `Application`."""
        of_model = {
            "GET ": self._of_model(lambda served: model_metadata(served)),
            "GET /ready": self._of_model(lambda served: {"name": served.name, "ready": True}),
            "GET /config": self._of_model(lambda served: model_config(served, self._settings.idle_seconds)),
            "GET /stats": self._of_model(lambda served: {"model_stats": [model_statistics(served)]}),
            "POST /infer": self._infer,
        }
        of_sequence = {
            "GET ": sequences.show,
            "DELETE ": sequences.end,
            "GET /state": sequences.save,
            "PUT /state": sequences.load,
            "POST /fork": sequences.fork,
            "POST /reset": sequences.reset,
        }
        routes: dict[str, Handler] = {
            "GET /v2": _fixed(lambda: server_metadata(fastgru.__version__)),
            "GET /v2/health/live": _fixed(lambda: {"live": True}),
            "GET /v2/health/ready": self._ready,
            "GET /v2/models/stats": self._statistics,
            "POST /v2/repository/index": self._index,
            "POST /v2/repository/models/{model}/load": self._load,
            "POST /v2/repository/models/{model}/unload": self._unload,
            "GET /v2/models/{model}/sequences": self._of_sequences(sequences.index),
        }
        for end, handler in of_model.items():
            method, _, path = end.partition(" ")
            for version in ("", "/versions/{version}"):
                routes[f"{method} /v2/models/{{model}}{version}{path}"] = handler
        for end, of_one in of_sequence.items():
            method, _, path = end.partition(" ")
            routes[f"{method} /v2/models/{{model}}/sequences/{{id}}{path}"] = self._of_sequences(of_one)
        return routes

    def _served(self, request: Request) -> Served:
        return self._repository.get(request.names["model"], request.names.get("version"))

    def _of_model(self, make: Callable[[Served], Any]) -> Handler:
        async def handle(request: Request) -> Answer:
            return json_answer(make(self._served(request)))

        return handle

    def _of_sequences(self, make: Callable[[Served, Request], Awaitable[Answer]]) -> Handler:
        async def handle(request: Request) -> Answer:
            return await make(self._served(request), request)

        return handle

    def _infer(self, request: Request) -> Awaitable[Answer]:
        served = self._served(request)
        inference = self._inferences.get(served.name)
        if inference is None or inference.served is not served:
            inference = self._inferences[served.name] = Inference(served, self._scheduler, self._settings)
        if request.offer is not None:
            request.offer(Again(inference, request))
        return inference.answer(request)

    async def _ready(self, request: Request) -> Answer:
        ready = self._is_ready()
        return json_answer({"ready": ready}, 200 if ready else 503)

    async def _statistics(self, request: Request) -> Answer:
        return json_answer({"model_stats": [model_statistics(served) for served in self._repository]})

    async def _index(self, request: Request) -> Answer:
        """List the models; the body {"ready": true} asks for only those that are served."""
        given = await _object(request, "ready")
        only = given.get("ready", False)
        if type(only) is not bool:
            raise bad(f"ready is {only!r:.80}, expected true or false")
        return json_answer(repository.index(self._repository, only))

    async def _load(self, request: Request) -> Answer:
        """Read again the file that was named at the start; the current model serves until that is done."""
        name, parameters = request.names["model"], await _parameters(request)
        await repository.load(self._repository, self._scheduler, name, request.identity, parameters)
        return json_answer({})

    async def _unload(self, request: Request) -> Answer:
        name = request.names["model"]
        await repository.unload(self._repository, name, request.identity, await _parameters(request))
        self._inferences.pop(name, None)
        return json_answer({})


def _fixed(make: Callable[[], Any]) -> Handler:
    async def handle(request: Request) -> Answer:
        return json_answer(make())

    return handle


async def _parameters(request: Request) -> Any:
    return (await _object(request, "parameters")).get("parameters", {})


async def _object(request: Request, *members: str) -> dict[str, Any]:
    """Return the JSON object of an optional body, which may only have these members. Raises `ServeError`, 400."""
    body = await request.body()
    given = read_json(body, what="the request") if body else {}
    if type(given) is not dict or not given.keys() <= {*members}:
        raise bad(f"the request is {given!r:.160}, expected an object with {', '.join(members)} or nothing")
    return given
