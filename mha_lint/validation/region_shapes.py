"""Shapes for the parameters of statements that run alone, from the sizes that their own views name."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from math import prod

from mha_lint.validation.specs import Dim
from mha_lint.validation.vocabulary import role_of

Shape = tuple[Dim, ...]

# Methods of a tensor, and functions, all of whose plain arguments are numbers.
TAKES_SIZES = frozenset(
    "view reshape expand repeat repeat_interleave unflatten new_zeros new_ones new_empty narrow tile chunk split "
    "unfold zeros ones empty arange range flatten permute transpose".split()
)
_VIEWS = frozenset({"view", "reshape"})
_SAME = frozenset("contiguous clone float half bfloat16 double to type type_as detach".split())  # keep the shape
_SYMBOLS = {"batch": "b", "heads": "h", "kv_heads": "h", "head_dim": "d"}
_FREE = ("t", "s", "H", "W", "d", "h", "b")


def shapes_of(function: ast.FunctionDef, numbers: Sequence[str]) -> dict[str, Shape]:
    """For each of ``numbers`` its symbol, and for each tensor that is viewed a shape that the view takes.

    A number that a view merges dims into is a product of symbols.
    """
    symbols = _symbols(numbers)
    views = list(_views(function))
    for _, order, sizes in views:
        last = sizes[-1] if sizes else None
        if order and len(order) == len(sizes) + 1 and isinstance(last, ast.Name) and last.id in symbols:
            used = {symbols[item.id] for item in sizes[:-1] if isinstance(item, ast.Name) and item.id in symbols}
            one, other = [symbol for symbol in ("h", "d", "H", "W", "s") if symbol not in used][:2]
            symbols[last.id] = f"{one}*{other}"
    found: dict[str, Shape] = {name: (symbol,) for name, symbol in symbols.items()}
    for name, order, sizes in views:
        shape = _before(order, [_dim(item, symbols) for item in sizes])
        if shape is not None:
            found.setdefault(name, shape)
    return found


def _symbols(numbers: Sequence[str]) -> dict[str, str]:
    wished = {name: _SYMBOLS.get(role_of(name), "") for name in numbers}
    free = iter([symbol for symbol in _FREE if symbol not in wished.values()])
    return {name: wish or next(free, "t") for name, wish in wished.items()}


def _views(function: ast.FunctionDef) -> Iterator[tuple[str, tuple[int, ...], list[ast.expr]]]:
    """Views of parameters: the name, the order of dims that it is permuted to first (empty: as it is), the sizes."""
    parameters = {item.arg for item in function.args.args}
    for node in ast.walk(function):
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=attr), args=[*sizes]) if attr in _VIEWS and sizes:
                if isinstance(sizes[0], ast.Tuple):
                    sizes = sizes[0].elts
                found = _origin(value)
                if found is not None and found[0] in parameters:
                    yield found[0], found[1], list(sizes)


def _origin(node: ast.expr) -> tuple[str, tuple[int, ...]] | None:
    order: tuple[int, ...] = ()
    while True:
        match node:
            case ast.Name(name):
                return name, order
            case ast.Subscript(value=ast.Tuple(elts=[_, ast.Name(name)])):  # what unknown code gives
                return name, order
            case ast.Call(func=ast.Attribute(value=value, attr="permute"), args=[*dims]) if not order:
                dims = dims[0].elts if len(dims) == 1 and isinstance(dims[0], ast.Tuple) else dims
                order = tuple(dim.value for dim in dims if isinstance(dim, ast.Constant) and isinstance(dim.value, int))
                if sorted(order) != list(range(len(dims))):
                    return None
            case ast.Call(
                func=ast.Attribute(value=value, attr="transpose"),
                args=[ast.Constant(value=int(one)), ast.Constant(value=int(other))],
            ) if not order and min(one, other) >= 0 and max(one, other) < 4:
                places = list(range(4 if {one, other} != {0, 1} else 3))
                places[one], places[other] = places[other], places[one]
                order = tuple(places)
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in _SAME:
                pass
            case _:
                return None
        node = value


def _dim(node: ast.expr, symbols: Mapping[str, str]) -> str:
    """The size in symbols; "?" where it is free (-1), and "" where it is not known."""
    match node:
        case ast.Name(name):
            return symbols.get(name, "")
        case ast.Constant(value=int(value)) if value > 0:
            return str(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)):
            return "?"
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            sides = _dim(left, symbols), _dim(right, symbols)
            return "" if "" in sides or "?" in sides else "*".join(sides)
    return ""


def _before(order: Sequence[int], sizes: list[str]) -> Shape | None:
    """A shape that, put in this order, holds as many numbers as these sizes; None where they are not known."""
    if "" in sizes or sizes.count("?") > 1 or not sizes:
        return None
    used = set("".join(sizes))
    free = [symbol for symbol in ("d", "h", "W", "H") if symbol not in used]
    factors = [size if size != "?" else free[0] for size in sizes]
    rank = len(order) or len(factors)
    if len(factors) > rank:  # the view splits the last dim
        factors[rank - 1 :] = ["*".join(factors[rank - 1 :])]
    while len(factors) < rank:  # it merges the last dims that are products, or the free one
        at = next((place for place in reversed(range(len(factors))) if "*" in factors[place]), None)
        if at is not None:
            one, _, other = factors[at].partition("*")
            factors[at : at + 1] = [one, other]
        elif "?" in sizes and len(free) > 1:
            factors.insert(sizes.index("?"), free.pop())
        else:
            return None
    placed: list[Dim] = [0] * rank
    for place, factor in zip(order or range(rank), factors, strict=True):
        placed[place] = int(prod(int(part) for part in factor.split("*"))) if _is_number(factor) else factor
    return tuple(placed)


def _is_number(factor: str) -> bool:
    return all(part.isdigit() for part in factor.split("*"))
