"""The table of what layers do with masks, by class and by version of Keras.

Source: Keras 1.2.2, 2.2.4, 2.3.1, 2.15 and 3.0 to 3.15; tested against Keras itself (see `tools/keras_forms.py`). A
mask travels beside a tensor: a layer gets the masks of its inputs, or the masks that its call names.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.rules import Rules

__all__ = ["MASKS", "Mask", "mask_of"]


class Mask(Enum):
    """KEEPS: the layer computes without the mask, and passes the mask of its first input on with its first output.

    DROPS: it computes without the mask, and passes none on. OWN: its function gets the masks, and decides which one it
    passes on. REFUSED: a mask would change its result, which is not implemented.
    """

    KEEPS = "passes the mask on"
    DROPS = "ignores and drops the mask"
    OWN = "uses the mask"
    REFUSED = "is refused if there is a mask"


_KEEPS, _DROPS, _OWN, _REFUSED = Mask

# By class: before Keras 3, and since Keras 3. Classes that are not listed drop masks, as do functions of keras.ops.
MASKS: Final[Mapping[str, tuple[Mask, Mask]]] = {
    **dict.fromkeys(
        ("Activation", "ActivityRegularization", "AlphaDropout", "BatchNormalization", "Dense", "Dropout", "ELU",
         "GaussianDropout", "GaussianNoise", "LayerNormalization", "LeakyReLU", "PReLU", "ReLU", "SpatialDropout1D",
         "SpatialDropout2D", "SpatialDropout3D", "ThresholdedReLU", "TimeDistributedDense", "UnitNormalization"),
        (_KEEPS, _KEEPS),
    ),
    **dict.fromkeys(("Identity", "Normalization", "Rescaling"), (_DROPS, _KEEPS)),
    "GroupNormalization": (_REFUSED, _KEEPS),
    **dict.fromkeys(("MultiHeadAttention", "Softmax"), (_REFUSED, _REFUSED)),
    **dict.fromkeys(
        ("Add", "AdditiveAttention", "Attention", "Average", "Bidirectional", "Concatenate", "CuDNNGRU", "CuDNNLSTM",
         "Embedding", "Functional", "GRU", "GlobalAveragePooling1D", "LSTM", "Masking", "Maximum", "Merge", "Minimum",
         "Model", "Multiply", "RNN", "Sequential", "SimpleRNN", "Subtract", "TimeDistributed"),
        (_OWN, _OWN),
    ),
}  # fmt: skip


# Functions of keras.ops that return the tensor itself, with its mask, if they have nothing to do.
_MAY_RETURN_ITSELF: Final = frozenset({"Cast", "ConvertToTensor", "Moveaxis", "Swapaxes"})


def mask_of(layer: LayerConfig, rules: Rules, *, function: bool = False) -> Mask:
    """Return what a layer, or a function of keras.ops, does with a mask in this version of Keras."""
    if function:
        return _OWN if layer.class_name in _MAY_RETURN_ITSELF else _DROPS
    return MASKS.get(layer.class_name, (_DROPS, _DROPS))[rules.major == 3]
