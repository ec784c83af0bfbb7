"""The operators that are exported, with one module for each family. See `exporters.onnx.writer`."""
