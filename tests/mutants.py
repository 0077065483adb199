"""Attention code with the mistakes that the rules look for written into it, and with those it has taken out."""

from __future__ import annotations

import re
from collections.abc import Iterator


def changed(text: str) -> Iterator[str]:
    """The code with the mistakes that rules look for, and without."""
    yield text
    yield text.replace(".contiguous()", "")
    yield text.replace(".reshape(", ".view(")
    yield re.sub(r"(?<=\))(?=\.(?:view|transpose|permute)\()", ".contiguous()", text)
    yield text.replace(".unbind(2)", ".permute(2, 0, 1, 3, 4).unbind(0)").replace(
        ".chunk(3, dim=-1)", ".view(3, 1, -1)"
    )
    yield re.sub(r"self\.(?:proj|out_proj|o_proj|to_out)\((\w+)\)", r"\1", text)
