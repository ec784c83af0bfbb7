"""The methods of `inference.GRPCInferenceService`: those that are implemented, and those of Triton that are not."""

from typing import Final

__all__ = ["METHODS", "NOT_HERE"]

METHODS: Final = {
    "ServerLive": "true while the process answers",
    "ServerReady": "whether requests are accepted; false while the server shuts down",
    "ModelReady": "whether the model is loaded; an unknown name gives false, not an error",
    "ServerMetadata": "name, version, extensions",
    "ModelMetadata": "inputs and outputs with datatypes and shapes, -1 for a free size",
    "ModelConfig": "the properties of the model, in the form of Triton's ModelConfig; none of them can be set",
    "ModelStatistics": "counts and times of a model, or of all models if no name is given",
    "ModelInfer": "one request",
    "ModelStreamInfer": "a stream of requests, and of answers in their order",
    "RepositoryIndex": "the models named at the start, and whether each is loaded",
    "RepositoryModelLoad": "as `load` over HTTP, with its parameters; for the role `admin`",
    "RepositoryModelUnload": "as `unload` over HTTP; for the role `admin`",
}
_SHARED: Final = "memory is not shared with clients; send tensors in raw_input_contents"
NOT_HERE: Final = {
    **dict.fromkeys(
        [f"{kind}SharedMemory{what}" for kind in ("System", "Cuda") for what in ("Status", "Register", "Unregister")],
        _SHARED,
    ),
    "TraceSetting": "requests are not traced; times and counts are in /metrics on the port of HTTP",
    "LogSettings": "the log is set up at the start, with fastgru serve --log-format",
}
