"""Shapes for the parameters of statements that run alone, from the sizes that their own views name."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from math import prod

from msgspec import Struct

from mha_lint.validation.search.inputs import BATCH_NAMES, NAMED
from mha_lint.validation.search.specs import Dim
from mha_lint.validation.search.vocabulary import role_of

Shape = tuple[Dim, ...]

# Methods of a tensor, and functions, all of whose plain arguments are numbers.
TAKES_SIZES = frozenset(
    "view reshape expand repeat repeat_interleave unflatten new_zeros new_ones new_empty narrow tile chunk split "
    "unfold zeros ones empty arange range flatten permute transpose".split()
)
_VIEWS = frozenset({"view", "reshape"})
_SAME = frozenset("contiguous clone float half bfloat16 double to type type_as detach".split())  # keep the shape
_SYMBOLS = {"width": "h*d", "batch": "b", "heads": "h", "kv_heads": "h", "head_dim": "d"}
_OF_RANK: Mapping[int, Shape] = {3: ("b", "t", "d"), 4: ("b", "h", "t", "d")}  # where no view tells more
_FREE = ("t", "s", "H", "W", "d", "h", "b")


def shapes_of(function: ast.FunctionDef, numbers: Sequence[str]) -> dict[str, Shape]:
    """For each of ``numbers`` its symbol, and for each tensor that is viewed a shape that the view takes.

    A number that a view merges dims into is a product of symbols.
    """
    symbols = _symbols(numbers)
    for whole, part in _divided(function):
        if {whole, part} <= symbols.keys() and "*" not in symbols[whole]:
            symbols[whole] = f"{symbols[part]}*{'d' if symbols[part] != 'd' else 'h'}"
    views = list(_views(function))
    for origin, sizes in views:
        last = sizes[-1] if sizes else None
        if len(origin.order) == len(sizes) + 1 and isinstance(last, ast.Name) and last.id in symbols:
            used = {symbols[item.id] for item in sizes[:-1] if isinstance(item, ast.Name) and item.id in symbols}
            free = [symbol for symbol in ("h", "d", "H", "W", "s") if symbol not in used]
            symbols[last.id] = "*".join(free[:2])
    found: dict[str, Shape] = {name: (symbol,) for name, symbol in symbols.items()}
    for origin, sizes in views:
        names = origin.names
        shape = _before(origin.order, [_dim(item, symbols) for item in sizes])
        if shape is None:
            shape = _OF_RANK.get(len(origin.order))
        if shape is None:
            continue
        if len(names) == 1:
            found.setdefault(names[0], shape)
        elif len(shape) > 1:  # the factors of a matrix product
            inner = next((symbol for symbol in ("s", "H", "W") if symbol not in "".join(map(str, shape))), "s")
            found.setdefault(names[0], (*shape[:-1], inner))
            found.setdefault(names[1], (*shape[:-2], inner, shape[-1]))
    return found


def _symbols(numbers: Sequence[str]) -> dict[str, str]:
    said = {**dict.fromkeys(BATCH_NAMES, "b"), **NAMED}
    wished = {name: said.get(name.lower(), _SYMBOLS.get(role_of(name), "")) for name in numbers}
    free = iter([symbol for symbol in _FREE if symbol not in wished.values()])
    return {name: wish or next(free, "t") for name, wish in wished.items()}


def _divided(function: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """Names that are divided by one another, as a width is by the number of heads."""
    for node in ast.walk(function):
        match node:
            case ast.BinOp(left=ast.Name(whole), op=ast.FloorDiv(), right=ast.Name(part)):
                yield whole, part


class _Origin(Struct, frozen=True):
    """Record what a tensor was made of by permuting dims: a parameter, or the matrix product of two."""

    names: tuple[str, ...]
    order: tuple[int, ...] = ()  # empty: as it is

    def permuted(self, order: tuple[int, ...]) -> _Origin | None:
        if not self.order:
            return _Origin(self.names, order)
        if len(order) != len(self.order):
            return None
        return _Origin(self.names, tuple(self.order[at] for at in order))


def _views(function: ast.FunctionDef) -> Iterator[tuple[_Origin, list[ast.expr]]]:
    """Views and the sizes that they name; of what is only permuted, the order alone."""
    known: dict[str, _Origin | None] = {item.arg: _Origin((item.arg,)) for item in function.args.args}
    for statement in function.body:
        for node in ast.walk(statement):
            match node:
                case ast.Call(func=ast.Attribute(value=value, attr=attr), args=[*sizes]) if attr in _VIEWS and sizes:
                    if isinstance(sizes[0], ast.Tuple):
                        sizes = sizes[0].elts
                    found = _origin(value, known)
                    if found is not None:
                        yield found, list(sizes)
                case ast.Call(func=ast.Attribute(attr="permute")):
                    found = _origin(node, known)
                    if found is not None:
                        yield found, []
        match statement:
            case ast.Assign(targets=[ast.Name(name)], value=value):
                known[name] = _origin(value, known)


def _origin(node: ast.expr, known: Mapping[str, _Origin | None]) -> _Origin | None:
    match node:
        case ast.Name(name):
            return known.get(name)
        case ast.Subscript(value=ast.Tuple(elts=[_, ast.Name(name)])):  # what unknown code gives
            return known.get(name)
        case ast.BinOp(left=left, op=ast.MatMult(), right=right):
            return _product(left, right, known)
        case ast.Call(func=ast.Attribute(attr="matmul" | "bmm"), args=[left, right]):
            return _product(left, right, known)
        case ast.Call(func=ast.Attribute(value=value, attr="permute"), args=[*dims]):
            dims = dims[0].elts if len(dims) == 1 and isinstance(dims[0], ast.Tuple) else dims
            order = tuple(dim.value for dim in dims if isinstance(dim, ast.Constant) and isinstance(dim.value, int))
            inner = _origin(value, known)
            return inner.permuted(order) if inner and sorted(order) == list(range(len(dims))) else None
        case ast.Call(
            func=ast.Attribute(value=value, attr="transpose"),
            args=[ast.Constant(value=int(one)), ast.Constant(value=int(other))],
        ) if min(one, other) >= 0 and max(one, other) < 4:
            inner = _origin(value, known)
            rank = len(inner.order) if inner and inner.order else 4 if {one, other} != {0, 1} else 3
            places = list(range(max(rank, one + 1, other + 1)))
            places[one], places[other] = places[other], places[one]
            return inner.permuted(tuple(places)) if inner else None
        case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in _SAME:
            return _origin(value, known)
    return None


def _product(left: ast.expr, right: ast.expr, known: Mapping[str, _Origin | None]) -> _Origin | None:
    sides = _origin(left, known), _origin(right, known)
    names = tuple(name for side in sides if side and not side.order for name in side.names)
    return _Origin(names) if len(names) == 2 else None


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
        case ast.BinOp(left=ast.Name(whole), op=ast.FloorDiv(), right=ast.Name(part)):
            factors = symbols.get(whole, "").split("*")
            return next((factor for factor in factors if factor != symbols.get(part)), "")
    return ""


def _before(order: Sequence[int], sizes: list[str]) -> Shape | None:
    """A shape that, put in this order, holds as many numbers as these sizes; None where they are not known."""
    if "" in sizes or sizes.count("?") > 1 or not sizes:
        return None
    used = set("".join(sizes))
    free = [symbol for symbol in ("d", "h", "W", "H") if symbol not in used]
    if "?" in sizes and not free:
        return None
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
