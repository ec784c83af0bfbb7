"""Triton's own client over gRPC, in a closed loop, in the environment that has tritonclient.

It reads jobs, one object of JSON a line: {"port", "streams", "sessions", "first", "seconds"}, and answers each with
{"latencies", in ns, "outputs"}. One session waits for each answer before the next frame, through the
client that blocks; several do the same through the client for asyncio. outputs: the first ones of the first session.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import tritonclient.grpc as blocking
import tritonclient.grpc.aio as triton

__all__ = ["main"]

HIDDEN, KEPT = 64, 4
Found = tuple[list[int], list[list[float]]]


def frames(count: int = 61) -> list[Any]:
    """As `bench.serve.models.frames_of` makes them."""
    x = np.random.default_rng(1).standard_normal((count, 1, 1, HIDDEN), dtype=np.float32)
    made = []
    for each in x:
        given = blocking.InferInput("x", [1, 1, HIDDEN], "FP32")
        given.set_data_from_numpy(each)
        made.append([given])
    return made


def alone(client: Any, session: int, streams: bool, seconds: float) -> Found:
    """One session, through the client that blocks."""
    inputs, took, kept = frames(), [], []
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    if streams:
        client.start_stream(lambda result, error: answers.put((result, error)))
    end, step, clock = time.perf_counter() + seconds, 0, time.perf_counter_ns
    while time.perf_counter() < end:
        given = {"sequence_id": session, "sequence_start": step == 0}
        began = clock()
        if streams:
            client.async_stream_infer("gru", inputs[step % len(inputs)], **given)
            result, error = answers.get()
            if error:
                raise error
        else:
            result = client.infer("gru", inputs[step % len(inputs)], **given)
        y = result.as_numpy("y")
        took.append(clock() - began)
        if step < KEPT:
            kept.append(y.ravel().tolist())
        step += 1
    if streams:
        client.stop_stream()
    return took, kept


async def together(port: int, first: int, sessions: int, streams: bool, seconds: float) -> Found:
    """Several sessions, each with a channel of its own, through the client for asyncio."""
    inputs, took, kept = frames(), [], []
    end = time.perf_counter() + seconds

    async def unary(k: int, client: Any) -> None:
        step = 0
        while time.perf_counter() < end:
            given = inputs[(7 * k + step) % len(inputs)]
            began = time.perf_counter_ns()
            result = await client.infer("gru", given, sequence_id=first + k, sequence_start=step == 0)
            note(k, step, result, began)
            step += 1

    def note(k: int, step: int, result: Any, began: int) -> None:
        y = result.as_numpy("y")
        took.append(time.perf_counter_ns() - began)
        if k == 0 and step < KEPT:
            kept.append(y.ravel().tolist())

    async def stream(k: int, client: Any) -> None:
        answered: asyncio.Queue[None] = asyncio.Queue()
        began = [0]

        async def requests() -> AsyncIterator[dict[str, Any]]:
            step = 0
            while time.perf_counter() < end:
                began[0] = time.perf_counter_ns()
                yield {
                    "model_name": "gru", "inputs": inputs[(7 * k + step) % len(inputs)],
                    "sequence_id": first + k, "sequence_start": step == 0,
                }  # fmt: skip
                await answered.get()
                step += 1

        step = 0
        async for result, error in client.stream_infer(requests()):
            if error:
                raise error
            note(k, step, result, began[0])
            step += 1
            answered.put_nowait(None)

    clients = [triton.InferenceServerClient(f"127.0.0.1:{port}", channel_args=[("k", k)]) for k in range(sessions)]
    await asyncio.gather(*[(stream if streams else unary)(k, client) for k, client in enumerate(clients)])
    for client in clients:
        await client.close()
    return took, kept


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        if job["sessions"] == 1:
            with blocking.InferenceServerClient(f"127.0.0.1:{job['port']}") as client:
                took, kept = alone(client, job["first"], job["streams"], job["seconds"])
        else:
            took, kept = asyncio.run(
                together(job["port"], job["first"], job["sessions"], job["streams"], job["seconds"])
            )
        print(json.dumps({"latencies": took, "outputs": kept}), flush=True)


if __name__ == "__main__":
    main()
