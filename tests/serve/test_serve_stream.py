"""Streams over WebSockets: frames one to one with the bits of a stream in process, and JSON that steers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("uvicorn", reason="needs the extra 'serve'")

from asgi import call, run
from protocol_models import DATATYPES, H, I, in_bytes, normal, of_dtype, stateful, stateless
from web import Web, frame, serving, tell
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fastgru import GRU, Gate, Model, Sequential
from fastgru.serve import channel, websocket
from fastgru.serve.connection import Connection
from fastgru.serve.models import Served
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.settings import Settings

MODEL = stateful()
SERVED = Served("m", MODEL, Settings(capacity=64))
Work = Callable[[Web], Awaitable[Any]]


def other() -> Model:
    gates = [Gate(normal(H, I, seed=k + 20), normal(H, H, seed=k + 23)) for k in range(3)]
    return Model(
        Sequential(GRU.from_gates(reset=gates[0], update=gates[1], candidate=gates[2])).to_graph(initial_state=True)
    )


def serve(work: Work, models: dict[str, Model] | None = None, **options: Any) -> None:
    async def served() -> None:
        async with serving({"m": MODEL, **(models or {})}, **options) as web:
            await asyncio.wait_for(work(web), 60)

    run(served())


def x(seed: int, steps: int = 1) -> np.ndarray:
    return normal(steps, 1, 8, seed=seed)


def expected(*seeds: int) -> bytes:
    """The last answer of a stream in process."""
    stream = MODEL.stream()
    return [stream.push(x(seed)) for seed in seeds][-1].tobytes()


async def push(client: ClientConnection, *seeds: int) -> Any:
    return [await frame(client, x(seed).tobytes()) for seed in seeds][-1]


async def text(client: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(client.recv(), 20))


async def refused(client: Any) -> tuple[int, str]:
    """(status, reason) of a handshake that fails."""
    with pytest.raises(InvalidStatus) as caught:
        await client
    answer = json.loads(caught.value.response.body)
    return caught.value.response.status_code, answer["reason"]


@pytest.mark.parametrize("direct", [True, False])
def test_frames_have_the_bits_of_a_stream_in_process(direct: bool) -> None:
    async def work(web: Web) -> None:
        async with web.connect() as client:
            stream = MODEL.stream()
            for seed, steps in enumerate((1, 1, 3, 1, 16, 50, 1)):
                assert await frame(client, x(seed, steps).tobytes()) == stream.push(x(seed, steps)).tobytes()

    serve(work, direct=direct)


@pytest.mark.parametrize("direct", [True, False])
def test_frames_that_are_not_waited_for_are_answered_in_order_errors_among_them(direct: bool) -> None:
    async def work(web: Web) -> None:
        async with web.connect() as client:
            stream = MODEL.stream()
            for seed in range(500):
                await client.send(b"no frame" if seed % 7 == 3 else x(seed).tobytes())
            for seed in range(500):
                answer = await client.recv()
                if seed % 7 == 3:
                    assert json.loads(answer)["reason"] == "shape"
                else:
                    assert answer == stream.push(x(seed)).tobytes()

    serve(work, direct=direct)


@pytest.mark.parametrize("direct", [True, False])
def test_what_steers_takes_effect_between_the_frames_around_it(direct: bool) -> None:
    async def work(web: Web) -> None:
        async with web.connect() as client:
            for message in (x(1), x(2), "reset", x(3), "keepalive", x(4), "finalize", x(5), "open", x(6)):
                await client.send(
                    message.tobytes() if isinstance(message, np.ndarray) else json.dumps({"type": message})
                )
            answers = [await client.recv() for _ in range(10)]
            kinds = [json.loads(a)["type"] if isinstance(a, str) else a for a in answers]
            assert kinds == [
                expected(1), expected(1, 2), "reset", expected(3), "alive", expected(3, 4), "finalized", "error",
                "opened", expected(6),
            ]  # fmt: skip
            assert json.loads(answers[7])["reason"] == "not_open"

    serve(work, direct=direct)


def test_sessions_beside_each_other_never_meet() -> None:
    async def one(web: Web, number: int) -> None:
        rng = np.random.default_rng(number)
        for _ in range(3):  # the same id is used again, each time from zeros
            async with web.connect(f"?sequence_id={number + 1}") as client:
                stream = MODEL.stream()
                for _ in range(int(rng.integers(1, 12))):
                    data = rng.standard_normal((int(rng.integers(1, 4)), 1, 8)).astype(np.float32)
                    assert await frame(client, data.tobytes()) == stream.push(data).tobytes()

    async def work(web: Web) -> None:
        await asyncio.gather(*[one(web, number) for number in range(40)])
        sessions = web.repository.get("m").sessions
        assert sessions is not None
        assert len(sessions) == 0

    serve(work)


@pytest.mark.parametrize("direct", [True, False])
def test_a_sequence_ends_with_its_connection_unless_it_is_kept(direct: bool) -> None:
    async def work(web: Web) -> None:
        async with web.connect("?sequence_id=a&keep=true") as client:
            assert await push(client, 1, 2) == expected(1, 2)
        async with web.connect("?sequence_id=a&continue=true&keep=true") as client:
            assert await push(client, 3) == expected(1, 2, 3)
            client.transport.abort()  # type: ignore[attr-defined]
        async with web.connect() as client:
            answer = await tell(client, "open", sequence_id="a", **{"continue": True}, id="mine")
            assert (answer["type"], answer["continued"], answer["step"], answer["id"]) == ("opened", True, 3, "mine")
            assert await push(client, 4) == expected(1, 2, 3, 4)
        assert await refused(web.connect("?sequence_id=a&continue=true")) == (400, "unknown_sequence")
        async with web.connect() as client:
            answer = await tell(client, "open", sequence_id="a", **{"continue": True})
            assert answer["reason"] == "unknown_sequence"
            assert "has not begun: begin it with an open without continue" in answer["message"]
            assert (await push(client, 5))["reason"] == "not_open"  # not from zeros, unasked
        async with web.connect("?sequence_id=a") as client:
            assert await push(client, 6) == expected(6)

    serve(work, direct=direct)


def test_a_sequence_that_another_connection_takes_is_lost_to_the_first() -> None:
    async def work(web: Web) -> None:
        async with web.connect("?sequence_id=7") as first, web.connect("?sequence_id=8") as neighbour:
            assert await push(first, 1) == expected(1)
            assert await push(neighbour, 2) == expected(2)
            async with web.connect("?sequence_id=7&continue=true") as second:
                event = await text(first)
                assert (event["type"], event["event"], event["sequence_id"]) == ("event", "taken", 7)
                answer = await push(first, 9)
                assert (answer["status"], answer["reason"]) == (410, "taken")
                assert await push(second, 2) == expected(1, 2)
                async with web.connect("?sequence_id=7") as third:  # begun anew
                    assert (await text(second))["event"] == "taken"
                    assert await push(third, 3) == expected(3)
                    assert (await push(second, 4))["status"] == 410
            assert (await tell(first, "open"))["type"] == "opened"
            assert await push(first, 5) == expected(5)
            assert await push(neighbour, 3) == expected(2, 3)

    serve(work)


def test_a_request_that_begins_a_sequence_anew_takes_it() -> None:
    async def infer(web: Web, frame: np.ndarray, **parameters: Any) -> bytes:
        reply = await call(web.app, "POST", "/v2/models/m/infer", *in_bytes(frame, **parameters))
        assert reply.status == 200, reply
        return reply.object_and_bytes[1]

    async def work(web: Web) -> None:
        async with web.connect("?sequence_id=7") as client:
            assert await push(client, 1) == expected(1)
            assert await infer(web, x(2), sequence_id=7, sequence_start=True) == expected(2)
            assert (await text(client))["event"] == "taken"
            assert (await push(client, 3))["reason"] == "taken"
        assert await infer(web, x(3), sequence_id=7) == expected(2, 3)  # it has outlived that connection

    serve(work)


def test_sequences_belong_to_the_key_that_opened_them() -> None:
    async def work(web: Web) -> None:
        async with web.connect("?sequence_id=7&keep=true", key="anna") as client:
            await push(client, 1)
        assert await refused(web.connect("?sequence_id=7&continue=true", key="ben")) == (400, "unknown_sequence")
        async with web.connect("?sequence_id=7", key="ben") as client:
            assert await push(client, 2) == expected(2)
        async with web.connect("?sequence_id=7&continue=true", key="anna") as client:
            assert await push(client, 2) == expected(1, 2)

    serve(work)


def test_a_state_goes_out_and_comes_back() -> None:
    async def work(web: Web) -> None:
        async with web.connect() as client:
            await push(client, 1, 2)
            saved = await tell(client, "save")
            assert (saved["type"], saved["step"]) == ("saved", 2)
            stream = MODEL.stream()
            stream.load_state(b64decode(saved["state"]))
            assert stream.push(x(3)).tobytes() == expected(1, 2, 3) == await push(client, 3)
            assert (await tell(client, "load", state=saved["state"]))["type"] == "loaded"
            assert await push(client, 4) == expected(1, 2, 4)
            assert (await tell(client, "load", state=b64encode(b"no state").decode()))["status"] == 409
            for wrong in (7, "*", None, "a"):
                assert (await tell(client, "load", state=wrong))["reason"] == "state"
            assert (await tell(client, "load"))["reason"] == "state"
            async with web.connect(model="other") as stranger:
                assert (await tell(stranger, "open"))["type"] == "opened"
                answer = await tell(stranger, "load", state=saved["state"])
                assert (answer["status"], answer["reason"]) == (409, "state")
            assert await push(client, 5) == expected(1, 2, 4, 5)

    serve(work, {"other": other()})


def test_an_idle_sequence_ends_and_its_client_hears_it() -> None:
    async def work(web: Web) -> None:
        async with web.connect("?sequence_id=7") as idle, web.connect() as alive:
            await push(idle, 1)
            await push(alive, 1)
            for _ in range(6):
                await asyncio.sleep(0.1)
                assert (await tell(alive, "keepalive"))["type"] == "alive"
            event = await text(idle)
            assert (event["type"], event["event"], event["sequence_id"]) == ("event", "evicted", 7)
            assert (await push(idle, 2))["reason"] == "evicted"
            assert (await tell(idle, "open", sequence_id=7, **{"continue": True}))["status"] == 410
            assert await push(alive, 2) == expected(1, 2)
            assert (await tell(idle, "open", sequence_id=7))["continued"] is False
            assert await push(idle, 3) == expected(3)

    serve(work, idle_seconds=0.3)


def test_a_model_that_is_unloaded_takes_its_sequences_along() -> None:
    async def work(web: Web) -> None:
        async with web.connect() as client, web.connect() as unopened, web.connect(model="pair") as plain:
            await push(client, 1)
            assert isinstance(await frame(plain, bytes(16)), bytes)
            web.repository.unload("m")
            web.repository.unload("pair")
            for stream in (client, unopened, plain):
                assert (await text(stream))["event"] == "unloaded"
                with pytest.raises(ConnectionClosed) as caught:
                    await frame(stream, bytes(32))
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == 1001
        assert await refused(web.connect()) == (404, "model")

    serve(work, {"pair": stateless()})


def test_several_inputs_lie_one_after_another() -> None:
    async def work(web: Web) -> None:
        a, b = normal(1, 2, seed=1), normal(1, 2, seed=2)
        async with web.connect(model="pair") as client:
            assert await frame(client, a.tobytes() + b.tobytes()) == (a + b).tobytes() + (a / b).tobytes()
            for kind in ("save", "reset", "keepalive", "finalize"):
                assert (await tell(client, kind))["reason"] == "sequence_id"
            assert (await tell(client, "open", sequence_id=1))["reason"] == "sequence_id"
            answer = await tell(client, "open", shapes={"a": [-1, 2], "b": [-1, 2]})
            assert [field["name"] for field in answer["inputs"]] == ["a", "b"]
            a, b = normal(3, 2, seed=1), normal(3, 2, seed=2)
            assert await frame(client, a.tobytes() + b.tobytes()) == (a + b).tobytes() + (a / b).tobytes()
        assert await refused(web.connect("?sequence_id=1", model="pair")) == (400, "sequence_id")

    serve(work, {"pair": stateless()})


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype(datatype: str) -> None:
    async def work(web: Web) -> None:
        dtype = np.dtype(DATATYPES[datatype])
        values = np.array([[0, 1, 1]]).astype(dtype)
        async with web.connect(model="d") as client:
            assert await frame(client, values.tobytes()) == values.tobytes()
            assert (await tell(client, "open"))["inputs"][0]["datatype"] == datatype
            if datatype == "BOOL":
                assert (await frame(client, b"\0\1\2"))["reason"] == "data"

    serve(work, {"d": of_dtype(DATATYPES[datatype])})


def test_shapes_are_given_once() -> None:
    async def work(web: Web) -> None:
        shapes = quote(json.dumps({"x": [2, 1, 8]}))
        async with web.connect(f"?shapes={shapes}") as client:
            assert (await frame(client, x(1).tobytes()))["status"] == 400
            assert (await frame(client, x(1, 2).astype(np.float64).tobytes()))["status"] == 400
            assert await frame(client, x(1, 2).tobytes()) == MODEL.stream().push(x(1, 2)).tobytes()
        for wrong in ({"y": [1]}, [1], {"x": [1, 8]}, {"x": [-1, -1, 8]}, {"x": [1, 1, 9]}, {"x": [1, 1, True]}, 7):
            assert await refused(web.connect(f"?shapes={quote(json.dumps(wrong))}")) == (400, "shape"), wrong
        async with web.connect() as client:  # the batch of a sequence is 1
            assert (await tell(client, "open", shapes={"x": [1, 2, 8]}))["type"] == "opened"
            assert (await frame(client, normal(1, 2, 8).tobytes()))["reason"] == "shape"

    serve(work)


WRONG_TEXTS: Any = [
    "", "no JSON", "[]", "7", "null", "{}", '{"type": 7}', '{"type": "infer"}', '{"type": "open", "key": 1}',
    '{"type": "reset", "state": ""}', '{"type": "open", "keep": 1}', '{"type": "open", "continue": "yes"}',
    '{"type": "open", "timeout": -1}', '{"type": "open", "timeout": 1.5}', '{"type": "open", "sequence_id": 0}',
    '{"type": "open", "sequence_id": ""}', '{"type": "open", "continue": true}', '{"type": "save", "id": []}',
    '{"type": "open", "shapes": []}', "[" * 60 + "]" * 60, '{"type": "save"', '{"type": "load", "state": "\ud7ff"}',
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_TEXTS)
def test_a_wrong_message_is_told_so_and_hurts_nothing(wrong: str) -> None:
    async def work(web: Web) -> None:
        async with web.connect() as client, web.connect() as neighbour:
            assert await push(client, 1) == await push(neighbour, 1)
            await client.send(wrong)
            answer = await text(client)
            assert answer.keys() == {"type", "status", "reason", "message"}
            assert (answer["type"], answer["status"] in (400, 409)) == ("error", True)
            assert await push(client, 2) == expected(1, 2)
            assert await push(neighbour, 3) == expected(1, 3)

    serve(work)


@pytest.mark.parametrize(
    "query",
    ["?a=1", "?keep=1", "?sequence_id=0", "?sequence_id=", "?keep=true&keep=true", "?continue=true", "?shapes=no",
     "?timeout=soon", "?" + "&".join(f"a{i}=1" for i in range(20))],
)  # fmt: skip
def test_a_wrong_query_is_an_answer_of_http(query: str) -> None:
    async def work(web: Web) -> None:
        assert (await refused(web.connect(query)))[0] == 400

    serve(work)


def test_where_there_is_no_room() -> None:
    async def work(web: Web) -> None:
        async with web.connect("?sequence_id=1&keep=true") as client, web.connect("?sequence_id=2"):
            assert await refused(web.connect("?sequence_id=3")) == (503, "capacity")
            async with web.connect() as late:
                answer = await push(late, 1)
                assert (answer["status"], answer["reason"], answer["retry_after_s"] > 0) == (503, "capacity", True)
                assert (await tell(client, "finalize"))["type"] == "finalized"
                assert await push(late, 2) == expected(2)

    serve(work, capacity=2)


def test_a_sequence_that_stays_busy_is_refused_and_goes_on_later() -> None:
    async def work(web: Web) -> None:
        async with web.connect("?sequence_id=7&keep=true") as client:
            await push(client, 1)
        sessions = web.repository.get("m").sessions
        session = sessions and sessions.find(7)
        assert session is not None
        session.running = True
        with pytest.raises(InvalidStatus) as caught:
            await web.connect("?sequence_id=7&continue=true")
        response = caught.value.response
        answer = json.loads(response.body)
        assert (response.status_code, answer["reason"], answer["retry_after_s"]) == (503, "busy", 1.0)
        assert response.headers["Retry-After"] == "1"
        session.running = False
        async with web.connect("?sequence_id=7&continue=true") as client:
            assert await push(client, 2) == expected(1, 2)

    serve(work, deadline_seconds=1.0)


@pytest.mark.parametrize("direct", [True, False])
def test_a_key_that_goes_while_its_stream_opens(direct: bool) -> None:
    async def work(web: Web) -> None:
        async with web.connect("?sequence_id=7&keep=true", key="anna") as client:
            await push(client, 1)
        sessions = web.repository.get("m").sessions
        session = sessions and sessions.find(7, "anna")
        assert session is not None
        while len(web.streams):
            await asyncio.sleep(0.001)
        session.running = True
        opening = asyncio.create_task(refused(web.connect("?sequence_id=7&continue=true", key="anna")))
        while not len(web.streams):
            await asyncio.sleep(0.001)
        web.streams.expel(("anna",))
        session.running = False
        assert await opening == (401, "key")
        assert len(web.streams) == 0

    serve(work, direct=direct)


def test_a_frame_that_would_be_late_is_refused() -> None:
    async def work(web: Web) -> None:
        async with web.connect() as client:
            await push(client, 1)
            assert (await tell(client, "finalize"))["type"] == "finalized"
            assert (await tell(client, "open", timeout=1))["type"] == "opened"
            answer = await push(client, 2)
            assert (answer["status"], answer["reason"]) == (503, "too_long")

    serve(work)


def test_clients_that_vanish_leave_nothing() -> None:
    async def work(web: Web) -> None:
        sessions = web.repository.get("m").sessions
        assert sessions is not None
        for _ in range(20):
            client = await web.connect()
            for seed in range(30):
                await client.send(x(seed, 8).tobytes())
            client.transport.abort()  # type: ignore[attr-defined]
        until = asyncio.get_running_loop().time() + 20
        while len(web.streams) and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.01)
        assert (len(web.streams), len(sessions)) == (0, 0)

    serve(work)


@pytest.mark.parametrize("direct", [True, False])
def test_a_client_that_does_not_read_is_disconnected(direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "_CLOSE_S", 0.2)
    monkeypatch.setattr(websocket, "_CLOSE_SECONDS", 0.2)

    async def work(web: Web) -> None:
        async with web.connect() as neighbour:
            sock = socket.create_connection(("127.0.0.1", web.port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
            slow = await web.connect(sock=sock)
            await frame(slow, x(1, 1 << 12).tobytes())
            slow.transport.pause_reading()  # type: ignore[attr-defined]

            async def flood() -> None:
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        await slow.send(x(1, 1 << 12).tobytes())

            task = asyncio.create_task(flood())
            until = asyncio.get_running_loop().time() + 30
            while len(web.streams) > 1 and asyncio.get_running_loop().time() < until:
                assert isinstance(await push(neighbour, 1), bytes)
                await asyncio.sleep(0.01)
            failed = dict(web.repository.get("m").statistics.failed)
            assert failed.pop("slow") == 1
            assert failed.keys() <= {"deadline", "overload"}  # where other work holds the machine up for a second
            assert len(web.streams) == 1
            slow.transport.abort()  # type: ignore[attr-defined]
            await task

    serve(work, direct=direct, deadline_seconds=1.0)


@pytest.mark.parametrize("direct", [True, False])
def test_a_server_that_goes_down_says_so_and_closes_with_1001(direct: bool) -> None:
    async def work(web: Web) -> None:
        async with web.connect() as client:
            await push(client, 1)
            task = asyncio.create_task(web.streams.drain(0.5))
            event = await text(client)
            assert (event["type"], event["event"]) == ("event", "draining")
            assert await push(client, 2) == expected(1, 2)
            assert (await tell(client, "save"))["type"] == "saved"
            assert await refused(web.connect()) == (503, "draining")
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001
            await task

    serve(work, direct=direct)


@pytest.mark.parametrize("direct", [True, False])
def test_frames_that_have_come_are_answered_before_the_server_goes_down(direct: bool) -> None:
    async def work(web: Web) -> None:
        async with web.connect() as client:
            await push(client, 1)
            web.scheduler._asked = True  # no tick runs for now
            for seed in range(2, 34):
                await client.send(x(seed).tobytes())
            while web.scheduler.jobs < 32:
                await asyncio.sleep(0.001)
            await web.streams.drain(0)
            web.scheduler._tick()
            assert (await text(client))["event"] == "draining"
            answers = [await asyncio.wait_for(client.recv(), 20) for _ in range(32)]
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
            assert answers[-1] == expected(*range(1, 34))
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001

    serve(work, direct=direct)


@pytest.mark.parametrize("direct", [True, False])
def test_close_is_answered_and_then_the_connection_ends(direct: bool) -> None:
    async def work(web: Web) -> None:
        async with web.connect("?sequence_id=7&keep=true") as client:
            await push(client, 1)
            assert await tell(client, "close", id=3) == {"type": "closed", "id": 3}
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1000
        async with web.connect("?sequence_id=7&continue=true") as client:
            assert await push(client, 2) == expected(1, 2)

    serve(work, direct=direct)


@pytest.mark.parametrize("direct", [True, False])
def test_a_message_has_at_most_the_size_of_the_settings(direct: bool) -> None:
    async def work(web: Web) -> None:
        async with web.connect() as client:
            assert isinstance(await frame(client, x(1, 32).tobytes()), bytes)
            await client.send(x(1, 33).tobytes())
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1009

    serve(work, direct=direct, max_message_bytes=1024)


class Sink:
    """A channel that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send_binary(self, data: bytes) -> None:
        self.sent.append(data)

    send_text = send_binary

    def close(self, code: int, reason: str) -> None: ...

    def set_reading(self, reading: bool) -> None: ...


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 1 << 65) | st.floats() | st.sampled_from(["", "a", "7", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2),
    max_leaves=4,
)
fields = st.dictionaries(
    st.sampled_from(["continue", "keep", "sequence_id", "shapes", "timeout", "state", "id", "key"]), values, max_size=3
)


@given(st.lists(st.tuples(st.sampled_from(["open", "load", "save", "reset", "finalize"]), fields), max_size=4))
def test_whatever_steers_is_answered_once_and_never_a_fault_of_the_server(steps: Any) -> None:
    async def work() -> None:
        connection, sink = Connection(SERVED, Scheduler(), Settings(), None), Sink()
        connection.channel = sink
        for kind, given_fields in steps:
            connection.on_text(json.dumps({"type": kind, **given_fields}).encode())
        answers = [json.loads(answer) for answer in sink.sent]
        assert len(answers) == len(steps)
        for answer in answers:
            assert answer.get("status", 400) in (400, 409), answer
        connection.on_lost(1006)
        assert len(SERVED.sessions or ()) == 0

    run(work())
