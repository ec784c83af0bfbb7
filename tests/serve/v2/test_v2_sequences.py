"""Sequences by their own paths: whose they are, and that a state goes out and comes back to the bit."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("orjson", reason="needs the extra 'serve'")

from asgi import Reply, call, protocol, run
from protocol_models import H, I, in_bytes, normal, stateful, stateless

from fastgru import GRU, Gate, Model, Sequential, load
from fastgru.simd.target import TARGET, TARGETS
from fastgru.streaming import state_blob

Asks = Callable[..., Awaitable[Reply]]
MODEL = stateful()


def other() -> Model:
    gates = [Gate(normal(H, I, seed=k + 20), normal(H, H, seed=k + 23)) for k in range(3)]
    gru = GRU.from_gates(reset=gates[0], update=gates[1], candidate=gates[2])
    return Model(Sequential(gru).to_graph(initial_state=True))


def serve(work: Callable[[Asks], Awaitable[Any]], **options: Any) -> None:
    async def served() -> None:
        app = protocol({"m": MODEL, "other": other(), "pair": stateless()}, **options)
        await work(lambda *arguments, **more: call(app, *arguments, **more))

    run(served())


async def push(ask: Asks, seed: int, sequence: Any, start: bool = False, **headers: str) -> np.ndarray:
    body, more = in_bytes(normal(1, 1, 8, seed=seed), sequence_id=sequence, sequence_start=start)
    reply = await ask("POST", "/v2/models/m/infer", body, {**more, **headers})
    assert reply.status == 200, reply
    return np.frombuffer(reply.object_and_bytes[1], np.float32)


def expected(*seeds: int) -> np.ndarray:
    """The last output of a stream in process."""
    stream = MODEL.stream()
    return [stream.push(normal(1, 1, 8, seed=seed)) for seed in seeds][-1].ravel()


def test_a_state_goes_out_and_comes_back() -> None:
    async def work(ask: Asks) -> None:
        await push(ask, 1, 7, start=True)
        await push(ask, 2, 7)
        saved = await ask("GET", "/v2/models/m/sequences/7/state")
        assert saved.headers["content-type"] == "application/octet-stream"
        stream = MODEL.stream()
        stream.load_state(saved.body)  # the bytes are those of a stream in process
        assert stream.push(normal(1, 1, 8, seed=3)).tobytes() == expected(1, 2, 3).tobytes()
        np.testing.assert_array_equal(await push(ask, 3, 7), expected(1, 2, 3))
        assert (await ask("PUT", "/v2/models/m/sequences/7/state", saved.body)).json["id"] == 7
        np.testing.assert_array_equal(await push(ask, 4, 7), expected(1, 2, 4))
        assert (await ask("PUT", '/v2/models/m/sequences/"7"/state', saved.body)).json["id"] == "7"
        np.testing.assert_array_equal(await push(ask, 5, "7"), expected(1, 2, 5))

    serve(work)


def test_a_state_brings_its_number_of_steps_along() -> None:
    async def work(ask: Asks) -> None:
        for seed in (1, 2):
            await push(ask, seed, 7, start=seed == 1)
        saved = await ask("GET", "/v2/models/m/sequences/7/state")
        assert saved.headers["sequence-step"] == "2"
        moved = await ask("PUT", "/v2/models/m/sequences/8/state", saved.body, {"sequence-step": "2"})
        assert moved.json["step"] == 2
        body, more = in_bytes(normal(1, 1, 8, seed=3), sequence_id=8, sequence_step=1)
        early = await ask("POST", "/v2/models/m/infer", body, more)
        assert (early.status, early.json["reason"]) == (409, "step")
        assert "the next step is 2" in early.json["error"]
        body, more = in_bytes(normal(1, 1, 8, seed=3), sequence_id=8, sequence_step=2)
        reply = await ask("POST", "/v2/models/m/infer", body, more)
        np.testing.assert_array_equal(np.frombuffer(reply.object_and_bytes[1], np.float32), expected(1, 2, 3))
        again = await ask("PUT", "/v2/models/m/sequences/8/state", saved.body, {"sequence-step": "2"})
        assert again.json["step"] == 2  # of a sequence that is there, too
        assert (await ask("PUT", "/v2/models/m/sequences/8/state", saved.body)).json["step"] == 2
        assert (await ask("PUT", "/v2/models/m/sequences/9/state", saved.body)).json["step"] == 0
        for wrong in ("-1", "two", "1" * 19, "", "1.0", "²"):
            reply = await ask("PUT", "/v2/models/m/sequences/10/state", saved.body, {"sequence-step": wrong})
            assert (reply.status, reply.json["reason"]) == (400, "step"), wrong
        assert (await ask("GET", "/v2/models/m/sequences/10")).status == 404

    serve(work)


@pytest.mark.parametrize("asked", [True, False])
def test_a_state_of_another_target(monkeypatch: pytest.MonkeyPatch, asked: bool) -> None:
    stream = MODEL.stream()
    stream.push(normal(1, 1, 8, seed=1))
    with monkeypatch.context() as patch:
        patch.setattr(state_blob, "TARGET", next(target for target in TARGETS if target != TARGET))
        theirs = stream.save_state()

    async def work(ask: Asks) -> None:
        await push(ask, 5, 8, start=True)
        for name in (7, 8):  # a new one, and one that is there
            reply = await ask("PUT", f"/v2/models/m/sequences/{name}/state", theirs)
            assert reply.status == (200 if asked else 409)
            assert asked or (reply.json["reason"] == "state" and "--any-target" in reply.json["error"])
        np.testing.assert_array_equal(await push(ask, 6, 8), expected(1, 6) if asked else expected(5, 6))

    serve(work, any_target=asked)


def test_a_fork_goes_on_by_itself() -> None:
    async def work(ask: Asks) -> None:
        await push(ask, 1, "a/b", start=True)
        reply = await ask("POST", "/v2/models/m/sequences/a%2Fb/fork", {"id": "c"})
        assert (reply.status, reply.json["id"]) == (200, "c")
        np.testing.assert_array_equal(await push(ask, 2, "a/b"), expected(1, 2))
        np.testing.assert_array_equal(await push(ask, 3, "c"), expected(1, 3))
        assert (await ask("POST", "/v2/models/m/sequences/a%2Fb/fork", {"id": "c"})).status == 409
        for wrong in ({}, {"id": 0}, {"id": "c", "more": 1}, 7, {"id": None}):
            assert (await ask("POST", "/v2/models/m/sequences/c/fork", wrong)).status == 400

    serve(work)


def test_reset_end_and_the_list() -> None:
    async def work(ask: Asks) -> None:
        await push(ask, 1, 1, start=True)
        await push(ask, 1, "x", start=True)
        listed = (await ask("GET", "/v2/models/m/sequences")).json
        assert ([each["id"] for each in listed["sequences"]], listed["capacity"]) == ([1, "x"], 64)
        assert (await ask("GET", "/v2/models/m/sequences/x")).json["id"] == "x"
        assert (await ask("POST", "/v2/models/m/sequences/1/reset")).json["step"] == 0
        np.testing.assert_array_equal(await push(ask, 2, 1), expected(2))
        assert (await ask("DELETE", "/v2/models/m/sequences/x")).json == {"id": "x"}
        for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/state"), ("POST", "/reset"), ("POST", "/fork")]:
            reply = await ask(method, f"/v2/models/m/sequences/x{path}", {"id": 3} if path == "/fork" else b"")
            assert (reply.status, reply.json["reason"]) == (404, "unknown_sequence")
        assert len((await ask("GET", "/v2/models/m/sequences")).json["sequences"]) == 1

    serve(work)


def test_a_query_is_one_key_or_refused() -> None:
    async def work(ask: Asks) -> None:
        await push(ask, 1, 7, start=True)
        for query in ("&".join(["key=a"] * 17), "key=a&key=b", "id=7", "%ff", "&"):
            for path in ("/v2/models/m/sequences", "/v2/models/m/sequences/7"):
                reply = await ask("GET", f"{path}?{query}")
                assert (reply.status, reply.json["reason"]) == (400, "request"), (path, query)

    serve(work)


def test_many_digits_are_no_text() -> None:
    async def work(ask: Asks) -> None:
        body, headers = in_bytes(normal(1, 1, 8))
        for digits in ("9" * 21, "9" * 1_000, "0" * 30, "9" * 5_000):
            reply = await ask("POST", f"/v2/models/m/infer?sequence_id={digits}&sequence_start=true", body, headers)
            assert (reply.status, reply.json["reason"]) == (400, "sequence_id")
        reply = await ask("POST", f"/v2/models/m/infer?sequence_id={7:030}&sequence_start=true", body, headers)
        assert reply.status == 200
        assert [each["id"] for each in (await ask("GET", "/v2/models/m/sequences")).json["sequences"]] == [7]

    serve(work)


def test_a_start_that_is_refused_leaves_a_sequence_that_is_there() -> None:
    async def work(ask: Asks) -> None:
        async def refused_start(sequence: int) -> None:
            body, headers = in_bytes(normal(1, 1, 8), sequence_id=sequence, sequence_start=True, timeout=1)
            assert (await ask("POST", "/v2/models/m/infer", body, headers)).status == 503

        await push(ask, 1, 7, start=True)
        assert (await ask("POST", "/v2/models/m/sequences/7/reset")).status == 200
        assert (await ask("POST", "/v2/models/m/sequences/7/fork", {"id": 8})).status == 200
        for sequence in (7, 8):
            await refused_start(sequence)
            np.testing.assert_array_equal(await push(ask, 2, sequence), expected(2))
        await refused_start(9)  # which was not there, and is not
        assert (await ask("GET", "/v2/models/m/sequences/9")).status == 404

    serve(work)


def test_a_state_of_another_model_is_409_and_changes_nothing() -> None:
    async def work(ask: Asks) -> None:
        await push(ask, 1, 1, start=True)
        saved = (await ask("GET", "/v2/models/m/sequences/1/state")).body
        reply = await ask("PUT", "/v2/models/other/sequences/1/state", saved)
        assert (reply.status, reply.json["reason"]) == (409, "state")
        assert "another model" in reply.json["error"]
        for damaged in (b"", saved[:-1], saved[:-1] + bytes([saved[-1] ^ 1])):
            for sequence in (1, 2):
                assert (await ask("PUT", f"/v2/models/m/sequences/{sequence}/state", damaged)).status == 409
        assert [each["id"] for each in (await ask("GET", "/v2/models/m/sequences")).json["sequences"]] == [1]
        assert (await ask("GET", "/v2/models/other/sequences")).json["sequences"] == []
        np.testing.assert_array_equal(await push(ask, 2, 1), expected(1, 2))

    serve(work)


def test_sequences_belong_to_the_key_that_opened_them() -> None:
    async def work(ask: Asks) -> None:
        path = "/v2/models/m/sequences"
        await push(ask, 1, 1, start=True, As="alice")
        await push(ask, 2, 1, start=True, As="bob")  # another one, of the same id
        np.testing.assert_array_equal(await push(ask, 3, 1, As="alice"), expected(1, 3))
        np.testing.assert_array_equal(await push(ask, 3, 1, As="bob"), expected(2, 3))
        assert [s["key"] for s in (await ask("GET", path, b"", {"As": "bob"})).json["sequences"]] == ["bob"]
        assert [s["key"] for s in (await ask("GET", path, b"", {"As": "root"})).json["sequences"]] == ["alice", "bob"]
        for who, key in [("root", "alice"), ("alice", "alice")]:
            asked = await ask("GET", f"{path}?key={key}", b"", {"As": who})
            assert [s["key"] for s in asked.json["sequences"]] == [key]
        assert (await ask("GET", f"{path}?key=alice", b"", {"As": "bob"})).status == 403
        assert (await ask("GET", f"{path}/1/state", b"", {"As": "eve"})).status == 404
        for method, end in [("GET", "/state"), ("PUT", "/state"), ("POST", "/reset"), ("DELETE", ""), ("GET", "")]:
            reply = await ask(method, f"{path}/1{end}?key=alice", b"", {"As": "bob"})
            assert (reply.status, reply.json["reason"]) == (403, "role")
        assert (await ask("GET", f"{path}/1?key=alice", b"", {"As": "alice"})).status == 200
        assert (await ask("GET", f"{path}/1?key=alice&key=bob", b"", {"As": "root"})).status == 400
        assert (await ask("GET", f"{path}/1?name=alice", b"", {"As": "root"})).status == 400
        state = (await ask("GET", f"{path}/1/state?key=alice", b"", {"As": "root"})).body
        assert (await ask("PUT", f"{path}/1/state?key=alice", state, {"As": "root"})).status == 200
        reply = await ask("PUT", f"{path}/1/state?key=carol", state, {"As": "root"})
        assert (reply.status, reply.json["reason"]) == (404, "key")
        assert "there is no key 'carol'" in reply.json["error"]
        assert (await ask("DELETE", f"{path}/1?key=alice", b"", {"As": "root"})).json == {"id": 1}
        assert [s["key"] for s in (await ask("GET", path, b"", {"As": "root"})).json["sequences"]] == ["bob"]

    serve(work)


@pytest.mark.parametrize("path", ["/sequences", "/sequences/1", "/sequences/1/state"])
def test_a_model_without_a_state_has_no_sequences(path: str) -> None:
    async def work(ask: Asks) -> None:
        reply = await ask("GET", f"/v2/models/pair{path}")
        assert (reply.status, reply.json["reason"]) == (400, "sequence_id")

    serve(work)


def test_a_full_server_says_when_to_come_again() -> None:
    async def work(ask: Asks) -> None:
        for sequence in (1, 2):
            await push(ask, 1, sequence, start=True)
        body, headers = in_bytes(normal(1, 1, 8), sequence_id=3, sequence_start=True)
        reply = await ask("POST", "/v2/models/m/infer", body, headers)
        assert (reply.status, reply.json["reason"]) == (503, "capacity")
        assert int(reply.headers["retry-after"]) >= 1
        await push(ask, 2, 2, start=True)  # a start anew takes no more room
        assert (await ask("DELETE", "/v2/models/m/sequences/1")).status == 200
        await push(ask, 2, 3, start=True)

    serve(work, capacity=2)


def test_states_that_begin_inside_a_file_are_opened(tmp_path: Path) -> None:
    """A sequence of a file without a state among its inputs gives what one call with all frames gives."""
    weights = [normal(*shape).tolist() for shape in ((I, 3 * H), (H, 3 * H), (2, 3 * H))]
    layers = [{"type": "gru", "activation": "", "shape": [None, None, H], "weights": weights}]
    path = tmp_path / "amp.json"
    path.write_text(json.dumps({"in_shape": [None, None, I], "layers": layers}))
    x = normal(1, 3, I)

    async def work() -> None:
        app = protocol({"m": path}, open_states=True)
        made = []
        for k in range(3):
            body, more = in_bytes(x[:, k : k + 1], sequence_id="a", sequence_start=k == 0)
            reply = await call(app, "POST", "/v2/models/m/infer", body, more)
            assert reply.status == 200, reply
            made.append(np.frombuffer(reply.object_and_bytes[1], np.float32))
        assert np.array_equal(np.stack(made), load(path)(x)[0])

    run(work())
