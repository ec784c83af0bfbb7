"""A gRPC client in a process of its own: grpc_client.py PORT KIND SECONDS SESSION.

Its requests are encoded before the time is measured. KIND is unary or stream. It prints a JSON
object: the number of steps, and the median and 99th percentile in microseconds.
"""

from __future__ import annotations

import gc
import json
import queue
import sys
import time
from collections.abc import Callable

import grpc
import numpy as np

from bench.serve.models import frames_of
from fastgru.serve.grpc.messages import message

_SERVICE = "/inference.GRPCInferenceService/"
_WARM = 300


def requests(session: int) -> tuple[bytes, list[bytes]]:
    """Return the request that begins the sequence, and those that follow it."""
    made = []
    for k, frame in enumerate(frames_of()):
        given = message("ModelInferRequest")(model_name="gru", raw_input_contents=[frame.tobytes()])
        given.inputs.add(name="x", datatype="FP32", shape=frame.shape)
        given.parameters["sequence_id"].int64_param = session
        given.parameters["sequence_start"].bool_param = k == 0
        made.append(given.SerializeToString())
    return made[0], made[1:]


def main(port: int, kind: str, seconds: float, session: int) -> None:
    first, following = requests(session)
    times: list[int] = []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(30)
        waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        ask: Callable[[bytes], bytes] = channel.unary_unary(f"{_SERVICE}ModelInfer")
        if kind == "stream":
            answers = channel.stream_stream(f"{_SERVICE}ModelStreamInfer")(iter(waiting.get, None))

            def ask(request: bytes) -> bytes:
                waiting.put(request)
                return bytes(next(answers))

        if b"FP32" not in ask(first):
            raise SystemExit("the sequence does not begin")
        gc.disable()
        end, k, clock = time.monotonic() + seconds, 0, time.perf_counter_ns
        while time.monotonic() < end or k < 2 * _WARM:
            request, k = following[k % len(following)], k + 1
            began = clock()
            ask(request)
            times.append(clock() - began)
        waiting.put(None)
    p50, p99 = np.percentile(times[_WARM:], (50, 99)) / 1e3
    print(json.dumps({"steps": len(times) + 1, "p50": p50, "p99": p99}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
