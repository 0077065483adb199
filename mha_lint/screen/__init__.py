"""Which files can possibly hold a finding: a look at the bytes, before anything is parsed.

It may over-admit; it never under-admits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_TENSORS = re.compile(rb"\b(?:torch|einops)\b")
_VIEW = re.compile(rb"\b(?:view|contiguous)\b")
_UNBIND = re.compile(rb"\b(?:unbind|reshape|rearrange|Rearrange|unflatten|stack|chunk|permute|movedim|moveaxis)\b")
_ATTENTION = re.compile(rb"[sS]oftmax|scaled_dot_product_attention|MultiheadAttention")

# What attention, or a change of layout, can't be written without. It may say too much, never too little.
_TENSOR_WORK = re.compile(
    r"\b(?:view|contiguous|unbind|(?:un)?flatten|transpose|t|T|mT|swap(?:axes|dims)|permute|movedim|moveaxis|stack|chunk"
    r"|cat|concat|concatenate|einsum|bmm|baddbmm|matmul|scaled_dot_product_attention|MultiheadAttention)\b"
    r"|reshape|[rR]earrange|[sS]oftmax|[\w)\]] *@"
)


def admits(data: bytes) -> bool:
    """Whether the file must be parsed. UTF-16 and the like are no Python source; ASCII bytes are themselves."""
    if not _TENSORS.search(data):
        return False
    return bool(_VIEW.search(data) or _UNBIND.search(data) or _ATTENTION.search(data))


def tensor_work(functions: Mapping[str, str]) -> tuple[frozenset[str], re.Pattern[str]]:
    """The functions, by name and text, that work on tensors, if through another; and what the text of such says."""
    working = frozenset(name for name, text in functions.items() if _TENSOR_WORK.search(text))
    more = working
    while more:
        named = re.compile(rf"\b(?:{'|'.join(more)})\b")
        more = frozenset(name for name, text in functions.items() if name not in working and named.search(text))
        working |= more
    return working, re.compile("|".join([_TENSOR_WORK.pattern, *(rf"\b{name}\b" for name in sorted(working))]))
