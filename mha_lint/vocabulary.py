"""What names mean to attention, wherever they are read."""

from __future__ import annotations

import re
from functools import lru_cache

PROJECTS = re.compile(
    r"^(?:add_)?(?:(?:to|w|proj|fc)_?)?(?:q|k|v|qkv|kv|qk|query|key|value|queries|keys|values)(?:_?(?:proj|lin|linear))?$"
)  # names of the linear layers of an attention that is handed over: ``attn.to_q(x)``
ROTATES = re.compile(  # queries, or queries and keys
    r"(?<![a-z])apply_(?:\w*_)?(?:rope|rotary|rot_emb(?:ed)?)(?![a-z])(?!\w*inplace)", re.IGNORECASE
)


@lru_cache(maxsize=16384)
def is_said(pattern: re.Pattern[str], text: str) -> bool:
    """A text holds what a pattern looks for; the same few texts are asked again on each path."""
    return pattern.search(text) is not None
