"""Sizes in a constructor's own terms: its parameters, its locals and the attributes that it has set."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mha_lint.model.keys import Key, named
from mha_lint.model.sizes import Size, divided, symbol
from mha_lint.model.values import Int, Layer, State, Unknown, as_size
from mha_lint.parsing import parse_expression
from mha_lint.syntax.nodes import Function, children, every_parameter, receiver, walk

if TYPE_CHECKING:
    from mha_lint.syntax.exact import Exact


def in_constructor_terms(width: Size, state: State, init: Function) -> str | None:
    """The width as an expression that holds at the end of ``__init__``; the shortest name there is for it."""
    width = state.normal(width)
    if width.constant is not None:
        return str(width.constant)
    known = dict(_named_sizes(state, init))
    for text, size in known.items():
        if size == width:
            return text
    for text, size in known.items():
        rest = width.divide(size)
        if rest is None or (rest.constant is not None and rest.constant < 1):
            continue
        if rest.constant is not None:
            return f"{rest.constant} * {text}"
        for other, other_size in known.items():
            if other_size == rest:
                return f"{text} * {other}"
    return None


def quotients(width: Size, state: State, init: Function) -> Iterator[str]:
    """Names of the width, then quotients of two sizes that are it: ``head_dim``, ``dim // heads``."""
    width = state.normal(width)
    known = [(text, size) for text, size in dict(_named_sizes(state, init)).items()]
    yield from (text for text, size in known if size == width)
    for text, whole in known:
        for other, parts in known:
            if other == text or whole == parts:
                continue
            quotient = divided(whole, parts, dict(state.definitions))
            if quotient == width or (parts * width).substitute(state.definitions) == whole:
                yield f"{text} // {other}"


def known_before(text: str, row: int, function: Function, places: Exact) -> bool:
    """An expression has in that row the value that it has at the end of a function.

    Each name is a parameter that is never assigned, or is assigned once, above the row; so is each attribute.
    """
    given = {parameter.arg for parameter in every_parameter(function)}
    assigned = _assigned(function, places)
    pending: list[ast.AST] = [parse_expression(text)]
    while pending:
        node = pending.pop()
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                wanted = [f"{owner}.{name}"] if assigned.get(f"{owner}.{name}") else [owner]
            case ast.Name(id=name):
                wanted = [name]
            case _:
                pending += children(node)
                continue
        for each in wanted:
            rows = assigned.get(each, [])
            if not (rows == [] and each in given) and not (len(rows) == 1 and rows[0] < row):
                return False
    return True


def _assigned(function: Function, places: Exact) -> dict[str, list[int]]:
    """The rows in which each name, and each attribute of one, is assigned."""
    rows: dict[str, list[int]] = {}
    for node in walk(*function.body):
        targets: list[ast.expr] = []
        match node:
            case ast.Assign(targets=several):
                targets = several
            case ast.AnnAssign(target=target) | ast.AugAssign(target=target) | ast.NamedExpr(target=target):
                targets = [target]
            case ast.For(target=target) | ast.AsyncFor(target=target):
                targets = [target]
        for each in walk(*targets):
            if isinstance(each, (ast.Name, ast.Attribute)) and isinstance(each.ctx, ast.Store):
                rows.setdefault(places.source(each), []).append(places.start(each).row)
    return rows


def _named_sizes(state: State, init: Function) -> Iterator[tuple[str, Size]]:
    """Parameters, then locals, then attributes, then what the constructor reads off its parameters."""
    owner = receiver(init)
    for name, value in state.variables.items():
        size = as_size(value)
        if size is not None and isinstance(value, (Int, Unknown)) and size.constant is None and _is_told(size):
            yield name, state.normal(size)
    for name, value in state.attributes.items():
        if isinstance(value, (Int, Unknown)):
            size = as_size(value)
            if size is not None and _is_told(size):
                yield f"{owner}.{name}", state.normal(size)
    for name, value in state.variables.items():
        if value == Unknown(named(name)):
            for key in sorted(_read_off(named(name), state)):
                yield str(key), state.normal(symbol(key))


def _is_told(size: Size) -> bool:
    """The code has names for all that a size is made of."""
    return not any(key.computed for key in size.symbols)


def _read_off(given: Key, state: State) -> set[Key]:
    """``config.n_embd`` or ``cfg['emb_dim']``: sizes known by an expression on a parameter."""
    sizes = [size for value in [*state.variables.values(), *state.attributes.values()] for size in _sizes_in(value)]
    keys = {key for size in sizes for key in size.symbols} | set(state.definitions)
    parts = {key for key in keys if key.owner is not None and key.belongs_to({given})}
    return {key for key in parts if not (key.of_dimension or key.of_quotient or key.computed)}


def _sizes_in(value: object) -> Iterator[Size]:
    match value:
        case Int(size):
            yield size
        case Layer(width_in=width_in, width_out=width_out):
            yield from (size for size in (width_in, width_out) if size is not None)
        case Unknown(Key() as key):
            yield symbol(key)
