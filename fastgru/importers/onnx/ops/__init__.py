"""The imported ONNX operators, one module per family; each module registers its own in `importers.onnx.registry`."""
