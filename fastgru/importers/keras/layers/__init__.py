"""The Keras layers that are read, one module a family: each registers its own, see `importers.keras.registry`."""
