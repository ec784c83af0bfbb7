"""One stream of a client: binary messages in, binary messages out, one to one and in order, and JSON to steer it.

A binary message is a frame (see `layout`); its answer is a binary message with the outputs, or, where the frame is
refused, a text message of type "error": one answer to each message, in the order of the messages. A frame that is
refused leaves the state as it was, and those behind it run.

A text message is a JSON object with a `type`, and may have an `id`, which its answer carries, too. It takes effect
after the frames before it and ahead of those behind it. What there is, with the type of its answer:

- open -> opened: begin a sequence. sequence_id, a new one of the server's choice by default; keep: it outlives the
  connection; continue: go on with one that is there, whose state is as it was; timeout: microseconds within which a
  frame has to be answered; shapes: see `layout`. The answer has the shapes, and how many steps the sequence has been
  through.
- reset -> reset, save -> saved, load -> loaded: the state, as text of base64 in `state`.
- answer -> the binary message that answered the last frame, of this connection or of one before: a server with a
  `state_dir` keeps it, for clients that have lost it.
- keepalive -> alive: the sequence is not idle.
- finalize -> finalized: the sequence ends; another may be opened.
- close -> closed: the connection ends, and with it the sequence, unless it is kept.

The first frame opens a sequence if nothing has; later ones never do so: no state begins from zeros unasked. An error
has `status` (of HTTP), `reason` (a fixed word), `message`, and `retry_after_s` where another try may do. What the
server says unasked has the type "event" and the fields `event` ("ended", "evicted", "taken", "unloaded", "draining"),
`sequence_id` and `message`; behind "unloaded", and some seconds behind "draining", the connection is closed with 1001.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from fastgru.serve.channel import Channel
from fastgru.serve.errors import ServeError
from fastgru.serve.lease import Answer, Lease, bad
from fastgru.serve.models import Served
from fastgru.serve.scheduler import Job, Scheduler
from fastgru.serve.settings import Settings
from fastgru.serve.text import read_json, write_json

__all__ = ["Connection"]

_MOST: Final = 128  # messages of a client that wait; it is not read while there are more
_MOST_BYTES: Final = 4 << 20
_BUSY_S: Final = 0.001
_FIELDS: Final = {
    "open": frozenset(("continue", "keep", "sequence_id", "shapes", "timeout")),
    "load": frozenset(("state",)),
    **dict.fromkeys(("answer", "close", "finalize", "keepalive", "reset", "save"), frozenset[str]()),
}
_log = logging.getLogger("fastgru.serve")


class Connection:
    """What gets the messages of one WebSocket (its `Receiver`), from `channel`, which is to be set first.

    key: the API key of the client. lease: its sequence. gone: set when the connection is over.
    """

    def __init__(self, served: Served, scheduler: Scheduler, settings: Settings, key: str | None) -> None:
        self.channel: Channel
        self.gone = asyncio.Event()
        self.lease = Lease(served, key, int(settings.deadline_seconds * 1e9), self._on_event)
        self._scheduler = scheduler
        self._depth, self._deadline_s = settings.max_json_depth, settings.deadline_seconds
        self._line: deque[Job | ServeError] = deque()  # frames that are not answered, the oldest first
        self._line_bytes = 0
        self._held: deque[tuple[bool, bytes]] = deque()  # messages behind one that waits: (binary, payload)
        self._opening = self._is_paused = False
        self._farewell = ""  # why the connection is closed as soon as what has come is answered
        self._event: Answer | None = None  # what is told then
        self._blocked: asyncio.TimerHandle | None = None
        self._answers: dict[str, Callable[[Answer], Answer | None]] = {
            "answer": self._last_answer,
            "close": self._close,
            "finalize": self.lease.finalize,
            "keepalive": self.lease.keep_alive,
            "load": self.lease.load,
            "open": self._open,
            "reset": self.lease.reset,
            "save": self.lease.save,
        }

    # Frames.

    def on_binary(self, data: bytes) -> None:
        """A frame."""
        if self._held or self._opening:
            self._hold(True, data)
        else:
            self._push(data)

    def _push(self, data: bytes) -> None:
        lease = self.lease
        try:
            if lease.why is not None:
                raise lease.why
            if lease.layout is None or not lease.served.is_loaded:
                lease.begin({})
            assert lease.layout is not None
            frames = lease.layout.arrays(data)
            job = Job(lease.served, lease.session, frames, time.monotonic_ns() + lease.limit_ns, self._done)
        except ServeError as error:
            lease.served.statistics.fail(error.reason)
            self._refuse(error)
            return
        line = self._line
        line.append(job)
        self._line_bytes += job.bytes
        try:
            self._scheduler.submit(job, at_once=True)
        except ServeError as error:
            line.pop()
            self._line_bytes -= job.bytes
            self._refuse(error)
            return
        if len(line) > _MOST or self._line_bytes > _MOST_BYTES:
            self._regulate()

    def _refuse(self, error: ServeError) -> None:
        """The answer to a frame, after those to the frames before it."""
        if self._line:
            self._line.append(error)
            self._regulate()
        else:
            self._send(_shown(error))

    def _done(self, job: Job) -> None:
        line = self._line
        if not line or line[0] is not job:
            return  # it is told when those before it are, or to nobody
        line.popleft()
        self._tell(job)
        if line or self._held or self._is_paused:
            self._go_on()

    def _tell(self, job: Job) -> None:
        self._line_bytes -= job.bytes
        outputs = job.outputs
        if outputs is None:
            assert job.error is not None
            self._send(_shown(job.error))
        elif len(outputs) == 1:
            self.channel.send_binary(outputs[0].tobytes())
        else:
            self.channel.send_binary(b"".join([array.tobytes() for array in outputs]))

    def _go_on(self) -> None:
        """Answer what is ready, then take up what has waited for that."""
        line, held = self._line, self._held
        while line:
            first = line[0]
            if isinstance(first, ServeError):
                self._send(_shown(first))
            elif first.outputs is None and first.error is None:
                break
            else:
                self._tell(first)
            line.popleft()
        while held and not self._opening and (held[0][0] or not line):
            binary, data = held.popleft()
            self._line_bytes -= len(data)
            if binary:
                self._push(data)
            else:
                self._steer(data)
        self._regulate()

    def _hold(self, binary: bool, data: bytes) -> None:
        self._held.append((binary, data))
        self._line_bytes += len(data)
        self._regulate()

    def _regulate(self) -> None:
        """Read from the client unless too much of it waits here, or too much for it."""
        waiting = len(self._line) + len(self._held)
        if self._farewell and not waiting:
            if self._event is not None:
                self._send(self._event)
                self._event = None
            self.channel.close(1001, self._farewell)
            return
        if self._farewell or self._blocked is not None or waiting > _MOST or self._line_bytes > _MOST_BYTES:
            self._is_paused = True
        elif waiting <= _MOST // 2 and self._line_bytes <= _MOST_BYTES // 2:
            self._is_paused = False
        self.channel.set_reading(not self._is_paused)

    def on_blocked(self, blocked: bool) -> None:
        """The client does not read, or reads again. It is not waited for without end."""
        if self._blocked is not None:
            self._blocked.cancel()
            self._blocked = None
        if blocked:
            self._blocked = asyncio.get_running_loop().call_later(self._deadline_s, self._give_up)
        self._regulate()

    def _give_up(self) -> None:
        self.lease.served.statistics.fail("slow")
        _log.warning("a client of %s was disconnected: it does not read its answers", self.lease.served.name)
        self.channel.close(1008, f"slow: answers were not read for {self._deadline_s:g} s")

    # What steers.

    def on_text(self, data: bytes) -> None:
        """A JSON object."""
        if self._held or self._opening or self._line:
            self._hold(False, data)
        else:
            self._steer(data)

    def _steer(self, data: bytes) -> None:
        tag: Answer = {}
        try:
            given = read_json(data, what="the message", most_depth=self._depth)
            kind = given.get("type") if type(given) is dict else None
            if type(kind) is not str or kind not in _FIELDS:
                raise bad(f"the message must be a JSON object with a type, one of {', '.join(sorted(_FIELDS))}")
            if "id" in given:
                tag = {"id": _checked_tag(given.pop("id"))}
            del given["type"]
            if not given.keys() <= _FIELDS[kind]:
                others = ", ".join(f"{name!r:.80}" for name in sorted(given.keys() - _FIELDS[kind])[:4])
                raise bad(
                    f"the message {kind} has {others}, expected {', '.join(sorted(_FIELDS[kind])) or 'nothing more'}"
                )
            answer = self._answers[kind](given | tag)
        except ServeError as error:
            self.lease.served.statistics.fail(error.reason)
            self._send(_shown(error) | tag)
            return
        if answer is not None:
            self._send(answer | tag)
            if kind == "close":
                self.channel.close(1000, "")

    def _open(self, given: Answer) -> Answer | None:
        """The answer, None if it follows later."""
        answer = self.lease.open(given)
        if answer is None:
            self._opening = True
            asyncio.get_running_loop().call_later(_BUSY_S, self._open_later, given)
        return answer

    def _open_later(self, given: Answer) -> None:
        """The sequence is there and taken; jobs of those who had it before are still on their way."""
        if self.gone.is_set():
            return
        try:
            answer = self.lease.settled()
        except ServeError as error:
            answer = _shown(error)
        if answer is None:
            asyncio.get_running_loop().call_later(_BUSY_S, self._open_later, given)
            return
        self._opening = False
        self._send(answer | ({"id": given["id"]} if "id" in given else {}))
        self._go_on()

    def _last_answer(self, given: Answer) -> None:
        self.channel.send_binary(b"".join([array.tobytes() for array in self.lease.last_answer()]))

    def _close(self, given: Answer) -> Answer:
        self.lease.leave()
        return {"type": "closed"}

    # The end.

    def _on_event(self, event: Answer) -> None:
        """The sequence is not this connection's any more; of a model without a state, the model is not."""
        if event["event"] == "unloaded":
            self._event = event
            self.end(event["message"])
            return
        for job in self._line:
            if isinstance(job, Job):
                job.cancel()
        self._send(event)

    def drain(self, seconds: float) -> None:
        """Tell the client that the server is about to go down."""
        session = self.lease.session
        name = None if session is None else session.id
        message = f"the server shuts down in {seconds:g} s: save the states that should continue elsewhere"
        self._send({"type": "event", "event": "draining", "sequence_id": name, "message": message})

    def end(self, why: str) -> None:
        """Read no more, answer what has come, and close."""
        self._farewell = why
        self._regulate()

    def on_lost(self, code: int) -> None:
        """There is no connection any more: nothing is computed for it."""
        if self.gone.is_set():
            return
        self.gone.set()
        for job in self._line:
            if isinstance(job, Job):
                job.cancel()
        self._line.clear()
        self._held.clear()
        if self._blocked is not None:
            self._blocked.cancel()
        self.lease.leave()

    def _send(self, answer: Answer) -> None:
        self.channel.send_text(write_json(answer))


def _checked_tag(tag: Any) -> Any:
    if type(tag) is int or (type(tag) is str and len(tag) <= 256):
        return tag
    raise bad(f"id is {tag!r:.80}, expected a whole number or a text of at most 256 characters")


def _shown(error: ServeError) -> Answer:
    answer: Answer = {"type": "error", "status": error.status, "reason": error.reason, "message": error.message}
    if error.retry_after_s is not None:
        answer["retry_after_s"] = error.retry_after_s
    return answer
