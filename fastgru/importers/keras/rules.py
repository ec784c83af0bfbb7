"""Where versions of Keras compute different things from the same configuration.

Source: Keras 1.2.2, 2.2.4 and 2.3.1, tf-keras 2.10 to 2.21, and Keras 3.0 to 3.16.
"""

from __future__ import annotations

import re

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.records import dataclass

__all__ = ["Rules"]


@dataclass(frozen=True)
class Rules:
    """The rules of the version of Keras that wrote a file.

    major: 1, 2 or 3.
    masks_join_by_any: a merge shows a step if any of its inputs shows it, and has no mask if an input has none. Before
        Keras 3.4 it shows a step only if all masks show it, and inputs without a mask do not count.
    recurrent_keeps_mask: a recurrent layer that returns sequences passes its mask on (until Keras 3.15).
    bidirectional_zeroes: Bidirectional shows zeros at masked steps of a sequence (tf.keras and Keras 3).
    states_hide_mask: a layer uses the mask of its input only if the call has no other tensor: with an initial state, a
        GRU runs unmasked (Keras 3).
    lists_have_masks: layers that take a list of inputs pass masks on (all but Keras 3.0 to 3.3).
    named_mask_travels: a mask that a call names is passed on in place of the input's own (all but Keras 3.0 to 3.10).
    reset_after: the value for a GRU without this attribute.
    backend: the backend of Keras, if the file gives it ("tensorflow", "theano", "torch"...): some compute differently.
    exact: False if the file says Keras 3 but no minor version; the rules for masks changed between these.
    """

    version: str
    major: int
    masks_join_by_any: bool
    recurrent_keeps_mask: bool
    bidirectional_zeroes: bool
    states_hide_mask: bool
    lists_have_masks: bool
    named_mask_travels: bool
    reset_after: bool
    backend: str | None = None
    exact: bool = True

    @classmethod
    def of(cls, version: str | None, backend: str | None = None) -> Rules:
        """Return the rules of a version ("2.2.4-tf"); a file without a version is from Keras 1."""
        text = (version or "1").strip()
        match = re.match(r"(\d{1,4})(?:\.(\d{1,4}))?", text)
        if match is None:
            raise InvalidModelError(f"keras_version is {text[:40]!r}, expected a version such as '2.3.1'")
        major, minor = int(match[1]), int(match[2] or 0)
        if major not in (1, 2, 3):
            raise UnsupportedModelError(f"keras_version is {text[:40]!r}: files of Keras 1, 2 and 3 are read")
        at = (major, minor)
        return cls(
            version=text,
            major=major,
            masks_join_by_any=at >= (3, 4),
            recurrent_keeps_mask=at < (3, 16),
            bidirectional_zeroes=at >= (2, 4) or "tf" in text,
            states_hide_mask=major == 3,
            lists_have_masks=major < 3 or at >= (3, 4),
            named_mask_travels=major < 3 or at >= (3, 11),
            reset_after=major == 3,
            backend=backend,
            exact=major != 3 or match[2] is not None,
        )
