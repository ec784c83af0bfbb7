"""The definition of every operator, in NumPy, written to be read beside the textbook.

    OPS[op](inputs, attrs) -> tuple of outputs

`inputs` is a list of arrays, None for an absent optional one. Floating-point work is done in the dtype of the inputs:
float64 inputs give the values that kernels are tested against. Integer tensors that hold positions or sizes (shapes,
indices, axes, pads) stay integers. Each family has one module, with the same stem as the kernel and the layer.

| op | inputs | attributes | outputs |
|---|---|---|---|
| gru | x, initial_h?, lengths?, mask?, then weight_ih, weight_hh, bias_ih?, bias_hh? for each direction | spec (`GRUSpec.to_dict()`) | y, h_n |
| lstm | x, initial_h?, lengths?, mask?, initial_c?, then weight_ih, weight_hh, bias_ih?, bias_hh?, peephole? for each direction | spec (`LSTMSpec.to_dict()`) | y, h_n, c_n |
| rnn | as for gru | spec (`RNNSpec.to_dict()`) | y, h_n |
| linear | x (..., I), weight (O, I), bias? (O,) | | y (..., O) |
| conv | x (N, C, D1, ...), weight (O, C / group, K1, ...), bias? (O,), slope? (O,) | strides, pads (befores then afters; or same_upper same_lower), dilations, group; clamp? [low or None, high or None] | y (N, O, E1, ...), clamped, then slope * y where negative |
| conv_transpose | x (N, C, D1, ...), weight (C, O / group, K1, ...), bias? (O,), slope? (O,) | those of conv; output_padding, output_shape? | y (N, O, E1, ...) |
| matmul | a, b (NumPy rules) | | y |
| quantize | x, scale, zero_point? (numbers; along `axis`; or blocks of `block_size` in it) | axis (1), block_size (0: none), to (uint8) | y (integers of `to`) |
| dequantize | x (integers), scale, zero_point? (as quantize) | axis (1), block_size (0) | y |
| dynamic_quantize | x | | y (uint8), scale, zero_point |
| matmul_integer | a, b (8 bits), a_zero_point?, b_zero_point? | | y (int32) |
| conv_integer | x, weight (as conv, 8 bits), x_zero_point?, weight_zero_point? | strides, pads, dilations, group | y (int32) |
| activation | x | kind, alpha, beta (`spec.Activation`) | y |
| unary | x | kind: abs neg exp log sqrt reciprocal floor ceil round sign sin cos tan asin acos atan sinh cosh erf not gelu gelu_tanh selu silu hard_swish isnan isinf log1p expm1 bitwise_not acosh asinh atanh; selu: alpha, gamma; hard_swish is ONNX's | y |
| prelu | x, slope (broadcast) | | y |
| binary | a, b (broadcast) | kind: add sub mul div pow min max mod fmod, of integers bit_and bit_or bit_xor shift_left shift_right | y |
| compare | a, b (broadcast) | kind: equal not_equal less less_equal greater greater_equal | y (bool) |
| logical | a, b (broadcast) | kind: and or xor | y (bool) |
| where | condition, a, b (broadcast) | | y |
| clip | x, low?, high? (scalars) | | y |
| cast | x | to (a name of `graph.DTYPES`) | y |
| reshape | x, shape (int64; 0 copies the size of x, -1 is inferred) | allow_zero (False) | y |
| transpose | x | perm | y |
| squeeze | x | axes (empty: every axis of size 1) | y |
| unsqueeze | x | axes (of the output) | y |
| flatten | x | axis | y (2-D) |
| expand | x, shape (int64) | | y (broadcast both ways) |
| tile | x, repeats (int64) | | y |
| concat | x0, x1... | axis | y |
| split | x, sizes? | axis, sizes? (a list), or parts (a number of equal parts, of which the last may be smaller) | y0, y1... |
| slice | x, starts, ends, axes?, steps? (int64) | | y (ONNX rules for clamping) |
| gather | x, indices (negative from the end) | axis | y |
| gather_elements | x, indices | axis | y |
| scatter_nd | x, indices (..., k), updates (..., x.shape[k:]) | reduction: none add mul max min | y |
| scatter_elements | x, indices, updates | axis, reduction | y |
| embedding | ids (...), weight (V, D) | | y (..., D) |
| pool | x (N, C, D1, ...) | kind: average max sum; kernel, strides, pads (as conv), dilations, ceil_mode?, count_include_pad? | y (N, C, E1, ...) |
| pad | x, pads (int64: begins then ends, of `axes` or of all), value? | mode: constant reflect edge wrap; axes? | y |
| shape | x | start, end? | int64 vector |
| range | start, limit, delta (scalars) | | vector |
| constant_of_shape | shape | value (a number), dtype | y |
| reduce | x | kind: sum mean max min prod any all l1 l2 sum_square log_sum log_sum_exp; axes (empty: all), keepdims | y |
| arg | x | kind: max min; axis, keepdims, select_last | int64 |
| cumsum | x | axis, exclusive, reverse | y |
| cumprod | x | axis, exclusive, reverse | y |
| topk | x, k | axis, largest (True) | values, positions (int64) |
| einsum | x0, x1... | equation | y |
| gather_nd | x, indices (..., d) | batch_dims (0) | y |
| nonzero | x | | int64 (rank, count) |
| reverse_sequence | x, lengths | time_axis, batch_axis (0 and 1) | y |
| resize | x, roi?, scales?, sizes? | mode, coordinates, nearest, cubic, exclude_outside, antialias, outside, axes, policy (`reference.resize`) | y |
| dft | x (..., 1 or 2) | axis, length?, onesided (False), inverse (False) | y (..., 2), or (..., 1) |
| stft | signal (N, L[, 1 or 2]), window? | step, length?, onesided (True) | y (N, frames, bins, 2) |
| softmax | x | axis | y |
| log_softmax | x | axis | y |
| layer_norm | x, scale?, bias? (shape x.shape[axis:]) | axis, epsilon | y |
| rms_norm | x, scale? (shape x.shape[axis:]) | axis, epsilon | y |
| group_norm | x (N, C, ...), scale (C,), bias (C,) | epsilon, groups (absent: C) | y |
| batch_norm | x, scale, bias, mean, var (each (C,)) | axis, epsilon | y |
| last | x (N, T, C), lengths (N,) | | x[n, max(lengths[n] - 1, 0)] (N, C) |
| loop | limit?, condition?, initial states, sequences, then other values that the body reads | body (`Subgraph`: the iteration, the states, the slices, the other values -> whether to go on or "", the states, the values to stack), states (how many), axes, backward (of the sequences), output_axes, output_backward, max_iterations (100,000) | the last states, the stacked values |
| branch | condition, then the values that the branches read | then, otherwise (`Subgraph`) | those of the branch |

There is also `foreign`, one node of an ONNX file that onnx's own implementation carries out: see `reference.foreign`.
A name, an input or an attribute that is not in this table is refused when a model is made from a graph, never ignored.
So is an attribute of another kind than the definition's annotations allow (`reference.attributes`). Everything that is
known of a node before it runs (dtypes, sizes, roles of axes, weights, flops) stands beside its definition: see
`reference.facts`.
"""  # noqa: E501

from fastgru.reference.evaluate import bind_inputs, check_node, evaluate, run_graph
from fastgru.reference.operator import OPS

__all__ = ["OPS", "bind_inputs", "check_node", "evaluate", "run_graph"]
