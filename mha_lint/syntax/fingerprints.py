"""A digest of a statement that stays the same while only its form, its comments or its place change."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from hashlib import blake2b

from mha_lint.syntax.places import Places

_BLOCKS = frozenset({"body", "orelse", "finalbody", "handlers", "cases"})
_UNTOLD = frozenset({"ctx", "kind", "type_comment"})  # the place tells the first; the others are a matter of form


def fingerprint(node: ast.AST, places: Places) -> str:
    """The digest of the statement that a node stands in, or of its header where it holds other statements.

    It is made of the tree, as no formatter changes it, and is the same under each version of Python. Two statements
    that are written alike have the same one.
    """
    return digest(next((each for each in (node, *places.parents(node)) if isinstance(each, ast.stmt)), node))


def digest(statement: ast.AST) -> str:
    """The same of a statement itself."""
    told = "".join(_told(statement))
    return blake2b(told.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _told(node: object, header: bool = True) -> Iterator[str]:
    """The kinds, the fields and the values of a tree. Fields that hold nothing are left out: versions differ there."""
    if isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None or value == [] or name in _UNTOLD:
                continue
            if header and name in _BLOCKS and isinstance(value, list):
                continue
            yield f"{name}="
            yield from _told(value, header=False)
        yield ")"
    elif isinstance(node, list):
        for each in node:
            yield from _told(each, header=False)
            yield ","
    else:
        yield repr(node)
