"""What a server costs without a protocol: floors and rivals, each a process of its own.

python -m bench.serve.floors raw PORT            uvicorn: the body goes back, through raw ASGI
python -m bench.serve.floors numpy PORT          uvicorn: a GRU step in NumPy, through raw ASGI, state by connection
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

__all__ = ["main"]

Array = np.ndarray[Any, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def application(step: Callable[[tuple[str, int], bytes], bytes]) -> Callable[..., Awaitable[None]]:
    """A raw ASGI function that answers a body with what `step` makes of it for this client."""

    async def run(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        answer = step(tuple(scope["client"]), body)
        length = str(len(answer)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": answer})

    return run


def numpy_step(hidden: int = 64) -> Callable[[tuple[str, int], bytes], bytes]:
    """A GRU step as a script writes it: two products of matrices, two sigmoids, a tanh."""
    rng = np.random.default_rng(0)
    wi, wh = rng.normal(0, 0.2, (2, 3 * hidden, hidden)).astype(np.float32)
    bi, bh = rng.normal(0, 0.2, (2, 3 * hidden)).astype(np.float32)
    states: dict[tuple[str, int], Array] = {}

    def step(client: tuple[str, int], body: bytes) -> bytes:
        x = np.frombuffer(body, np.float32)
        h = states.get(client)
        h = np.zeros(hidden, np.float32) if h is None else h
        a, b = wi @ x + bi, wh @ h + bh
        r = 1 / (1 + np.exp(-(a[:hidden] + b[:hidden])))
        z = 1 / (1 + np.exp(-(a[hidden : 2 * hidden] + b[hidden : 2 * hidden])))
        n = np.tanh(a[2 * hidden :] + r * b[2 * hidden :])
        h = states[client] = n + z * (h - n)
        return h.tobytes()

    return step


def main(words: list[str]) -> None:
    kind, port = words[0], int(words[1])
    import uvicorn

    step = numpy_step() if kind == "numpy" else lambda client, body: body
    uvicorn.run(application(step), port=port, log_level="error", access_log=False, lifespan="off")


if __name__ == "__main__":
    main(sys.argv[1:])
