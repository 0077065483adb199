"""A look at the bytes of a file, before anything is parsed: it tells whether a rule could find something.

It may over-admit; it never under-admits. A file that holds no finding may still hold a comment that names a rule.
"""

from __future__ import annotations

import re

# A file may work on tensors that others hand it, or have torch from a star import of another file: what follows a dot
# here is torch's alone.
_TENSORS = re.compile(
    rb"\b(?:torch|einops|permute|contiguous|unbind|unsqueeze|softmax|scaled_dot_product_attention)\b|\bnn\.|\.view\("
)
_VIEW = re.compile(rb"\b(?:view|contiguous)\b")
_UNBIND = re.compile(rb"\b(?:unbind|reshape|rearrange|Rearrange|unflatten|stack|chunk|permute|movedim|moveaxis)\b")
_ATTENTION = re.compile(
    rb"[sS]oftmax|scaled_dot_product_attention|flex_attention|MultiheadAttention|masked_fill"
    rb"|\bTransformer(?:(?:En|De)coder(?:Layer)?)?\b"
)
_HANDED = re.compile(rb"\b(?:triu|tril|is_causal|dropout_p)\b")  # made here, for attention in another file
_ROTARY = re.compile(rb"\b(?:cos|sin|polar)\b")  # tables of angles are often made in a file of their own
_EINSUM = re.compile(rb"\beinsum\b")
_FILLED = re.compile(rb"(?m)(?:^|[;:])[ \t]*[\w.()]+\.masked_(?:fill|scatter)\(")  # a statement that begins so


def admits(data: bytes) -> bool:
    """Tell whether the file must be parsed. UTF-16 and the like are no Python source; ASCII bytes are themselves."""
    if not _TENSORS.search(data):
        return False
    return any(asked.search(data) for asked in (_VIEW, _UNBIND, _ATTENTION, _HANDED, _ROTARY, _EINSUM, _FILLED))


def silences(data: bytes) -> bool:
    """Tell whether a comment may name one of our codes."""
    lowered = data.lower()
    return b"noqa" in lowered and b"mha" in lowered
