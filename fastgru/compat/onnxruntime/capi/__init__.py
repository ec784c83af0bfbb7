"""Where onnxruntime keeps the exceptions that its users catch."""
