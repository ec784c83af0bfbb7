"""A model of MLServer for the measurements: a GRU step in NumPy, with the state of each sequence in a dict."""

from __future__ import annotations

from typing import Any

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

__all__ = ["Step"]

HIDDEN = 64


class Step(MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        rng = np.random.default_rng(0)
        self.wi, self.wh = rng.normal(0, 0.2, (2, 3 * HIDDEN, HIDDEN)).astype(np.float32)
        self.bi, self.bh = rng.normal(0, 0.2, (2, 3 * HIDDEN)).astype(np.float32)
        self.states: dict[Any, np.ndarray[Any, Any]] = {}
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32).ravel()
        sequence = payload.parameters.model_extra.get("sequence_id") if payload.parameters else None
        h = self.states.get(sequence)
        h = np.zeros(HIDDEN, np.float32) if h is None else h
        a, b = self.wi @ x + self.bi, self.wh @ h + self.bh
        r = 1 / (1 + np.exp(-(a[:HIDDEN] + b[:HIDDEN])))
        z = 1 / (1 + np.exp(-(a[HIDDEN : 2 * HIDDEN] + b[HIDDEN : 2 * HIDDEN])))
        n = np.tanh(a[2 * HIDDEN :] + r * b[2 * HIDDEN :])
        h = self.states[sequence] = n + z * (h - n)
        output = NumpyCodec.encode_output("y", h.reshape(1, 1, HIDDEN))
        return InferenceResponse(model_name=self.name, outputs=[output])
