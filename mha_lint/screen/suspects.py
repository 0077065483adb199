"""What of a file can lead to findings."""

from __future__ import annotations

import ast
from collections.abc import Collection

from mha_lint.parsing import parse
from mha_lint.screen.look import Endless, Look
from mha_lint.screen.part import Suspects

# The kind of suspect that a rule's findings start from.
KINDS = {
    "MHA001": "view",
    "MHA002": "unbind",
    "MHA003": "unprojected",
    "MHA004": "contiguous",
    "MHA005": "reshape",
    "MHA101": "merge",
    "MHA102": "split",
    "MHA103": "dropout",
    "MHA104": "scale",
    "MHA105": "softmax",
    "MHA106": "polarity",
    "MHA107": "late",
    "MHA108": "half",
    "MHA109": "causal flag",
    "MHA110": "device",
    "MHA111": "vain",
    "MHA112": "mask and flag",
    "MHA113": "number",
}


def suspects(text: str, codes: Collection[str], tree: ast.Module | None = None) -> Suspects | None:
    """What of a file matters for the rules; ``tree`` is its syntax tree, where there is one already.

    None for all of it: the code is broken or takes too long to look at, or a rule is not known here.
    """
    if not KINDS.keys() >= set(codes):
        return None
    try:
        look = Look(parse(text) if tree is None else tree)
        roots = look.finds({KINDS[code] for code in codes})
        return Suspects(look.file, text, roots, look.holders, look.calls, look.kinds, look.likely)
    except (SyntaxError, ValueError, RecursionError, MemoryError, Endless):
        return None
