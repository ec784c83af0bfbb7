"""What keeps a state between calls, over whatever runs: streams, and pools of sessions for servers."""

from fastgru.streaming.pool import SessionPool
from fastgru.streaming.predict import PREDICT_BYTES, Predictor
from fastgru.streaming.progress import Progress
from fastgru.streaming.stream import Stream

__all__ = ["PREDICT_BYTES", "Predictor", "Progress", "SessionPool", "Stream"]
