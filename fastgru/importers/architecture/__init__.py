"""Networks that exist only as code: a short description of the layers, and the weights of a checkpoint.

A description is a YAML or JSON file, or the same as a Python dict:

    inputs:
      x: [T, N, 40]                 # sizes; a name or null is a free dimension
    layers:
      - {name: rnn, type: GRU, prefix: encoder.gru, states: {h0: hn}}
      - {type: Dropout, p: 0.1}
      - {name: fc, type: Linear, prefix: head}
    outputs: [fc]                   # by default, what the last layer gives

`fastgru.load("checkpoint.pt", architecture="net.yaml")` and `fastgru.from_architecture(description, weights)` read it.
Types, options and their defaults are those of torch.nn (`types()` lists all of them); sizes that the weights tell may
be left out, and are checked where they are given. What a layer reads:

    name      what other layers call its value; by default its prefix, or its type and number
    type      one of `types()`; a layer that is a text alone is its type
    prefix    where its tensors are in the state dict; by default its name, "" for the outermost level
    keys      {parameter: key} for tensors that are not at prefix + parameter (tied weights, other names)
    inputs    a value or a list of them, by default that of the layer before (the first input for the first layer);
              "rnn.h_n" (and "c_n") is the last state of a recurrent layer, "cut.0" the first part of a Split
    states    {input: output}: opens an input and an output for a state, and pairs them, so that the network streams;
              of a recurrent layer (an LSTM has two pairs, h before c), or of a convolution without padding along time,
              the axis after the channels: its state is the frames before the input, zeros at first

At the outermost level: `inputs`, `layers`, `outputs` (a value, a list of values, or {output name: value}), `states`
({input: output} of other pairs), `name`, `key` (the dict of a checkpoint that holds several), `ignore` (patterns of
tensors that may stay unread). A shape may also be {shape: [...], dtype: int64}.
"""

from fastgru.importers.architecture.draft import draft, drafted
from fastgru.importers.architecture.reader import build_architecture, read_architecture
from fastgru.importers.architecture.registry import LayerType, types
from fastgru.modules import import_all

__all__ = ["LayerType", "build_architecture", "draft", "drafted", "read_architecture", "types"]

import_all("fastgru.importers.architecture.layers")
