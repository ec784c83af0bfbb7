"""Hosts and origins: what a browser may be made to ask, and what it may read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("orjson", reason="needs the extra serve")

from fastgru.serve.errors import ServeError
from fastgru.serve.origin import Cors, Origins, is_local_host
from fastgru.serve.settings import Settings


def status(settings: Settings, host: str, origin: str | None = None) -> int:
    """200 where it may ask; asked twice, because answers are remembered."""
    origins = Origins(settings)
    found = set()
    for _ in range(2):
        try:
            origins.check(host.encode("latin-1"), None if origin is None else origin.encode("latin-1"))
            found.add(200)
        except ServeError as error:
            found.add(error.status)
    (only,) = found
    return only


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("localhost.", 200),
        ("a.localhost:1", 200),
        ("127.0.0.1:8000", 200),
        ("127.8.8.8", 200),
        ("[::1]:8000", 200),
        ("evil.com", 421),
        ("localhost.evil.com", 421),
        ("127.0.0.1.evil.com", 421),
        ("evillocalhost", 421),
        ("192.168.0.1", 421),
        ("0.0.0.0", 421),
        ("[::]", 421),
        ("", 400),
        ("localhost:x", 400),
        ("localhost@evil.com", 400),
        ("evil.com#localhost", 400),
        ("localhost, evil.com", 400),
        ("\xff", 421),
    ],
)
def test_on_loopback_the_host_is_local(host: str, expected: int) -> None:
    assert status(Settings(), host) == expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, 200),
        ("http://localhost:3000", 200),
        ("https://127.0.0.1", 200),
        ("http://[::1]:8000", 200),
        ("http://evil.com", 403),
        ("http://localhost.evil.com", 403),
        ("http://localhost@evil.com", 403),
        ("null", 403),
        ("", 403),
        ("file://", 403),
        ("chrome-extension://abc", 403),
        ("http://[", 403),
        ("javascript://localhost", 403),
    ],
)
def test_on_loopback_pages_are_local(origin: str | None, expected: int) -> None:
    assert status(Settings(), "localhost:8000", origin) == expected


def test_what_is_allowed_may_ask_and_be_asked_for() -> None:
    settings = Settings(allow_origin=("https://app.example.org:8443", "chrome-extension://abc"))
    assert status(settings, "localhost", "https://app.example.org:8443") == 200
    assert status(settings, "localhost", "chrome-extension://abc") == 200
    assert status(settings, "app.example.org", None) == 200
    assert status(settings, "app.example.org:1", "https://app.example.org:8443") == 200
    assert status(settings, "localhost", "https://app.example.org") == 403
    assert status(settings, "example.org") == 421
    everything = Settings(allow_origin=("*",))
    assert status(everything, "evil.com", "https://evil.com") == 200


def test_a_server_that_others_reach_answers_pages_of_its_own_site(tmp_path: Path) -> None:
    for settings in (Settings(host="0.0.0.0", insecure=True), Settings(unix=tmp_path / "a")):
        assert status(settings, "gru.example.org") == 200
        assert status(settings, "gru.example.org:8000", "http://gru.example.org:8000") == 200
        assert status(settings, "gru.example.org", "https://evil.com") == 403
        assert status(settings, "gru.example.org", "http://localhost") == 403


def test_what_is_remembered_has_a_bound() -> None:
    origins = Origins(Settings())
    for n in range(2000):
        origins.check(b"a%d.localhost" % n, None)
    assert len(origins._known) <= 256


def test_names_that_only_look_local() -> None:
    assert not is_local_host("2130706433")
    assert not is_local_host("0x7f000001")
    assert not is_local_host("localhost.localdomain")
    assert is_local_host("::1")


def call(settings: Settings, method: str, *headers: tuple[bytes, bytes]) -> tuple[int, dict[bytes, bytes]]:
    """Status and headers of the answer of an application that says 200 with a length."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    cors: Any = Cors(app, settings)  # type: ignore[arg-type]
    asyncio.run(cors({"type": "http", "method": method, "path": "/", "headers": list(headers)}, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], dict(sent[0]["headers"])


ALLOWED = Settings(allow_origin=("https://a.org",))


def test_a_preflight_is_answered() -> None:
    asked = (b"access-control-request-method", b"POST"), (b"access-control-request-headers", b"content-type, x-api-key")
    status, headers = call(ALLOWED, "OPTIONS", (b"origin", b"https://a.org"), *asked)
    assert status == 204
    assert headers[b"access-control-allow-origin"] == b"https://a.org"
    assert b"POST" in headers[b"access-control-allow-methods"]
    assert headers[b"access-control-allow-headers"] == b"content-type, x-api-key"
    assert headers[b"vary"] == b"Origin"
    assert call(ALLOWED, "OPTIONS", (b"origin", b"https://b.org"), *asked) == (200, {b"content-length": b"0"})


def test_pages_of_allowed_origins_read_the_answer() -> None:
    status, headers = call(ALLOWED, "POST", (b"origin", b"https://a.org"))
    assert (status, headers[b"access-control-allow-origin"]) == (200, b"https://a.org")
    assert b"inference-header-content-length" in headers[b"access-control-expose-headers"]
    assert headers[b"content-length"] == b"0"
    for origin in ((b"origin", b"https://b.org"), (b"accept", b"*/*")):
        assert call(ALLOWED, "POST", origin) == (200, {b"content-length": b"0"})
    assert call(Settings(allow_origin=("*",)), "GET", (b"origin", b"https://b.org"))[1][b"vary"] == b"Origin"
