"""A model for Triton's Python backend; the parameter `kind` in its config.pbtxt selects it.

gru: a GRU in NumPy with a state for each sequence; requests that come together are computed as one batched step. The
sequence and its start are in the tensors CORRID and START if the sequence batcher makes them, otherwise in the request.
identity: x -> y. pair: a, b -> total, ratio.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as triton
from gru import step, weights

__all__ = ["TritonPythonModel"]

Array = np.ndarray[Any, Any]


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self.run = getattr(self, config["parameters"]["kind"]["string_value"])
        self.has_controls = bool(config.get("sequence_batching", {}).get("control_input"))
        self.states: dict[Any, Array] = {}
        self.hidden = config["input"][0]["dims"][-1]
        if self.run == self.gru:
            self.weights = weights(self.hidden)

    def execute(self, requests: list[Any]) -> list[Any]:
        return self.run(requests)

    def gru(self, requests: list[Any]) -> list[Any]:
        frames = [_input(request, "x") for request in requests]
        ids = []
        for request in requests:
            identity, begins = self._control(request)
            if begins or identity not in self.states:
                self.states[identity] = np.zeros(self.hidden, np.float32)
            ids.append(identity)
        if all(frame.size == self.hidden for frame in frames) and len(set(ids)) == len(ids):
            x = np.concatenate([frame.reshape(1, -1) for frame in frames])
            h = step(self.weights, x, np.stack([self.states[identity] for identity in ids]))
            self.states.update(zip(ids, h, strict=True))
            return [_answer(y=row.reshape(frame.shape)) for row, frame in zip(h, frames, strict=True)]
        return [self._steps(identity, frame) for identity, frame in zip(ids, frames, strict=True)]

    def _steps(self, identity: Any, frame: Array) -> Any:
        if frame.shape[1] != 1:
            return triton.InferenceResponse(error=triton.TritonError("a sequence has one row"))
        y, h = np.empty_like(frame), self.states[identity]
        for t, x in enumerate(frame):
            h = step(self.weights, x[0], h)
            y[t, 0] = h
        self.states[identity] = h
        return _answer(y=y)

    def _control(self, request: Any) -> tuple[Any, bool]:
        if not self.has_controls:
            return request.correlation_id(), bool(request.flags() & triton.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START)
        return _input(request, "CORRID").reshape(-1)[0], bool(_input(request, "START").reshape(-1)[0])

    def identity(self, requests: list[Any]) -> list[Any]:
        return [_answer(y=_input(request, "x")) for request in requests]

    def pair(self, requests: list[Any]) -> list[Any]:
        both = [(_input(request, "a"), _input(request, "b")) for request in requests]
        with np.errstate(all="ignore"):
            return [_answer(total=a + b, ratio=a / b) for a, b in both]


def _input(request: Any, name: str) -> Array:
    found: Array = triton.get_input_tensor_by_name(request, name).as_numpy()
    return found


def _answer(**outputs: Array) -> Any:
    return triton.InferenceResponse([triton.Tensor(name, array) for name, array in outputs.items()])
