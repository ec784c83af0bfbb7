"""The page's files, and the overview that it is made of; `test_page_in_browser.py` drives it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
pytest.importorskip("orjson", reason="not installed: the extra `serve`")
pytest.importorskip("prometheus_client", reason="not installed: the extra `serve`")

from asgi import Reply, call, run
from protocol_models import stateful, stateless
from rawserver import serving
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from fastgru.serve.assembly import Assembly
from fastgru.serve.handshake import Handshake
from fastgru.serve.settings import Settings

HERE = {"Host": "localhost"}
STATEFUL, STATELESS = stateful(), stateless()
NAMES = sorted(
    path.name for path in files("fastgru.serve.page").iterdir() if path.name.endswith(("html", "css", "js", "svg"))
)
Ask = Callable[..., Awaitable[Reply]]


def ask(work: Callable[[Ask, Assembly], Awaitable[Any]], **options: Any) -> Any:
    """What `work` gives, with a server of two models to ask."""

    async def served() -> Any:
        assembly = Assembly({"frames": STATEFUL, "ratio": STATELESS}, Settings(**{"capacity": 300, **options}))
        assembly.scheduler.start(assembly.repository)
        assembly.is_ready = True

        async def one(method: str, path: str, body: Any = b"", **headers: str) -> Reply:
            return await call(assembly.app, method, path, body, HERE | headers)

        try:
            return await work(one, assembly)
        finally:
            await assembly.drain(1.0)

    return run(served())


@cache
def idle() -> Assembly:
    return Assembly({"frames": STATEFUL, "ratio": STATELESS}, Settings(capacity=64))


def get(path: str, **headers: str) -> Reply:
    """Of a server that nobody else asks, and that has not begun."""

    async def one() -> Reply:
        return await call(idle().app, "GET", path, headers=HERE | headers)

    return run(one())


def frame(columns: int = 8) -> Any:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, columns], "data": [0.5] * columns}]}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    lines = [f"{name} {role} {hashlib.sha256(f'key of {name}'.encode()).hexdigest()}" for name, role in
             (("ann", "user"), ("bob", "user"), ("root", "admin"))]  # fmt: skip
    path.write_text("\n".join(lines))
    return path


# The files.


@pytest.mark.parametrize("path", ["/", *[f"/page/{name}" for name in NAMES]])
def test_a_file_says_what_it_is_and_that_nothing_else_may_be_asked(path: str) -> None:
    reply = get(path)
    assert reply.status == 200
    kinds = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}
    assert reply.headers["content-type"].startswith(kinds[path.rpartition(".")[2] if path != "/" else "html"])
    assert reply.headers["x-content-type-options"] == "nosniff"
    policy = dict(rule.strip().partition(" ")[::2] for rule in reply.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {rule: text for rule, text in policy.items() if text not in ("'none'", "'self'")} == {
        "require-trusted-types-for": "'script'"
    }
    assert {"base-uri", "form-action", "frame-ancestors"} <= policy.keys()


def test_a_file_that_a_browser_has_is_not_sent_again() -> None:
    whole = get("/")
    assert whole.headers["cache-control"] == "no-cache"
    for known in (whole.headers["etag"], f'"other", W/{whole.headers["etag"]}'):
        same = get("/", **{"If-None-Match": known})
        assert (same.status, same.body, same.headers["etag"]) == (304, b"", whole.headers["etag"])
    assert get("/", **{"If-None-Match": '"other"'}).status == 200
    assert get("/page/page.css").headers["etag"] != whole.headers["etag"]


@pytest.mark.parametrize("name", ["none.js", "__init__.py", "files.py", "..", "..%2Fkeys.py", "", "%00"])
def test_nothing_but_the_files_of_the_page_is_served(name: str) -> None:
    assert get(f"/page/{name}").status == 404


def test_the_page_is_all_there_and_asks_no_other_host() -> None:
    texts = {name: files("fastgru.serve.page").joinpath(name).read_text(encoding="utf-8") for name in NAMES}
    used = set(re.findall(r'(?:src|href)="page/([^"]+)"', texts["index.html"]))
    for name in [name for name in NAMES if name.endswith(".js")]:
        used |= set(re.findall(r'from "\./([^"]+)"', texts[name]))
    assert used == {*NAMES} - {"index.html"}
    for name, text in texts.items():
        assert re.findall(r"https?://|\bwss?://", text) == (["http://"] if name == "icon.svg" else []), name
    page = texts["index.html"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! type=\"module\" src=)", page)
    named = set(re.findall(r'\$\("([^"]+)"\)', "".join(texts.values())))
    assert named <= set(re.findall(r'\bid="([^"]+)"', page))
    assert set(re.findall(r'(?:for|aria-labelledby|aria-describedby)="([^"]+)"', page)) <= set(
        re.findall(r'\bid="([^"]+)"', page)
    )


# The overview.


def test_the_overview_has_the_models_with_their_states() -> None:
    found = get("/v2/overview").json
    assert found["server"]["ready"] is False
    assert (found["key"], found["is_admin"]) == (None, True)
    frames, ratio = found["models"]
    assert (frames["name"], frames["state"], frames["precision"]) == ("frames", "READY", "float32")
    assert frames["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1, 8]}]
    assert frames["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, -1, 3]}]
    assert frames["states"] == [{"name": "h0", "datatype": "FP32", "shape": [1, -1, 8]}]
    assert frames["shortest"] == [[1, 1, 8]]
    assert (ratio["states"], ratio["sessions"], ratio["shortest"]) == ([], None, [[1, 2], [1, 2]])


def test_the_overview_counts_what_runs_and_what_is_refused() -> None:
    async def work(one: Ask, assembly: Assembly) -> Any:
        for number in (1, 2, 3):
            assert (
                await one("POST", f"/v2/models/frames/infer?sequence_id={number}&sequence_start=true", frame())
            ).status == 200
        assert (await one("POST", "/v2/models/frames/infer", frame(7))).status == 400
        assert (await one("GET", "/v2/nothing")).status == 404
        return (await one("GET", "/v2/overview")).json

    found = ask(work)
    assert found["server"]["ready"] is True
    counts = found["models"][0]["statistics"]
    assert (counts["requests"], counts["executions"], counts["nonfinite"]) == (3, 3, 0)
    assert counts["tick_sizes"] == {"1": 3}
    assert sum(counts["execution_times"].values()) == 3
    assert all(int(bound).bit_count() == 1 for bound in counts["execution_times"])
    assert counts["failed"] == {"shape": 1}
    assert found["server"]["refused"] == {"path": 1, "shape": 1}


def test_sizes_of_ticks_are_counted_by_powers_of_two() -> None:
    async def work(one: Ask, assembly: Assembly) -> Any:
        counts = assembly.repository.get("frames").statistics
        for size in (1, 2, 3, 4, 5, 8, 9, 100, 16_384):
            counts.pushed(size, 0, 1_000, 0)
        return (await one("GET", "/v2/overview")).json["models"][0]["statistics"]

    found = ask(work)
    assert found["tick_sizes"] == {"1": 1, "2": 1, "4": 2, "8": 2, "16": 1, "128": 1, "16384": 1}
    assert found["execution_times"] == {"1024": 9}


def test_sessions_are_listed_from_the_newest_and_ended_ones_are_gone() -> None:
    async def work(one: Ask, assembly: Assembly) -> Any:
        sessions = assembly.repository.get("frames").sessions
        assert sessions is not None
        for number in range(250):
            sessions.begin(number + 1 if number % 2 else f"caller {number + 1}")
        first = (await one("GET", "/v2/overview")).json["models"][0]["sessions"]
        sessions.end(sessions.get(250))
        await one("POST", "/v2/models/frames/infer?sequence_id=248", frame())
        return first, (await one("GET", "/v2/overview")).json["models"][0]["sessions"]

    first, then = ask(work)
    assert (first["open"], first["visible"], first["more"], first["capacity"]) == (250, 250, 150, 300)
    assert [session["id"] for session in first["listed"][:3]] == [250, "caller 249", 248]
    assert len(first["listed"]) == 100
    assert [session["id"] for session in then["listed"][:2]] == ["caller 249", 248]
    assert (then["open"], then["more"], then["listed"][1]["step"]) == (249, 149, 1)
    assert 0 <= then["listed"][1]["idle_seconds"] < then["listed"][1]["age_seconds"] < 60


def test_sessions_that_are_parked_are_counted(tmp_path: Path) -> None:
    async def work(one: Ask, assembly: Assembly) -> Any:
        sessions = assembly.repository.get("frames").sessions
        assert sessions is not None
        sessions.begin(1)
        await asyncio.sleep(0.06)
        sessions.expire()
        return (await one("GET", "/v2/overview")).json["models"][0]["sessions"]

    found = ask(work, state_dir=tmp_path / "states", idle_seconds=0.05)
    assert (found["open"], found["parked"], found["listed"]) == (0, 1, [])
    assert ask(work, idle_seconds=0.05)["parked"] is None


def test_an_overview_of_many_sessions_is_as_small_as_that_of_a_hundred() -> None:
    async def work(one: Ask, assembly: Assembly) -> Any:
        sizes = []
        sessions = assembly.repository.get("frames").sessions
        assert sessions is not None
        for end in (100, 1_000):
            for number in range(len(sessions), end):
                sessions.begin(10**6 + number)
            sizes.append(len((await one("GET", "/v2/overview")).body))
        return sizes

    hundred, thousand = ask(work, capacity=1_000)
    assert thousand - hundred < 200


def test_a_model_that_is_not_served_is_told_as_such_and_one_loaded_anew_begins_from_0() -> None:
    async def work(one: Ask, assembly: Assembly) -> Any:
        await one("POST", "/v2/models/frames/infer", frame())
        await one("POST", "/v2/repository/models/frames/unload")
        without = (await one("GET", "/v2/overview")).json["models"]
        await one("POST", "/v2/repository/models/frames/load")
        return without, (await one("GET", "/v2/overview")).json["models"]

    without, again = ask(work)
    assert without[0] == {"name": "frames", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
    assert again[0]["state"] == "READY"
    assert again[0]["statistics"]["requests"] == 0
    assert again[0]["shortest"] == [[1, 1, 8]]


def test_sessions_that_go_on_with_a_model_before_are_counted() -> None:
    async def work(one: Ask, assembly: Assembly) -> Any:
        sessions = assembly.repository.get("frames").sessions
        assert sessions is not None
        sessions.begin(1)
        await one("POST", "/v2/repository/models/frames/load")
        await one("POST", "/v2/models/frames/infer?sequence_id=2&sequence_start=true", frame())
        return (await one("GET", "/v2/overview")).json["models"][0]["sessions"]

    found = ask(work)
    assert (found["open"], found["former"], [session["id"] for session in found["listed"]]) == (2, 1, [2, 1])


def test_the_shortest_request_is_told_whatever_has_come_since() -> None:
    async def work(one: Ask, assembly: Assembly) -> Any:
        for steps in range(2, 300):
            assembly.repository.get("frames").group((np.zeros((steps, 1, 8), np.float32),), False)
        return (await one("GET", "/v2/overview")).json["models"][0]["shortest"]

    assert ask(work) == [[1, 1, 8]]


def test_the_overview_takes_no_parameters() -> None:
    reply = get("/v2/overview?model=frames")
    assert (reply.status, reply.json["reason"]) == (400, "request")


# Keys.


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer key of {name}"}


def test_a_key_sees_its_own_sessions_and_how_many_others_have(keys: Path) -> None:
    async def work(one: Ask, assembly: Assembly) -> Any:
        for name, number in (("ann", 1), ("ann", 2), ("bob", 3)):
            path = f"/v2/models/frames/infer?sequence_id={number}&sequence_start=true"
            assert (await one("POST", path, frame(), **bearer(name))).status == 200
        return {name: (await one("GET", "/v2/overview", **bearer(name))).json for name in ("ann", "bob", "root")}

    found = ask(work, api_key_file=keys)
    seen = {
        name: [(s["key"], s["id"]) for s in each["models"][0]["sessions"]["listed"]] for name, each in found.items()
    }
    assert seen == {
        "ann": [("ann", 2), ("ann", 1)],
        "bob": [("bob", 3)],
        "root": [("bob", 3), ("ann", 2), ("ann", 1)],
    }
    assert [each["models"][0]["sessions"]["open"] for each in found.values()] == [3, 3, 3]
    assert [each["models"][0]["sessions"]["visible"] for each in found.values()] == [2, 1, 3]
    assert [(each["key"], each["is_admin"]) for each in found.values()] == [
        ("ann", False),
        ("bob", False),
        ("root", True),
    ]


def test_the_files_need_no_key_and_the_overview_does(keys: Path) -> None:
    async def work(one: Ask, assembly: Assembly) -> Any:
        paths = (
            "/",
            "/page/main.js",
            "/page/none.js",
            "/v2/overview",
            "/page",
            "//",
            "/pages/main.js",
            "/v2/models/frames",
        )
        return [(await one("GET", path)).status for path in paths]

    assert ask(work, api_key_file=keys) == [200, 200, 404, 401, 401, 401, 401, 401]


def test_pages_of_other_sites_are_refused_as_everywhere() -> None:
    assert get("/v2/overview", Origin="https://example.org").status == 403
    assert get("/", Host="example.org").status == 421


def test_a_browser_gives_its_key_as_a_subprotocol_of_a_websocket(keys: Path) -> None:
    async def opened(port: int, *subprotocols: str, **more: Any) -> Any:
        url = f"ws://127.0.0.1:{port}/v2/models/frames/stream"
        given: Any = {"subprotocols": [*subprotocols] or None, "compression": None, "proxy": None, **more}
        try:
            async with connect(url, **given) as client:
                await client.send('{"type": "open", "sequence_id": 5}')
                assert json.loads(await client.recv())["type"] == "opened"
                return client.subprotocol
        except InvalidStatus as error:
            return error.response.status_code

    async def work(port: int) -> Any:
        hexadecimal = b"key of ann".hex()
        return [
            await opened(port, "fastgru", f"fastgru.key.{hexadecimal}"),
            await opened(port, f"fastgru.key.{hexadecimal}", "fastgru"),
            await opened(port, "fastgru", f"fastgru.key.{b'key of nobody'.hex()}"),
            await opened(port, "fastgru", f"fastgru.key.{hexadecimal}0"),
            await opened(port, "fastgru"),
            await opened(port),
            await opened(port, "fastgru", f"fastgru.key.{hexadecimal}", origin="https://example.org"),
        ]

    assembly = Assembly({"frames": STATEFUL}, Settings(api_key_file=keys))
    with serving(assembly.app, websocket=Handshake, api_key_file=keys) as server:
        found = asyncio.run(work(int(server.urls[0].rpartition(":")[2])))
    assert found == ["fastgru", "fastgru", 401, 401, 401, 401, 403]
