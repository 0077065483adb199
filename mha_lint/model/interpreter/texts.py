"""Strings that code puts together: f-strings, sums, ``%``, and the methods of strings that are known."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from contextlib import suppress

from mha_lint.model.run import Call, Run
from mha_lint.model.values import NOTHING, Const, Int, Sequence, State, Unknown, Value

MOST_LETTERS = 1_000  # of a string that is put together


def formatted(run: Run, node: ast.JoinedStr, state: State) -> Value:
    """``f"b {axes} -> {axes} b"``; unknown where one of its parts is."""
    parts: list[str] = []
    for piece in node.values:
        value = piece.value if isinstance(piece, ast.FormattedValue) else piece
        text = text_of(run.evaluate(value, state))
        plain = not isinstance(piece, ast.FormattedValue) or (piece.conversion == -1 and piece.format_spec is None)
        if text is None or not plain:
            return Unknown(run.key(node))
        parts.append(text)
    return _text("".join(parts))


def text_of(value: Value) -> str | None:
    """Return the text that a string or a whole number gives inside another string; None for any other value."""
    match value:
        case Const(str(text)):
            return text
        case Int(size) if size.constant is not None:
            return str(size.constant)
        case _:
            return None


def calculated(sign: ast.operator, left: str, right: Value) -> Value | None:
    """``"b h " + axes``, ``"b %s" % axes``, ``"n " * 2``; None where nothing is known of it."""
    match sign, right:
        case ast.Add(), Const(str(text)):
            return _text(left + text)
        case ast.Mult(), Int(size) if size.constant is not None and 0 <= size.constant * len(left) <= MOST_LETTERS:
            return _text(left * size.constant)
        case ast.Mod(), _:
            given = tuple(map(text_of, right.items if isinstance(right, Sequence) else (right,)))
            with suppress(TypeError, ValueError):
                return None if None in given or "%d" in left else _text(left % given)
    return None


_METHODS: Mapping[str, Callable[..., object]] = {
    "replace": str.replace,
    "format": str.format,
    "strip": str.strip,
    "lower": str.lower,
    "upper": str.upper,
    "removeprefix": str.removeprefix,
    "removesuffix": str.removesuffix,
    "startswith": str.startswith,
    "endswith": str.endswith,
    "join": lambda text, items: text.join(items),
    "split": str.split,
}


def method(run: Run, receiver: str, name: str, call: Call) -> Value:
    """A method of a string that is known, given strings that are known."""
    function = _METHODS.get(name)
    if function is None:
        return Unknown(run.key(call.node))
    args = [_given(value) for value in call.args]
    keywords = {key: _given(value) for key, value in call.keywords.items()}
    if None in args or None in keywords.values():
        return Unknown(run.key(call.node))
    try:
        made = function(receiver, *args, **keywords)
    except (TypeError, ValueError, LookupError, AttributeError):
        return NOTHING
    match made:
        case str():
            return _text(made)
        case bool():
            return Const(made)
        case list():
            return Sequence(tuple(map(Const, made)))
        case _:
            return NOTHING


def _given(value: Value) -> str | list[str] | None:
    if not isinstance(value, Sequence):
        return text_of(value)
    items = [item.value for item in value.items if isinstance(item, Const) and isinstance(item.value, str)]
    return items if len(items) == len(value.items) else None


def _text(text: str) -> Value:
    return Const(text) if len(text) <= MOST_LETTERS else NOTHING
