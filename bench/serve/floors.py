"""The cost of a server without a protocol: floors and rivals, each in a process of its own.

python -m bench.serve.floors raw PORT            uvicorn returns the body, through raw ASGI
python -m bench.serve.floors numpy PORT          uvicorn does a GRU step in NumPy, through raw ASGI, state by connection
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from bench.serving.gru import step, weights

__all__ = ["main"]

Array = np.ndarray[Any, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def application(make: Callable[[tuple[str, int], bytes], bytes]) -> Callable[..., Awaitable[None]]:
    """Return a raw ASGI function that answers a body with the result of `make` for this client and body."""

    async def run(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        answer = make(tuple(scope["client"]), body)
        length = str(len(answer)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": answer})

    return run


def numpy_step(hidden: int = 64) -> Callable[[tuple[str, int], bytes], bytes]:
    """Return a function that does a GRU step as in a script, with a state for each connection."""
    given = weights(hidden)
    states: dict[tuple[str, int], Array] = {}

    def run(client: tuple[str, int], body: bytes) -> bytes:
        h = states.get(client)
        h = states[client] = step(
            given, np.frombuffer(body, np.float32), np.zeros(hidden, np.float32) if h is None else h
        )
        return h.tobytes()

    return run


def main(words: list[str]) -> None:
    kind, port = words[0], int(words[1])
    import uvicorn

    answer = numpy_step() if kind == "numpy" else lambda client, body: body
    uvicorn.run(application(answer), port=port, log_level="error", access_log=False, lifespan="off")


if __name__ == "__main__":
    main(sys.argv[1:])
