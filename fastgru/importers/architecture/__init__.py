"""Networks whose layers are only in code: a short description of the layers, and the weights of a checkpoint.

A description is a YAML or JSON file, or the same as a Python dict:

    inputs:
      x: [T, N, 40]                 # sizes; a name or null means a free dimension
    layers:
      - {name: rnn, type: GRU, prefix: encoder.gru, states: {h0: hn}}
      - {type: Dropout, p: 0.1}
      - {name: fc, type: Linear, prefix: head}
    outputs: [fc]                   # by default, the value of the last layer

`fastgru.load("checkpoint.pt", architecture="net.yaml")` and `fastgru.from_architecture(description, weights)` read it.
Types, options and their defaults are those of torch.nn (`types()` lists all of them). Sizes that follow from the
weights may be left out; given sizes are checked. The keys of a layer:

    name      the name of its value for other layers; by default its prefix, or its type and number
    type      one of `types()`; a layer that is only a text is its type
    prefix    where its tensors are in the state dict: by default its name, "" for the outermost level
    keys      {parameter: key} for tensors that are not at prefix + parameter (tied weights, other names)
    inputs    a value or a list of values, by default that of the layer before (the first input for the first layer);
              "rnn.h_n" (and "c_n") is the last state of a recurrent layer, "cut.0" the first part of a Split
    states    {input: output}: adds an input and an output for a state, and pairs them, so that the network can stream.
              The state is that of a recurrent layer (an LSTM has two pairs, h before c), or of a convolution without
              padding along time, the axis after the channels: the frames before the input, zeros at first

The outermost level has `inputs`, `layers`, `outputs` (a value, a list of values, or {output name: value}), `states`
({input: output} for other pairs), `name`, `key` (the dict to read from a checkpoint with several) and `ignore`
(patterns of tensors that may stay unread). A shape may also be {shape: [...], dtype: int64}.
"""

from fastgru.importers.architecture.draft import draft, drafted
from fastgru.importers.architecture.reader import build_architecture, read_architecture
from fastgru.importers.architecture.registry import LayerType, types
from fastgru.modules import import_all

__all__ = ["LayerType", "build_architecture", "draft", "drafted", "read_architecture", "types"]

import_all("fastgru.importers.architecture.layers")
