"""One stream of a client: each binary message gets one binary message back, in order; JSON messages control the stream.

A binary message is a frame (see `layout`). Its answer is a binary message with the outputs, or a text message of type
"error" if the frame is refused. Answers come in the order of the frames. A refused frame leaves the state as it was,
and the frames after it run.

A text message is a JSON object with a `type`, and may have an `id`, which its answer repeats. It takes effect after the
frames before it and before the frames after it. These are the types, with the types of their answers:

- open -> opened: begin a sequence. sequence_id: by default the server chooses a new one. keep: the sequence outlives
  the connection. continue: continue an existing sequence from its state. timeout: the microseconds within which a frame
  has to be answered. shapes: see `layout`. The answer has the shapes, and how many steps the sequence has had.
- reset -> reset, save -> saved, load -> loaded: the state, as base64 text in `state`.
- answer -> the binary message that answered the last frame, on this connection or on an earlier one: a server with a
  `state_dir` keeps it, for clients that have lost it.
- keepalive -> alive: the sequence does not count as idle.
- finalize -> finalized: the sequence ends; another may be opened.
- close -> closed: the connection ends, and so does the sequence, unless it is kept.

The first frame opens a sequence if none was opened. Later frames never do, so that no state begins from zeros unasked.
An error has `status` (of HTTP), `reason` (a fixed word), `message`, and `retry_after_s` if a retry may help. Messages
that the server sends unasked have the type "event" and the fields `event` ("ended", "evicted", "taken", "unloaded",
"draining"), `sequence_id` and `message`. After "unloaded", and some seconds after "draining", the server closes the
connection with 1001.
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

_MOST: Final = 128  # waiting messages of a client; while there are more, the server does not read from it
_MOST_BYTES: Final = 4 << 20
_BUSY_S: Final = 0.001
_FIELDS: Final = {
    "open": frozenset(("continue", "keep", "sequence_id", "shapes", "timeout")),
    "load": frozenset(("state",)),
    **dict.fromkeys(("answer", "close", "finalize", "keepalive", "reset", "save"), frozenset[str]()),
}
_log = logging.getLogger("fastgru.serve")


class Connection:
    """The `Receiver` of one WebSocket.

    channel: must be set before the first message. key: the name of the client's API key. lease: its sequence. gone: set
    when the connection is over.
    """

    def __init__(self, served: Served, scheduler: Scheduler, settings: Settings, key: str | None) -> None:
        self.channel: Channel
        self.gone = asyncio.Event()
        self.lease = Lease(served, key, int(settings.deadline_seconds * 1e9), self._on_event)
        self._scheduler = scheduler
        self._depth, self._deadline_s = settings.max_json_depth, settings.deadline_seconds
        self._line: deque[Job | ServeError] = deque()  # unanswered frames, the oldest first
        self._line_bytes = 0
        self._held: deque[tuple[bool, bytes]] = deque()  # messages after one that waits: (binary, payload)
        self._opening = self._is_paused = False
        self._farewell = ""  # why the connection will be closed once all received messages are answered
        self._event: Answer | None = None  # sent just before that
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
        """Take a frame."""
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
        """Answer a frame with an error, after the answers to the frames before it."""
        if self._line:
            self._line.append(error)
            self._regulate()
        else:
            self._send(_shown(error))

    def _done(self, job: Job) -> None:
        line = self._line
        if not line or line[0] is not job:
            return  # its answer follows those of the frames before it, or the connection is over
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
        """Send the answers that are ready, then take the messages that have waited for them."""
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
        """Stop reading from the client while too many of its messages, or of its answers, wait."""
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
        """Handle a client that has stopped reading, or reads again. It is disconnected if it stops for too long."""
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

    # Control messages.

    def on_text(self, data: bytes) -> None:
        """Take a JSON object."""
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
        """Return the answer, or None if it follows later."""
        answer = self.lease.open(given)
        if answer is None:
            self._opening = True
            asyncio.get_running_loop().call_later(_BUSY_S, self._open_later, given)
        return answer

    def _open_later(self, given: Answer) -> None:
        """Answer an `open` that continues a sequence, once the jobs of its previous connection are done."""
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
        """Tell the client that its sequence, or a model without a state, is gone."""
        if event["event"] == "unloaded":
            self._event = event
            self.end(event["message"])
            return
        for job in self._line:
            if isinstance(job, Job):
                job.cancel()
        self._send(event)

    def drain(self, seconds: float) -> None:
        """Tell the client that the server is about to shut down."""
        session = self.lease.session
        name = None if session is None else session.id
        message = f"the server shuts down in {seconds:g} s: save the states that should continue elsewhere"
        self._send({"type": "event", "event": "draining", "sequence_id": name, "message": message})

    def end(self, why: str) -> None:
        """Read no more, answer the received messages, and close."""
        self._farewell = why
        self._regulate()

    def on_lost(self, code: int) -> None:
        """Cancel the jobs of a connection that is over, and give its sequence up."""
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
