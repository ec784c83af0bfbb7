"""Triton's own gRPC client, in a closed loop, in the environment that has tritonclient.

It reads jobs, one JSON object per line: {"port", "streams", "sessions", "first", "seconds"}. It answers each with
{"latencies", in ns, "outputs"} or {"error"}. A single session uses the blocking client, and waits for each answer
before the next frame. Several sessions use grpcio with bytes and asyncio, because Triton's client takes more time for a
message than the servers do. outputs: the first ones of the first session.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
import time
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as blocking
from tritonclient.grpc import service_pb2 as messages

__all__ = ["main"]

HIDDEN, KEPT = 64, 4
SERVICE = "/inference.GRPCInferenceService"
Found = tuple[list[int], list[list[float]]]


def frames(count: int = 61) -> list[Any]:
    """Return the same frames as `bench.serve.models.frames_of`, as inputs of the client."""
    x = np.random.default_rng(1).standard_normal((count, 1, 1, HIDDEN), dtype=np.float32)
    made = []
    for each in x:
        given = blocking.InferInput("x", [1, 1, HIDDEN], "FP32")
        given.set_data_from_numpy(each)
        made.append([given])
    return made


def alone(client: Any, session: int, streams: bool, seconds: float) -> Found:
    """Run one session through the blocking client."""
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
    """Run several sessions, each with a channel of its own."""
    took: list[int] = []
    kept: list[list[float]] = []
    end, clock = time.perf_counter() + seconds, time.perf_counter_ns

    def note(k: int, step: int, answer: bytes, began: int) -> None:
        took.append(clock() - began)
        if k == 0 and step < KEPT:
            kept.append(output(answer, streams))

    async def unary(k: int, channel: Any) -> None:
        call, sent, step = channel.unary_unary(f"{SERVICE}/ModelInfer"), encoded(first + k), 0
        while time.perf_counter() < end:
            began = clock()
            note(k, step, await call(sent[step % len(sent)]), began)
            step += 1

    async def stream(k: int, channel: Any) -> None:
        call, sent, step = channel.stream_stream(f"{SERVICE}/ModelStreamInfer")(), encoded(first + k), 0
        while time.perf_counter() < end:
            began = clock()
            await call.write(sent[step % len(sent)])
            note(k, step, await call.read(), began)
            step += 1
        await call.done_writing()
        await call.read()

    options = [("grpc.use_local_subchannel_pool", 1)]  # a separate connection for each channel
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(sessions)]
    await asyncio.gather(*[(stream if streams else unary)(k, channel) for k, channel in enumerate(channels)])
    for channel in channels:
        await channel.close()
    return took, kept


def encoded(session: int, count: int = 61) -> list[bytes]:
    """Return the messages of a session. The first one begins the sequence, also when it is sent again."""
    x = np.random.default_rng(1).standard_normal((count, 1, 1, HIDDEN), dtype=np.float32)
    made = []
    for k, each in enumerate(x):
        request = messages.ModelInferRequest(model_name="gru", raw_input_contents=[each.tobytes()])
        request.inputs.add(name="x", datatype="FP32", shape=[1, 1, HIDDEN])
        request.parameters["sequence_id"].int64_param = session
        if k == 0:
            request.parameters["sequence_start"].bool_param = True
        made.append(request.SerializeToString())
    return made


def output(answer: bytes, streams: bool) -> list[float]:
    """Return the numbers of an answer. Raises `ValueError` if the answer is an error."""
    if streams:
        told = messages.ModelStreamInferResponse.FromString(answer)
        if told.error_message:
            raise ValueError(told.error_message)
        found = told.infer_response
    else:
        found = messages.ModelInferResponse.FromString(answer)
    return np.frombuffer(found.raw_output_contents[0], np.float32).tolist()


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        try:
            took, kept = run(job)
        except Exception as error:
            print(json.dumps({"error": repr(error)}), flush=True)
        else:
            print(json.dumps({"latencies": took, "outputs": kept}), flush=True)


def run(job: dict[str, Any]) -> Found:
    """Run one job."""
    if job["sessions"] == 1:
        with blocking.InferenceServerClient(f"127.0.0.1:{job['port']}") as client:
            return alone(client, job["first"], job["streams"], job["seconds"])
    return asyncio.run(together(job["port"], job["first"], job["sessions"], job["streams"], job["seconds"]))


if __name__ == "__main__":
    main()
