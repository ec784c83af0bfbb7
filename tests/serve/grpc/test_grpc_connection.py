"""HTTP/2 by hand: what breaks its rules, what is too much, what is too slow, and how a connection ends."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
pytest.importorskip("hpack", reason="not installed: the extra `serve`")
pytest.importorskip("orjson", reason="not installed: the extra `serve`")

from grpc_server import END_HEADERS, END_STREAM, Raw, arrays, request, served
from hpack import Encoder
from protocol_models import normal, stateful

from bench.serve.process import free_port
from fastgru.serve.grpc.frames import PREFACE, frame
from fastgru.serve.grpc.heads import Heads
from fastgru.serve.grpc.messages import message
from fastgru.serve.grpc.service import _absent
from fastgru.serve.keys import Guard
from fastgru.serve.settings import Settings, SettingsError

MODEL = stateful()
PROTOCOL, FLOW_CONTROL, STREAM_CLOSED, FRAME_SIZE, REFUSED, COMPRESSION, CALM = 1, 3, 5, 6, 7, 9, 11


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Any, int]]:
    with served({"gru": MODEL}) as found:
        yield found


@pytest.fixture
def raw(running: tuple[Any, int]) -> Iterator[Raw]:
    with Raw(running[1]) as made:
        yield made
    with Raw(running[1]) as other:  # whatever it was, others are served
        other.open(1)
        other.call(1, b"")
        assert other.trailers()["grpc-status"] == "0"


def data(request_id: str = "", **parameters: Any) -> bytes:
    return request("gru", {"x": normal(1, 1, 8)}, request_id=request_id, **parameters).SerializeToString()


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(4, 0, 0, b"".join([name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in pairs]))


def test_a_call_byte_by_byte_and_with_padding_and_a_priority(raw: Raw) -> None:
    head = raw.head("ModelInfer")
    body = b"\0" + len(data()).to_bytes(4, "big") + data()
    whole = frame(1, END_HEADERS | 8 | 32, 1, b"\x03" + bytes(5) + head + bytes(3))
    whole += frame(0, 8, 1, b"\x02" + body[:7] + bytes(2)) + frame(0, END_STREAM, 1, body[7:])
    for byte in whole:
        raw.send(bytes((byte,)))
    assert raw.trailers()["grpc-status"] == "0"


def test_a_head_in_parts_and_trailers_of_the_client(raw: Raw) -> None:
    head = raw.head("ServerLive")
    raw.send(frame(1, 0, 1, head[:5]), frame(9, 0, 1, head[5:9]), frame(9, END_HEADERS, 1, head[9:]))
    raw.call(1, b"", end=False)
    raw.send(frame(1, END_HEADERS | END_STREAM, 1, raw.encoder.encode([("more", "1")])))
    assert raw.trailers()["grpc-status"] == "0"


def test_calls_side_by_side(raw: Raw) -> None:
    for number in (1, 3, 5):
        raw.open(number, "ModelInfer")
    for number in (5, 1, 3):
        raw.call(number, data(str(number)))
    answers = {}
    for _ in range(3):
        found = raw.until("data")
        assert found is not None
        answer = message("ModelInferResponse").FromString(found[3][5:])
        answers[found[2]] = answer.id
        assert arrays(answer)["y"].shape == (1, 1, 3)
    assert answers == {1: "1", 3: "3", 5: "5"}


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([frame(0, 0, 0, b"a")], PROTOCOL),  # data of the connection
        ([frame(0, 0, 1, b"a")], PROTOCOL),  # of a stream that has not begun
        ([frame(1, END_HEADERS, 2, b"")], PROTOCOL),
        ([frame(1, END_HEADERS, 0, b"")], PROTOCOL),
        ([frame(1, 0, 1, b""), frame(6, 0, 0, bytes(8))], PROTOCOL),  # a head that is not continued
        ([frame(9, END_HEADERS, 1, b"")], PROTOCOL),
        ([frame(1, 0, 1, b""), frame(9, 0, 3, b"")], PROTOCOL),
        ([frame(1, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")], COMPRESSION),
        ([frame(1, END_HEADERS, 1, b"\xc0")], COMPRESSION),  # no such entry
        ([frame(1, END_HEADERS | 8, 1, b"\x09a")], PROTOCOL),  # padding beyond the frame
        ([frame(1, END_HEADERS | 8, 1, b"")], PROTOCOL),
        ([frame(1, END_HEADERS | 32, 1, b"abc")], PROTOCOL),
        ([frame(2, 0, 0, bytes(5))], PROTOCOL),
        ([frame(2, 0, 1, bytes(4))], FRAME_SIZE),
        ([frame(3, 0, 1, bytes(4))], PROTOCOL),
        ([frame(3, 0, 1, bytes(5))], FRAME_SIZE),
        ([frame(4, 0, 0, bytes(5))], FRAME_SIZE),
        ([frame(4, 1, 0, bytes(6))], FRAME_SIZE),
        ([frame(4, 0, 1)], PROTOCOL),
        ([frame(5, 0, 1, b"")], PROTOCOL),  # a push
        ([frame(6, 0, 0, bytes(7))], FRAME_SIZE),
        ([frame(6, 0, 1, bytes(8))], PROTOCOL),
        ([frame(7, 0, 1, bytes(8))], PROTOCOL),
        ([frame(7, 0, 0, bytes(7))], FRAME_SIZE),
        ([frame(8, 0, 0, bytes(4))], PROTOCOL),
        ([frame(8, 0, 0, bytes(3))], FRAME_SIZE),
        ([frame(8, 0, 9, b"\0\0\0\1")], PROTOCOL),
        ([frame(8, 0, 0, b"\x7f\xff\xff\xff")], FLOW_CONTROL),
        ([settings((4, 1 << 31))], FLOW_CONTROL),
        ([settings((2, 2))], PROTOCOL),
        ([settings((5, 100))], PROTOCOL),
        ([frame(1, 0, 1, b"")] + 20 * [frame(9, 0, 1, b"")], CALM),  # a flood of continuations
        ([frame(1, 0, 1, bytes(9_000)), frame(9, 0, 1, bytes(9_000))], CALM),
        ([frame(6, 0, 0, bytes(8)) * 5_000], CALM),
        ([frame(4, 0, 0) * 5_000], CALM),
        ([frame(2, 0, 1, bytes(5)) * 5_000], CALM),
        ([frame(7, 0, 0, bytes(8)) * 5_000], CALM),
        ([frame(99, 0, 1, bytes(5)) * 5_000], CALM),
    ],
)
def test_what_breaks_the_rules_ends_the_connection(raw: Raw, frames: list[bytes], code: int) -> None:
    raw.send(*frames)
    assert raw.farewell() == code


def test_what_is_too_large_for_a_frame(raw: Raw) -> None:
    raw.send(((1 << 14) + 1).to_bytes(3, "big") + b"\x06" + bytes(5))
    assert raw.farewell() == FRAME_SIZE


def test_what_is_no_preface(running: tuple[Any, int]) -> None:
    with Raw(running[1], settled=False) as raw:
        raw.send(b"GET / HTTP/1.1\r\n\r\n")
        got = b""
        while part := raw.socket.recv(4096):
            got += part
    assert b"this port speaks gRPC" in got
    with Raw(running[1], settled=False) as raw:
        raw.send(PREFACE, frame(6, 0, 0, bytes(8)))
        assert raw.farewell() == PROTOCOL


def test_a_priority_of_another_size_resets_its_stream(raw: Raw) -> None:
    raw.open(1, "ModelInfer")
    raw.send(frame(2, 0, 1, bytes(5)), frame(2, 0, 3, bytes(5)), frame(7, 0, 0, bytes(9)))  # nothing bad
    raw.send(frame(2, 0, 1, bytes(6)))
    found = raw.until("reset", "goaway")
    assert found is not None
    assert (found[0], found[2], int.from_bytes(found[3], "big")) == ("reset", 1, FRAME_SIZE)
    raw.open(3, "ModelInfer")
    raw.call(3, data())
    assert raw.trailers()["grpc-status"] == "0"


def test_resets_without_end(raw: Raw) -> None:
    head = raw.head("ModelInfer")
    try:
        for k in range(5_000):
            number = 2 * k + 1
            block = head if k == 0 else raw.head("ModelInfer")
            raw.send(frame(1, END_HEADERS, number, block), frame(3, 0, number, (8).to_bytes(4, "big")))
    except ConnectionError:
        pass
    assert raw.farewell() in (CALM, None)  # the answer may be lost with what was under way


def test_spoilt_messages_without_end(raw: Raw) -> None:
    raw.send(settings((4, 1 << 30)), frame(8, 0, 0, (1 << 30).to_bytes(4, "big")))
    raw.open(1, "ModelStreamInfer")
    for _ in range(100):
        raw.send(frame(0, 0, 1, b"\0\0\0\0\0" * 100))
    raw.send(frame(0, END_STREAM, 1))
    count = 0
    while (found := raw.until("data", "headers")) is not None and not (found[0] == "headers" and found[1] & END_STREAM):
        if found[0] == "data":
            count += 1
            assert b"'' is not loaded" in found[3]
    assert count == 10_000


def test_streams_beyond_those_that_may_be(raw: Raw) -> None:
    for k in range(1_025):
        raw.open(2 * k + 1, "ModelInfer")
    found = raw.until("reset")
    assert found is not None
    assert (found[2], int.from_bytes(found[3], "big")) == (2 * 1_024 + 1, REFUSED)
    raw.call(1, data())
    assert raw.trailers()["grpc-status"] == "0"


def test_a_stream_that_is_closed(raw: Raw) -> None:
    raw.open(1)
    raw.call(1, b"")
    assert raw.trailers()["grpc-status"] == "0"
    raw.call(1, b"")  # late data is nothing bad
    raw.send(frame(8, 0, 1, b"\0\0\0\1"), frame(3, 0, 1, bytes(4)), frame(6, 0, 0, b"12345678"))
    found = raw.until("ping")
    assert found is not None
    assert found[3] == b"12345678"
    raw.open(1)
    assert raw.farewell() == STREAM_CLOSED


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"__method": "GET"}, ("405", None)),
        ({"content_type": "text/plain"}, ("415", None)),
        ({"content_type": "application/grpc-web"}, ("415", None)),
        ({"content_type": "application/grpc+proto"}, ("200", "0")),
        ({"grpc_timeout": "5S"}, ("200", "0")),
        ({"grpc_timeout": "5x"}, ("200", "3")),
        ({"__authority": "evil.example"}, ("200", "7")),
        ({"origin": "https://evil.example"}, ("200", "7")),
        ({"a": "x" * 17_000}, ("200", "8")),
        ({f"a{k}": "x" for k in range(100)}, ("200", "8")),
    ],
)
def test_heads(raw: Raw, more: dict[str, str], expected: tuple[str, str | None]) -> None:
    block = raw.head("ServerLive", **more)
    parts = [block[at : at + 9_000] for at in range(0, len(block), 9_000)]
    last = len(parts) - 1
    for i, part in enumerate(parts):
        raw.send(frame(9 if i else 1, END_HEADERS if i == last else 0, 1, part))
    raw.call(1, b"")
    status = None
    while True:
        found = raw.until("headers")
        assert found is not None
        headers = dict(raw.decoder.decode(found[3]))
        status = headers.get(":status", status)
        if found[1] & END_STREAM:
            break
    assert (status, headers.get("grpc-status")) == expected


@pytest.mark.parametrize(
    "more",
    [{"__path": ""}, {"__scheme": ""}, {"__authority": ""}, {"connection": "close"}, {"te": "gzip"}, {"A": "b"},
     {"a": "b\r\nc"}, {"__status": "200"}, {"host": "other"}],
)  # fmt: skip
def test_malformed_heads_reset_their_stream(raw: Raw, more: dict[str, str]) -> None:
    raw.open(1, **more)
    found = raw.until("reset")
    assert found is not None
    assert int.from_bytes(found[3], "big") == PROTOCOL


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", "3", "without its message"),
        (b"\0\0\0\0", "3", "within a message"),
        (b"\0\0\0\0\5abc", "3", "within a message"),
        (b"\1\0\0\0\1a", "12", "compressed"),
        (b"\0\xff\xff\xff\xff", "8", "at most"),
        (b"\0\0\0\0\0\0\0\0\0\0", "3", "two messages"),
    ],
)
def test_spoilt_bodies(raw: Raw, body: bytes, status: str, says: str) -> None:
    raw.open(1, "ModelInfer")
    raw.send(frame(0, END_STREAM, 1, body))
    trailers = raw.trailers()
    assert trailers["grpc-status"] == status
    assert says in trailers["grpc-message"]


def test_answers_wait_for_the_windows_of_the_client(running: tuple[Any, int]) -> None:
    with Raw(running[1], settled=False) as raw:
        raw.send(PREFACE, settings((4, 10)))
        raw.open(1, "ModelInfer")
        raw.call(1, data("abc"))
        got, size = b"", 10
        while True:
            found = raw.until("data", "headers")
            assert found is not None
            if found[0] == "headers":
                if found[1] & END_STREAM:
                    break
                continue
            assert len(found[3]) <= size
            got += found[3]
            raw.send(settings((4, 20)) if size == 10 else frame(8, 0, 1, (10).to_bytes(4, "big")))
            size = 20
        assert message("ModelInferResponse").FromString(got[5:]).id == "abc"
        raw.open(3, "ModelInfer")
        raw.send(frame(8, 0, 3, b"\x7f\xff\xff\xff"))
        found = raw.until("reset")
        assert found is not None
        assert int.from_bytes(found[3], "big") == FLOW_CONTROL


def test_a_stream_of_a_client_that_takes_nothing_is_not_read_without_end(running: tuple[Any, int]) -> None:
    with Raw(running[1], settled=False) as raw:
        raw.send(PREFACE, settings((4, 0)))
        raw.open(1, "ModelStreamInfer")
        raw.socket.settimeout(0.5)
        one = data()
        body = b"\0" + len(one).to_bytes(4, "big") + one
        sent = 0
        try:
            while sent < 64 << 20:  # against the rules: its window is 1 MiB
                piece = (body * 100)[: 1 << 14]
                raw.send(frame(0, 0, 1, piece))
                sent += len(piece)
        except OSError:
            pass
        found = raw.until("reset", "goaway")
        assert found is None or int.from_bytes(found[3][-4:], "big") in (FLOW_CONTROL, CALM)


def test_slow_clients(running: tuple[Any, int]) -> None:
    with served({"gru": MODEL}, deadline_seconds=0.4, keep_alive_seconds=0.5) as (_, port):
        with Raw(port, settled=False) as raw:
            assert raw.farewell() == PROTOCOL  # no preface comes
        with Raw(port) as raw:
            raw.open(1, "ModelInfer")
            assert raw.trailers()["grpc-status"] == "4"  # nor its message
            assert raw.farewell() == 0  # nor anything else
        with Raw(port) as raw:
            raw.open(1, "ModelStreamInfer")
            time.sleep(1.2)  # a stream may be silent
            raw.call(1, data(), end=False)
            assert raw.until("data") is not None
            raw.send(frame(0, 0, 1, b"\0\0"))
            assert raw.trailers()["grpc-status"] == "4"
        with Raw(port, settled=False) as raw:
            raw.send(PREFACE, settings((4, 0)))
            raw.open(1, "ModelInfer")
            raw.call(1, data())
            assert raw.farewell() is None  # the answer is not taken


def test_connections_of_one_address() -> None:
    with served({"gru": MODEL}, max_connections_per_address=2) as (_, port):
        with Raw(port) as first, Raw(port) as second:
            for raw in (first, second):
                raw.open(1)
                raw.call(1, b"")
                assert raw.trailers()["grpc-status"] == "0"
            with Raw(port) as third:
                assert third.farewell() == CALM
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with Raw(port) as raw:
                raw.open(1)
                try:
                    raw.call(1, b"")
                except ConnectionError:
                    continue
                if raw.until("headers") is not None:
                    return
        pytest.fail("those that have gone count for ever")


def test_a_server_that_goes_down_answers_what_has_come() -> None:
    with served({"gru": MODEL}, drain_seconds=5) as (server, port), Raw(port) as raw, Raw(port) as idle:
        idle.open(1)
        idle.call(1, b"")
        assert idle.trailers()["grpc-status"] == "0"
        raw.open(1, "ModelStreamInfer")
        raw.call(1, data(sequence_id=1, sequence_start=True), end=False)
        assert raw.until("data") is not None
        server.stop_soon()
        assert idle.farewell() == 0
        assert raw.until("goaway") is not None
        trailers = raw.trailers()
        assert trailers["grpc-status"] == "14"
        assert trailers["fastgru-reason"] == "draining"
        assert raw.until("data", "headers", "goaway") is None  # closed


def test_keys(tmp_path: Path) -> None:
    import hashlib

    lines = [
        f"{name} {role} {hashlib.sha256(name.encode()).hexdigest()}"
        for name, role in (("alice", "user"), ("bob", "admin"))
    ]
    (tmp_path / "keys").write_text("\n".join(lines))
    with served({"gru": MODEL}, api_key_file=tmp_path / "keys") as (_, port), Raw(port) as raw:

        def ask(number: int, method: str, body: bytes, **more: str) -> dict[str, str]:
            raw.open(number, method, **more)
            raw.call(number, body)
            return raw.trailers()

        assert ask(1, "ServerLive", b"")["grpc-status"] == "0"  # orchestrators have no key
        refused = ask(3, "ServerMetadata", b"")
        assert (refused["grpc-status"], refused["fastgru-reason"]) == ("16", "key")
        assert ask(5, "ServerMetadata", b"", authorization="Bearer nobody")["grpc-status"] == "16"
        assert ask(7, "ServerMetadata", b"", authorization="Bearer alice")["grpc-status"] == "0"
        assert ask(9, "ServerMetadata", b"", x_api_key="bob")["grpc-status"] == "0"
        begin = data(sequence_id=1, sequence_start=True)
        assert ask(11, "ModelInfer", begin, authorization="Bearer alice")["grpc-status"] == "0"
        assert ask(13, "ModelInfer", data(sequence_id=1), authorization="Bearer bob")["grpc-status"] == "3"
        load = message("RepositoryModelLoadRequest")(model_name="gru").SerializeToString()
        assert ask(15, "RepositoryModelLoad", load, authorization="Bearer alice")["grpc-status"] == "7"
        assert ask(17, "RepositoryModelLoad", load, authorization="Bearer bob")["grpc-status"] == "0"


def test_a_port_that_is_taken_is_told_with_its_flag() -> None:
    from fastgru import serve

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"port {port} \(--grpc-port\): "):
            serve.run({"gru": MODEL}, port=0, grpc_port=port)


def test_settings_that_contradict_each_other() -> None:
    port = free_port()
    with pytest.raises(SettingsError, match="give gRPC another port"):
        Settings(port=port, grpc_port=port)
    with pytest.raises(SettingsError, match="whose place unix takes"):
        Settings(unix=Path("a.sock"), grpc_port=port)
    with pytest.raises(SettingsError, match="at most 65535"):
        Settings(grpc_port=70_000)


@pytest.mark.parametrize(
    ("given", "port"),
    [
        ({}, 8001),
        ({"grpc_port": 0}, 0),
        ({"grpc_port": 9001}, 9001),
        ({"port": 8080}, 0),
        ({"port": 8080, "grpc_port": 8001}, 8001),
        ({"unix": Path("a.sock")}, 0),
    ],
)
def test_the_port_that_is_taken_where_none_is_told(given: dict[str, Any], port: int) -> None:
    assert Settings(**given).port_of_grpc == port


def test_what_is_counted(running: tuple[Any, int], raw: Raw) -> None:
    from urllib.request import urlopen

    def count(pattern: str) -> float:
        lines = urlopen(running[0].urls[0] + "/metrics").read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(pattern))

    before = count('fastgru_refused_total{reason="unknown_sequence"}'), count("nv_inference_request_success")
    raw.open(1, "ModelInfer")
    raw.call(1, data(sequence_id=404))
    assert raw.trailers()["grpc-status"] == "3"
    raw.open(3, "ModelInfer")
    raw.call(3, data())
    assert raw.trailers()["grpc-status"] == "0"
    after = count('fastgru_refused_total{reason="unknown_sequence"}'), count("nv_inference_request_success")
    assert after == (before[0] + 1, before[1] + 1)
    assert count("fastgru_in_flight_bytes") == 0
    assert count("fastgru_pending_jobs") == 0


def test_calls_of_a_key_that_has_gone_end(tmp_path: Path) -> None:
    def write(*names: str) -> None:
        lines = [f"{name} user {hashlib.sha256(name.encode()).hexdigest()}\n" for name in names]
        (tmp_path / "keys").write_text("".join(lines))

    write("ann", "bob")
    with served({"gru": MODEL}, api_key_file=tmp_path / "keys") as (server, port), Raw(port) as ann, Raw(port) as bob:
        for raw, name in ((ann, "ann"), (bob, "bob")):
            raw.open(1, "ModelStreamInfer", x_api_key=name)
            raw.call(1, data(), end=False)
            assert raw.until("data") is not None
        for others in (["bob"], ["bob", "carol"], ["bob"]):
            write(*others)
            server.reload_soon()
        trailers = ann.trailers()
        assert (trailers["grpc-status"], "withdrawn" in trailers["grpc-message"]) == ("16", True)
        assert ann.until("goaway", "data") is None
        for _ in range(2):  # one that has stayed goes on, until it ends its call
            bob.call(1, data(), end=False)
            assert bob.until("data") is not None
        bob.send(frame(0, END_STREAM, 1))
        assert bob.trailers()["grpc-status"] == "0"
        assert bob.until("data") is None


def test_a_refusal_holds_until_the_keys_are_read_again(tmp_path: Path) -> None:
    def write(*names: str) -> None:
        lines = [f"{name} user {hashlib.sha256(name.encode()).hexdigest()}\n" for name in names]
        (tmp_path / "keys").write_text("".join(lines))

    def metadata(number: int) -> str:
        raw.open(number, "ServerMetadata", x_api_key="bob")
        raw.call(number, b"")
        return raw.trailers()["grpc-status"]

    write("ann")
    with served({"gru": MODEL}, api_key_file=tmp_path / "keys") as (server, port), Raw(port) as raw:
        assert [metadata(number) for number in (1, 3, 5)] == ["16", "16", "16"]
        write("ann", "bob")
        server.reload_soon().result(30)
        assert metadata(7) == "0"


def test_answers_that_are_not_taken_have_a_bound() -> None:
    long = request("gru", {"x": normal(20_000, 1, 8)}).SerializeToString()  # whose answer has 240,000 bytes
    bounds = dict.fromkeys(("max_body_bytes", "max_in_flight_bytes", "max_message_bytes"), 1 << 20)
    with served({"gru": MODEL}, **bounds) as (server, port), Raw(port) as raw, Raw(port) as other:
        raw.send(settings((4, 0)))
        numbers, statuses = [*range(1, 23, 2)], {}
        for number in numbers:
            raw.open(number, "ModelStreamInfer")
            body = b"\0" + len(long).to_bytes(4, "big") + long
            for at in range(0, len(body), 1 << 14):
                last = END_STREAM if at + (1 << 14) >= len(body) else 0
                raw.send(frame(0, last, number, body[at : at + (1 << 14)]))
            found = raw.until("headers")  # and no more of an answer
            assert found is not None
            statuses[number] = dict(raw.decoder.decode(found[3])).get("grpc-status")
        taken = [number for number, status in statuses.items() if status is None]
        assert (taken, {statuses[n] for n in numbers if n not in taken}) == (numbers[:5], {"14"})
        assert server.gate.unread == 5 * (server.gate.unread // 5) > 1 << 20
        other.open(1, "ModelInfer")
        other.call(1, data())  # others do not wait for this one
        assert other.trailers()["grpc-status"] == "0"
        raw.send(frame(8, 0, 0, (1 << 24).to_bytes(4, "big")), frame(8, 0, 1, (1 << 20).to_bytes(4, "big")))
        assert raw.trailers()["grpc-status"] == "0"
        raw.send(frame(3, 0, 3, bytes(4)), settings((4, 1 << 20)))
        for _ in range(3):
            assert raw.trailers()["grpc-status"] == "0"
        assert server.gate.unread == 0
        raw.open(101, "ModelInfer")
        raw.call(101, data())
        assert raw.trailers()["grpc-status"] == "0"


def test_long_heads_are_read_each_time() -> None:
    """What a client makes a server remember is small."""
    heads = Heads(_absent, Guard(Settings()), max_bytes=1 << 14, max_headers=100)
    given = [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", "localhost")]
    for size, remembered in ((100, True), (4_000, False)):
        block = Encoder().encode([(*pair, True) for pair in [*given, ("more", size * "~")]])  # in no table
        assert heads.read(block).headers[b"more"] == size * b"~"
        assert (heads.read(block) is heads.read(block)) is remembered
