"""The ONNX operators that are imported, one module a family: each registers its own, see `importers.onnx.registry`."""
