"""A model of MLServer: a GRU step in NumPy, with the state of each sequence in a dict."""

from __future__ import annotations

from typing import Any

import numpy as np
from gru import step, weights
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

__all__ = ["Step"]

HIDDEN = 64


class Step(MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        self.weights = weights(HIDDEN)
        self.states: dict[Any, np.ndarray[Any, Any]] = {}
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32).ravel()
        sequence = payload.parameters.model_extra.get("sequence_id") if payload.parameters else None
        h = self.states.get(sequence)
        h = self.states[sequence] = step(self.weights, x, np.zeros(HIDDEN, np.float32) if h is None else h)
        output = NumpyCodec.encode_output("y", h.reshape(1, 1, HIDDEN))
        return InferenceResponse(model_name=self.name, outputs=[output])
