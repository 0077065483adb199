"""The two products of attention by hand: ``@``, ``matmul``, ``bmm``, ``baddbmm``, ``einsum``, in any order of dims."""

from __future__ import annotations

import ast

from msgspec import Struct

from mha_lint.model.by_hand.steps import Added, Context, Operand, Product, Scaled, Step
from mha_lint.model.operations import swaps
from mha_lint.syntax.names import ModuleNames
from mha_lint.syntax.nodes import argument, is_starred, text_of

_LAST_TWO = ({-1, -2}, {2, 3})
Letters = tuple[str, ...]


class Factors(Struct, frozen=True):
    """A product of two tensors: its operands, and of ``einsum`` the letters of both and of the result."""

    node: ast.expr
    left: ast.expr
    right: ast.expr
    letters: tuple[Letters, Letters, Letters] | None = None
    rank: int | None = None
    after: tuple[Step, ...] = ()  # what the same call does to the product


def factors_of(node: ast.expr, names: ModuleNames) -> Factors | None:
    """The two operands of an expression that multiplies matrices; None for any other expression."""
    match node:
        case ast.BinOp(left=left, op=ast.MatMult(), right=right):
            return Factors(node, left, right)
        case ast.Call() if not is_starred(node):
            return _called(node, names)
        case _:
            return None


def _called(node: ast.Call, names: ModuleNames) -> Factors | None:
    name, arguments = operation(node, names)
    match name, arguments:
        case "matmul", [left, right] if not node.keywords:
            return Factors(node, left, right)
        case "bmm", [left, right] if not node.keywords:
            return Factors(node, left, right, rank=3)
        case "baddbmm", [_, _, _]:
            return _added_product(node, arguments)
        case "einsum", _ if not node.keywords:
            return _by_letters(node, _spread(arguments))
        case _:
            return None


def operation(node: ast.Call, names: ModuleNames) -> tuple[str, list[ast.expr]]:
    """The last name of a function of torch or einops, or of a method, and its operands, that of the method first.

    The name is empty for what is neither.
    """
    full = names.qualify(node.func)
    if full is not None:
        known = full.startswith(("torch.", "einops."))
        return (full.rpartition(".")[2] if known else ""), list(node.args)
    if isinstance(node.func, ast.Attribute):
        return node.func.attr, [node.func.value, *node.args]
    return "", list(node.args)


def _added_product(node: ast.Call, arguments: list[ast.expr]) -> Factors | None:
    """``baddbmm(bias, q, k, beta=…, alpha=…)``, which is ``beta * bias + alpha * q @ k``."""
    beta, alpha = argument(node, 99, "beta"), argument(node, 99, "alpha")
    steps: list[Step] = []
    if alpha is not None:
        steps.append(Scaled(alpha, divides=False))
    match beta:
        case ast.Constant(value=0 | 0.0):
            pass
        case None | ast.Constant(value=1 | 1.0):
            steps.append(Added(arguments[0], node))
        case _:
            return None
    return Factors(node, arguments[1], arguments[2], rank=3, after=tuple(steps))


def _by_letters(node: ast.Call, arguments: list[ast.expr]) -> Factors | None:
    """``torch.einsum(equation, a, b)`` or ``einops.einsum(a, b, equation)``."""
    if len(arguments) != 3:
        return None
    if text_of(arguments[0]) is not None:
        equation, left, right = text_of(arguments[0]), arguments[1], arguments[2]
    else:
        left, right, equation = arguments[0], arguments[1], text_of(arguments[2])
    if equation is None:
        return None
    letters = _read(equation, spelled=text_of(arguments[2]) is not None)
    return None if letters is None else Factors(node, left, right, letters, rank=_rank(letters[2]))


def _spread(arguments: list[ast.expr]) -> list[ast.expr]:
    """The arguments of ``einsum(equation, [a, b])`` as those of ``einsum(equation, a, b)``."""
    if len(arguments) == 2 and isinstance(arguments[1], (ast.List, ast.Tuple)):
        return [arguments[0], *arguments[1].elts]
    return arguments


def _read(equation: str, *, spelled: bool) -> tuple[Letters, Letters, Letters] | None:
    """The letters of two operands and of the result; with ``spelled`` they are words, as einops has them."""
    inputs, arrow, output = equation.partition("->")
    sides = inputs.split(",")
    if not arrow or len(sides) != 2:
        return None
    read = [_words(side, spelled=spelled) for side in (*sides, output)]
    if any(len(set(letters)) != len(letters) for letters in read):
        return None
    return read[0], read[1], read[2]


def _words(side: str, *, spelled: bool) -> Letters:
    if spelled:
        return tuple(side.split())
    return tuple(side.replace(" ", "").replace("...", "."))


def _rank(letters: Letters) -> int | None:
    return None if "." in letters or "..." in letters else len(letters)


# --- of queries and keys ---------------------------------------------------------------------------------------------


def scores_of(factors: Factors) -> Product | None:
    """The product as that of queries and keys, whose scores have the keys last; None where it can't be one."""
    if factors.letters is None:
        return Product(factors.node, Operand(factors.left), _untransposed(factors.right, factors.rank), factors.rank)
    left, right, result = factors.letters
    summed = [letter for letter in left if letter in right and letter not in result]
    if len(summed) != 1 or len(result) < 3:
        return None
    batch, queries, keys = result[:-2], result[-2], result[-1]
    sides = ((factors.left, left), (factors.right, right))
    query = next((side for side in sides if queries in side[1] and keys not in side[1]), None)
    key = next((side for side in sides if keys in side[1] and queries not in side[1]), None)
    if query is None or key is None:
        return None
    laid_out = _laid(*query, (*batch, queries, *summed)), _laid(*key, (*batch, keys, *summed))
    if laid_out[0] is None or laid_out[1] is None:
        return None
    return Product(factors.node, laid_out[0], laid_out[1], factors.rank)


def _laid(node: ast.expr, letters: Letters, wanted: Letters) -> Operand | None:
    """The operand with its dimensions in the order that is wanted; None where it has others.

    It may lack some of those before the last two, but not all: then heads, say, share it.
    """
    lacks = set(wanted) - set(letters)
    if lacks and len(letters) > 2 and set(letters) < set(wanted) and lacks < set(wanted[:-2]):
        return Operand(node, shared=True)
    if set(letters) != set(wanted):
        return None
    if letters == wanted:
        return Operand(node)
    if letters[:-2] == wanted[:-2]:
        return Operand(node, swapped=True)
    if _rank(letters) is None:
        return None
    return Operand(node, order=tuple(letters.index(letter) for letter in wanted))


def _untransposed(node: ast.expr, rank: int | None) -> Operand:
    """The keys of which an expression is the transpose."""
    inner = untransposed(node, rank)
    return Operand(node, swapped=True) if inner is None else Operand(inner)


def untransposed(node: ast.expr, rank: int | None) -> ast.expr | None:
    """The tensor whose last two dimensions an expression swaps; None where it does something else."""
    match node:
        case ast.Attribute(value=inner, attr="mT"):
            return inner
        case ast.Call(func=ast.Attribute(value=inner, attr="contiguous"), args=[]):
            return untransposed(inner, rank)
        case ast.Call(func=ast.Attribute(value=inner, attr=name), args=args) if swaps(name) and len(args) == 2:
            dims = args
        case ast.Call(func=ast.Attribute(attr=name), args=[inner, *args]) if swaps(name) and len(args) == 2:
            dims = args
        case ast.Call(func=ast.Attribute(value=inner, attr="permute"), args=args):
            return inner if _permutes_last_two(args) else None
        case _:
            return None
    pair = {_integer(each) for each in dims}
    if pair in _LAST_TWO or (pair == {1, 2} and rank == 3):
        return inner
    return None


def _permutes_last_two(args: list[ast.expr]) -> bool:
    inner = args[0].elts if len(args) == 1 and isinstance(args[0], (ast.Tuple, ast.List)) else args
    order = [_integer(each) for each in inner]
    count = len(order)
    return count > 2 and order == [*range(count - 2), count - 1, count - 2]


def _integer(node: ast.expr) -> int | None:
    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))):
            return -number
        case _:
            return None


# --- of weights and values -------------------------------------------------------------------------------------------


def context_of(factors: Factors, *, weights_left: bool, turned: bool) -> Context | None:
    """The product as that of weights and values; None where it sums along another dimension than the keys."""
    values = factors.right if weights_left else factors.left
    if factors.letters is None:
        if weights_left is turned:
            return None
        return Context(factors.node, Operand(values, swapped=turned), swapped=turned)
    if turned:
        return None
    left, right, result = factors.letters
    of_weights, of_values = (left, right) if weights_left else (right, left)
    if len(of_weights) < 3:
        return None
    batch, queries, keys = of_weights[:-2], of_weights[-2], of_weights[-1]
    width = [letter for letter in of_values if letter not in of_weights]
    if len(width) != 1 or keys in result:
        return None
    value = _laid(values, of_values, (*batch, keys, *width))
    made = (*batch, queries, *width)
    if value is None or set(made) != set(result):
        return None
    if result == made:
        return Context(factors.node, value)
    if result[:-2] == made[:-2]:
        return Context(factors.node, value, swapped=True)
    if _rank(made) is None:
        return None
    return Context(factors.node, value, order=tuple(made.index(letter) for letter in result))
