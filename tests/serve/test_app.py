"""The ASGI application: paths, limits, errors, and that nothing of an error leaves the process but its sentence."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest

pytest.importorskip("orjson", reason="needs the extra 'serve'")

from asgi import Reply, call

from fastgru.serve.app import Answer, Application, Identity, Request, json_answer
from fastgru.serve.errors import ServeError


async def _echo(request: Request) -> Answer:
    body = await request.body()
    return json_answer({"names": dict(request.names), "size": len(body), "key": request.identity.key})


async def _fails(request: Request) -> Answer:
    raise RuntimeError("a secret of the server")


async def _refuses(request: Request) -> Answer:
    raise ServeError(503, "too much to do", reason="busy", retry_after_s=0.25)


def app(**more: Any) -> Application:
    routes = {
        "GET /things/stats": _fails,
        "POST /things/{name}": _echo,
        "GET /things/{name}": _echo,
        "POST /things/{name}/of/{owner}": _echo,
        "GET /fails": _fails,
        "GET /refuses": _refuses,
    }
    return Application(routes, {}, body_limit=8, **more)


def ask(*arguments: Any, given: dict[str, Any] | None = None, **more: Any) -> Reply:
    return asyncio.run(call(app(**given or {}), *arguments, **more))


def test_names_of_a_path_are_unquoted_each_for_itself() -> None:
    assert ask("POST", "/things/a%2Fb%20%C3%A9/of/%ff").json["names"] == {
        "name": "a/b é",
        "owner": "\N{REPLACEMENT CHARACTER}",
    }
    assert ask("POST", "/things/a", scope={"raw_path": None, "path": "/things/é"}).json["names"] == {"name": "é"}


@pytest.mark.parametrize(
    "path", ["/", "/things", "/things/", "/things/a/", "/things/a/of", "//things/a", "/things//of/b"]
)
def test_a_path_that_is_none_is_404(path: str) -> None:
    reply = ask("POST", path)
    assert reply.status == 404
    assert reply.json["reason"] == "path"


def test_a_path_without_a_name_goes_before_one_with_names() -> None:
    assert ask("GET", "/things/stats").status == 500
    assert ask("GET", "/things/other").status == 200


def test_a_long_path_is_414() -> None:
    assert ask("GET", "/things/" + "a" * 5_000).status == 414


def test_another_method_is_405_and_says_which_there_are() -> None:
    reply = ask("DELETE", "/things/a")
    assert (reply.status, reply.headers["allow"]) == (405, "POST, GET, HEAD")


def test_head_is_get_without_its_body_which_the_connection_leaves_out() -> None:
    assert ask("HEAD", "/things/a").json == ask("GET", "/things/a").json


def test_the_path_of_a_websocket_says_what_it_is() -> None:
    async def stream(*_: Any) -> None: ...

    application = Application({}, {"/stream/{model}": stream})
    reply = asyncio.run(call(application, "GET", "/stream/a"))
    assert (reply.status, reply.headers["upgrade"], reply.json["reason"]) == (426, "websocket", "upgrade")
    assert asyncio.run(call(application, "POST", "/stream/a")).headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("parts", [[b"123456789"], [b"1234", b"56789"], [b"1"] * 9])
def test_a_body_above_the_limit_is_413_and_the_connection_ends(parts: list[bytes]) -> None:
    reply = ask("POST", "/things/a", parts)
    assert (reply.status, reply.headers["connection"]) == (413, "close")
    assert ask("POST", "/things/a", parts[:-1] or [b"12345678"]).json["size"] == sum(map(len, parts[:-1])) or 8


def test_a_body_in_parts_is_put_together() -> None:
    assert ask("POST", "/things/a", [b"123", b"", b"45678"]).json["size"] == 8


def test_a_compressed_body_is_415() -> None:
    assert ask("POST", "/things/a", b"x", {"Content-Encoding": "gzip"}).status == 415
    assert ask("POST", "/things/a", b"x", {"Content-Encoding": "identity"}).status == 200


def test_a_client_that_goes_is_no_error_of_the_server() -> None:
    assert ask("POST", "/things/a", [b"123"], gone=True).status == 499


def test_what_fails_says_nothing_to_the_client_and_everything_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "fastgru.serve"):
        reply = ask("GET", "/fails")
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert b"Traceback" not in reply.body
    assert "a secret of the server" in caplog.text


def test_a_refusal_says_when_to_come_again_and_is_counted() -> None:
    reasons: list[str] = []
    reply = ask("GET", "/refuses", given={"refused": lambda reason, what: reasons.append(reason)})
    assert (reply.status, reply.headers["retry-after"], reply.json["retry_after_s"]) == (503, "1", 0.25)
    assert reply.json["error"] == "too much to do"
    assert reasons == ["busy"]


def test_who_may_not_is_refused_before_anything_is_looked_at() -> None:
    def authorize(scope: Any) -> Identity:
        if scope["headers"]:
            return Identity("alice")
        raise ServeError(401, "a key is needed", reason="key")

    reply = ask("GET", "/nowhere", given={"authorize": authorize})
    assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert ask("GET", "/things/a", b"", {"x": "y"}, given={"authorize": authorize}).json["key"] == "alice"


def _socket(found: Any, path: str = "/stream/a") -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": path, "raw_path": path.encode(), "headers": [], "query_string": b""}
    asyncio.run(Application({}, {"/stream/{model}": found})({**scope, "extensions": {}}, receive, send))
    asyncio.run(
        Application({}, {"/stream/{model}": found})(
            {**scope, "extensions": {"websocket.http.response": {}}}, receive, send
        )
    )
    return sent


def test_websockets_go_to_their_handlers() -> None:
    async def stream(scope: Any, receive: Any, send: Any, names: Any, identity: Identity) -> None:
        await send({"names": dict(names), "identity": identity})

    assert _socket(stream) == [{"names": {"model": "a"}, "identity": Identity()}] * 2
    refused = _socket(stream, "/nowhere")
    assert refused[0]["type"] == "websocket.close"
    assert (refused[1]["type"], refused[1]["status"]) == ("websocket.http.response.start", 404)


def test_a_websocket_whose_handler_fails_is_closed_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    async def stream(*_: Any) -> None:
        raise RuntimeError("a secret")

    with caplog.at_level(logging.ERROR, "fastgru.serve"):
        assert _socket(stream) == [{"type": "websocket.close", "code": 1011}] * 2
    assert "a secret" in caplog.text


def test_the_application_lives_as_long_as_its_server() -> None:
    happened: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan() -> Any:
        happened.append("begins")
        yield
        happened.append("ends")

    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        happened.append(message["type"])

    asyncio.run(app(lifespan=lifespan)({"type": "lifespan"}, receive, send))
    assert happened == ["begins", "lifespan.startup.complete", "ends", "lifespan.shutdown.complete"]
