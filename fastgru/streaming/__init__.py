"""What keeps a state between calls, over whatever runs: streams, and pools of sessions for servers."""

from fastgru.streaming.pool import SessionPool
from fastgru.streaming.stream import Stream

__all__ = ["SessionPool", "Stream"]
