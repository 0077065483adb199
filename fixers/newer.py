"""Which versions of torch and of Python a fix needs that the code before it did not: told from what its edits wrote."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from mha_lint.fixers.pieces import Piece
from mha_lint.parsing import silently
from mha_lint.syntax.nodes import last_name, walk

Version = tuple[int, int]
NOTHING: Version = (0, 0)
_OLDEST_SYNTAX = 7  # the minor version of the oldest Python whose grammar ``ast`` knows
_NEWEST_SYNTAX = 15

# The release of torch that brought a function, as its release notes and the pages of its documentation say.
_SINCE: dict[str, Version] = {
    "promote_types": (1, 5),
    "movedim": (1, 7),
    "swapaxes": (1, 8),
    "unflatten": (1, 13),
    "scaled_dot_product_attention": (2, 0),
    "rms_norm": (2, 4),
    "RMSNorm": (2, 4),
    "flex_attention": (2, 5),
    "create_block_mask": (2, 5),
}
# The release that brought an argument of a function.
_ARGUMENT_SINCE: dict[tuple[str, str], Version] = {
    ("register_buffer", "persistent"): (1, 6),
    ("MultiheadAttention", "batch_first"): (1, 9),
    ("scaled_dot_product_attention", "scale"): (2, 1),
    ("scaled_dot_product_attention", "enable_gqa"): (2, 5),
}


def needed_torch(pieces: Iterable[Piece]) -> Version:
    """The torch that the calls need which a fix writes; ``NOTHING`` where it writes none that is new."""
    needed = NOTHING
    for piece in pieces:
        written = Counter(_dated(piece.after or ()))
        written.subtract(_dated(piece.before))
        needed = max(needed, *(since for (_, since), count in written.items() if count > 0), NOTHING)
    return needed


def _dated(statements: Sequence[ast.stmt]) -> Iterator[tuple[str, Version]]:
    """The functions and arguments that calls name, and what each needs."""
    for statement in statements:
        for node in walk(statement):
            if not isinstance(node, ast.Call):
                continue
            name = last_name(node.func)
            if name in _SINCE:
                yield name, _SINCE[name]
            for keyword in node.keywords:
                asked = (name, keyword.arg or "")
                if asked in _ARGUMENT_SINCE:
                    yield f"{asked[0]} {asked[1]}", _ARGUMENT_SINCE[asked]


def needed_python(text: str, pieces: Iterable[Piece]) -> Version:
    """The Python whose syntax a fix writes; ``NOTHING`` where the text needs it already."""
    needed = max((_syntax(piece.text) for piece in pieces), default=NOTHING)
    if needed <= (3, _OLDEST_SYNTAX) or _syntax(text) >= needed:
        return NOTHING
    return needed


@lru_cache(maxsize=8)
def _syntax(text: str) -> Version:
    """The oldest Python that reads a text; ``NOTHING`` where none does."""
    for minor in range(_OLDEST_SYNTAX, _NEWEST_SYNTAX + 1):
        try:
            with silently():
                ast.parse(text, feature_version=(3, minor))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return 3, minor
    return NOTHING
