"""Streams, and pools of them for servers."""

from fastgru.model import Stream
from fastgru.streaming.pool import SessionPool

__all__ = ["SessionPool", "Stream"]
