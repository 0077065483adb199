"""Rewrites of the wrong kinds that change nothing in one class: each was read, and the reason is told.

They are neither wrong nor right rewrites that anybody would write, so they are not tried.
"""

from __future__ import annotations

_FILLED = "another method of the constructor fills the parameter afterwards"
_ONE_FEATURE = "its width is 1, and LayerNorm of one feature gives the same for all inputs"
_PADDED = "its convolution reaches none of the rows that padding adds"
_REFUSED = "it refuses an empty batch before"

# By the name of the class and the kind.
SAME: dict[tuple[str, str], str] = {
    ("AttentionPoolLatent", "constant of the constructor exchanged"): _FILLED,
    ("SpatialTransformerBlock", "weights turned"): _ONE_FEATURE,
    ("SpatialTransformerBlock", "heads not transposed back"): _ONE_FEATURE,
    ("SpatialTransformerBlock", "product rounded to bfloat16"): _ONE_FEATURE,
    ("ConvAttention", "operand of and or or dropped"): _PADDED,
    ("ConvAttention", "and made or"): _PADDED,
    ("AdaptiveTokenSampling", "empty batch raises, computed"): _REFUSED,
    ("MarkupLMSelfAttention", "empty batch raises, computed"): _REFUSED,
    ("SEWAttention", "forward's flag ignored"): "the flag is handed on, and what takes it ignores it",
    ("Ernie4_5Attention", "dropout in eval mode"): "its rate is 0.0, and no argument changes that",
}
