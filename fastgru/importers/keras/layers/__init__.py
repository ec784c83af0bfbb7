"""The supported Keras layers, one module per family; each module registers its own in `importers.keras.registry`."""
