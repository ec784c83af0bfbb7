"""The file of each operator, so that a process imports only the files its model needs. Written by tools/families."""

from typing import Final

__all__ = ["homes"]

# fmt: off
_NAMES: Final = {
    "fastgru.engine.ops": {
        "branch": (
            "branch",
        ),
        "cast": (
            "cast",
        ),
        "conv": (
            "conv", "conv_transpose",
        ),
        "einsum": (
            "einsum",
        ),
        "elementwise": (
            "activation", "binary", "clip", "compare", "logical", "prelu", "unary", "where",
        ),
        "embedding": (
            "embedding",
        ),
        "gru": (
            "gru",
        ),
        "indexing": (
            "constant_of_shape", "gather", "gather_elements", "last", "nonzero", "pad", "range", "tile",
        ),
        "integers": (
            "conv_integer", "matmul_integer",
        ),
        "linear": (
            "linear",
        ),
        "loop": (
            "loop",
        ),
        "lstm": (
            "lstm",
        ),
        "matmul": (
            "matmul",
        ),
        "norm": (
            "batch_norm", "group_norm", "layer_norm", "rms_norm",
        ),
        "pool": (
            "pool",
        ),
        "quantize": (
            "dequantize", "dynamic_quantize", "quantize",
        ),
        "reduce": (
            "arg", "cumprod", "cumsum", "reduce",
        ),
        "resize": (
            "resize",
        ),
        "rnn": (
            "rnn",
        ),
        "scatter": (
            "scatter_elements", "scatter_nd",
        ),
        "selection": (
            "gather_nd", "reverse_sequence",
        ),
        "shape": (
            "concat", "expand", "flatten", "reshape", "shape", "slice", "split", "squeeze", "transpose", "unsqueeze",
        ),
        "softmax": (
            "log_softmax", "softmax",
        ),
        "spectral": (
            "dft", "stft",
        ),
        "topk": (
            "topk",
        ),
    },
    "fastgru.importers.onnx.ops": {
        "control": (
            "If", "Loop", "Scan",
        ),
        "conv": (
            "Conv", "ConvTranspose",
        ),
        "defined": (
            "Attention", "BlackmanWindow", "CenterCropPad", "HammingWindow", "HannWindow", "MeanVarianceNormalization",
            "NegativeLogLikelihoodLoss", "RotaryEmbedding", "Shrink", "SoftmaxCrossEntropyLoss", "SwiGLU",
        ),
        "einsum": (
            "Einsum",
        ),
        "elementwise": (
            "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift", "BitwiseAnd",
            "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div",
            "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish",
            "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul",
            "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh",
            "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
        ),
        "identity": (
            "Constant", "Dropout", "Identity",
        ),
        "indexing": (
            "Concat", "Gather", "GatherElements", "Pad", "Slice", "Split", "Tile",
        ),
        "linear": (
            "Gemm", "MatMul",
        ),
        "microsoft": (
            "ai.onnx of onnxruntime:LayerNormalization", "ai.onnx of onnxruntime:SimplifiedLayerNormalization",
            "com.microsoft:BiasGelu", "com.microsoft:EmbedLayerNormalization", "com.microsoft:FastGelu",
            "com.microsoft:FusedConv", "com.microsoft:FusedGemm", "com.microsoft:FusedMatMul", "com.microsoft:Gelu",
            "com.microsoft:QuickGelu", "com.microsoft:SkipLayerNormalization",
            "com.microsoft:SkipSimplifiedLayerNormalization", "com.microsoft:TransposeMatMul",
        ),
        "norm": (
            "BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization",
            "LpNormalization", "RMSNormalization",
        ),
        "pool": (
            "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool",
        ),
        "qlinear": (
            "com.microsoft:DequantizeLinear", "com.microsoft:DynamicQuantizeMatMul",
            "com.microsoft:MatMulIntegerToFloat", "com.microsoft:NhwcMaxPool", "com.microsoft:QGemm",
            "com.microsoft:QLinearAdd", "com.microsoft:QLinearAveragePool", "com.microsoft:QLinearConcat",
            "com.microsoft:QLinearConv", "com.microsoft:QLinearGlobalAveragePool", "com.microsoft:QLinearLeakyRelu",
            "com.microsoft:QLinearMul", "com.microsoft:QLinearSigmoid", "com.microsoft:QLinearSoftmax",
            "com.microsoft:QLinearWhere", "com.microsoft:QuantizeLinear",
        ),
        "quantize": (
            "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul",
            "QuantizeLinear",
        ),
        "recurrent": (
            "GRU", "LSTM", "RNN",
        ),
        "reduce": (
            "ArgMax", "ArgMin", "CumProd", "CumSum", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
            "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
        ),
        "resize": (
            "Resize", "Upsample",
        ),
        "scatter": (
            "Scatter", "ScatterElements", "ScatterND",
        ),
        "selection": (
            "Compress", "EyeLike", "GatherND", "Hardmax", "NonZero", "OneHot", "ReverseSequence", "Trilu", "Unique",
        ),
        "shape": (
            "ConstantOfShape", "DepthToSpace", "Expand", "Flatten", "Range", "Reshape", "Shape", "Size", "SpaceToDepth",
            "Squeeze", "Transpose", "Unsqueeze",
        ),
        "softmax": (
            "LogSoftmax", "Softmax",
        ),
        "spectral": (
            "DFT", "MelWeightMatrix", "STFT",
        ),
        "topk": (
            "TopK",
        ),
    },
    "fastgru.reference": {
        "binary": (
            "binary", "compare", "logical", "prelu", "where",
        ),
        "branch": (
            "branch",
        ),
        "conv": (
            "conv", "conv_transpose",
        ),
        "einsum": (
            "einsum",
        ),
        "elementwise": (
            "activation", "cast", "clip", "unary",
        ),
        "gru": (
            "gru",
        ),
        "indexing": (
            "gather", "gather_elements", "last", "pad", "tile",
        ),
        "linear": (
            "embedding", "linear", "matmul",
        ),
        "loop": (
            "loop",
        ),
        "lstm": (
            "lstm",
        ),
        "norm": (
            "batch_norm", "group_norm", "layer_norm", "rms_norm",
        ),
        "pool": (
            "pool",
        ),
        "quantize": (
            "conv_integer", "dequantize", "dynamic_quantize", "matmul_integer", "quantize",
        ),
        "reduce": (
            "arg", "cumprod", "cumsum", "reduce",
        ),
        "resize": (
            "resize",
        ),
        "rnn": (
            "rnn",
        ),
        "scatter": (
            "scatter_elements", "scatter_nd",
        ),
        "selection": (
            "gather_nd", "nonzero", "reverse_sequence",
        ),
        "shape": (
            "constant_of_shape", "expand", "flatten", "range", "reshape", "shape", "squeeze", "transpose", "unsqueeze",
        ),
        "slicing": (
            "concat", "slice", "split",
        ),
        "softmax": (
            "log_softmax", "softmax",
        ),
        "spectral": (
            "dft", "stft",
        ),
        "topk": (
            "topk",
        ),
    },
    "fastgru.reference.gradients": {
        "binary": (
            "binary", "prelu",
        ),
        "elementwise": (
            "activation", "cast", "clip", "unary",
        ),
        "gru": (
            "gru",
        ),
        "linear": (
            "linear", "matmul",
        ),
        "norm": (
            "batch_norm", "layer_norm", "rms_norm",
        ),
        "reduce": (
            "reduce",
        ),
        "softmax": (
            "log_softmax", "softmax",
        ),
    },
}
# fmt: on


def homes(package: str) -> dict[str, str]:
    """The module of each name in the tables of this package."""
    return {name: home for home, names in _NAMES[package].items() for name in names}
