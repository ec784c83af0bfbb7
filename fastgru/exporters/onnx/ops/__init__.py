"""The operators that are exported, one module a family: each registers its own, see `exporters.onnx.registry`."""
