"""Tuples and lists of what may be tensors: unpacked, indexed, concatenated."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from mha_lint.screen import facets as fc
from mha_lint.screen.facets import Items, Many, Rich, Value, joined, rich


def parts(value: Value, elements: Sequence[ast.expr]) -> list[Value]:
    """What unpacking it into as many targets may give each."""
    count = len(elements)
    parts: list[Value] = [fc.cut(fc.facets(value))] * count
    starred = any(isinstance(element, ast.Starred) for element in elements)
    for other in fc.others(value):
        if isinstance(other, Items):
            if len(other.values) == count and not starred:
                parts = [joined(part, item) for part, item in zip(parts, other.values, strict=True)]
            elif starred:
                every = fc.either(other.values)
                parts = [joined(part, every) for part in parts]
        elif isinstance(other, Many):
            parts = [joined(part, other.item) for part in parts]
        elif other is fc.NESTED:
            parts = [joined(part, value) for part in parts]
    return parts


def item(items: Items, index: ast.expr) -> Value:
    """What a subscript may give of a tuple or list."""
    if isinstance(index, ast.Slice):
        lower, upper = (None if end is None else integer(end) for end in (index.lower, index.upper))
        known = (lower is None) == (index.lower is None) and (upper is None) == (index.upper is None)
        if known and index.step is None:
            return fc.items(items.values[lower:upper])
        return fc.many(fc.either(items.values))
    at = integer(index)
    if at is None:
        return fc.either(items.values)
    return items.values[at] if -len(items.values) <= at < len(items.values) else 0


def integer(node: ast.expr) -> int | None:
    """The integer that is written there, if one is."""
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))):
            return -number
    return None


def concatenated(left: Rich, right: Rich) -> Value:
    """Tuples or lists, one behind the other."""
    result: Value = fc.elementwise(left.facets, right.facets)
    mine = [other for other in left.others if isinstance(other, (Items, Many))]
    theirs = [other for other in right.others if isinstance(other, (Items, Many))]
    if len(mine) * len(theirs) > 16:
        return joined(result, fc.many(joined(fc.element(left), fc.element(right))))
    for first in mine:
        for second in theirs:
            if isinstance(first, Items) and isinstance(second, Items) and len(first.values) + len(second.values) <= 16:
                result = joined(result, fc.items(first.values + second.values))
            else:
                result = joined(result, fc.many(joined(fc.element(rich(first)), fc.element(rich(second)))))
    return result
