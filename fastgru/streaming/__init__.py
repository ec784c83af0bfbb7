"""Streams, and pools of sessions for servers: they keep the state of a model or a layer between calls."""

from fastgru.streaming.pool import SessionPool
from fastgru.streaming.predict import PREDICT_BYTES, Predictor
from fastgru.streaming.progress import Progress
from fastgru.streaming.stream import Stream

__all__ = ["PREDICT_BYTES", "Predictor", "Progress", "SessionPool", "Stream"]
