"""Operators and comparisons."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable

from mha_lint.model import masking, torch_api
from mha_lint.model.factors import Factor, of_number
from mha_lint.model.fuel import MAX_ITEMS
from mha_lint.model.interpreter.deciding import decide
from mha_lint.model.records import replace
from mha_lint.model.run import Call, Run
from mha_lint.model.sizes import Size, constant, divided, symbol
from mha_lint.model.torch_api import OPERATIONS
from mha_lint.model.values import (
    NONE,
    NOTHING,
    Const,
    Instance,
    Int,
    Layer,
    Leading,
    Method,
    Number,
    Qualified,
    Sequence,
    State,
    Tensor,
    Unknown,
    Value,
    as_factor,
    as_int,
    as_size,
    truth,
)
from mha_lint.vocabulary import is_said


def binary_operation(run: Run, node: ast.BinOp, state: State) -> Value:
    left, right = run.evaluate(node.left, state), run.evaluate(node.right, state)
    return binary(run, node.op, left, right, node, state)


_NAMES: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.BitAnd: "logical_and",
    ast.BitOr: "logical_or",
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
}  # torch's names for what the operators do to tensors


def binary(run: Run, sign: ast.operator, left: Value, right: Value, node: ast.expr, state: State) -> Value:
    result = _binary(run, sign, masking.bare(left), masking.bare(right), node, state)
    name = _NAMES.get(type(sign), "")
    if not name or (not isinstance(left, Tensor) and not isinstance(right, Tensor)):
        return result
    call = Call(run, state, node, (left, right), {})
    result = masking.marked(name, call, result)
    if name == "add":
        run.saw_operation(name, call, result)
    return result


def _binary(run: Run, sign: ast.operator, left: Value, right: Value, node: ast.expr, state: State) -> Value:
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        call = Call(run, state, node, (left, right), {})
        if isinstance(sign, ast.MatMult):
            return OPERATIONS["matmul"](call)
        if isinstance(sign, ast.Add):
            run.saw_sum(left, right)
        if isinstance(sign, ast.Div):
            return OPERATIONS["div"](call)
        if isinstance(sign, ast.Mult):
            if _rotates(run, left, right, node):
                return torch_api.elementwise(call, left, right)
            return OPERATIONS["mul"](call)
        result = torch_api.elementwise(call, left, right)
        return _biased(run, result, node) if isinstance(result, Tensor) and result.scale is not None else result
    if isinstance(sign, ast.MatMult):
        return OPERATIONS["matmul"](Call(run, state, node, (left, right), {}))
    left, right = torch_api.expanded(left, state), torch_api.expanded(right, state)
    if isinstance(left, Sequence) and isinstance(right, Sequence) and isinstance(sign, ast.Add):
        return Sequence(left.items + right.items) if len(left.items) + len(right.items) <= MAX_ITEMS else NOTHING
    if isinstance(left, Leading) and isinstance(right, Sequence) and isinstance(sign, ast.Add):
        return Leading(left.key, left.items + right.items)
    if isinstance(left, Sequence) and isinstance(sign, ast.Mult) and (times := as_int(right)) is not None:
        return Sequence(left.items * times) if 0 <= times <= 64 and len(left.items) * times <= MAX_ITEMS else NOTHING
    if isinstance(left, (Number, Const)) or isinstance(right, (Number, Const)):
        return Number(_calculated(sign, left, right, state))
    first, second = as_size(left), as_size(right)
    if first is None or second is None:
        return NOTHING
    first, second = state.normal(first), state.normal(second)
    if isinstance(sign, ast.Div) and first.constant is not None:
        return _quotient(first.constant, second) or Number(_calculated(sign, left, right, state))
    size = arithmetic(run, sign, first, second, node, state)
    return Number(_calculated(sign, left, right, state)) if size is None else Int(size)


def _quotient(number: int, by: Size) -> Int | None:
    """``8 / 2``: a whole number, which the code may go on to use as a size; ``1 / 2`` and ``1 / d`` are none."""
    if not by.constant or number % by.constant:
        return None
    return Int(constant(number // by.constant))


_ROTATION = re.compile(r"(?:^|[._])(?:cos|sin|freqs?)(?:$|[\W_])", re.IGNORECASE)


def _rotates(run: Run, left: Value, right: Value, node: ast.expr) -> bool:
    """A projection is multiplied by sines or cosines: a rotation scales nothing."""
    if not isinstance(node, ast.BinOp) or isinstance(left, (Int, Number)) or isinstance(right, (Int, Number)):
        return False
    return any(is_said(_ROTATION, run.text(each)) for each in (node.left, node.right))


_BIAS = re.compile(r"bias|alibi|rel_?pos|relative|position", re.IGNORECASE)


def _biased(run: Run, result: Tensor, node: ast.expr) -> Tensor:
    """Scores with a bias that is learned, to which they may be scaled."""
    assert result.scale is not None
    biased = not isinstance(node, ast.BinOp) or is_said(_BIAS, run.text(node))
    return replace(result, scale=result.scale.unsure) if biased else result


def _calculated(sign: ast.operator, left: Value, right: Value, state: State) -> Factor | None:
    """The value of an arithmetic operation on numbers, where it is known."""
    first, second = as_factor(left), as_factor(right)
    if first is None or second is None:
        return None
    first, second = first.substitute(state.definitions), second.substitute(state.definitions)
    match sign:
        case ast.Mult():
            return first * second
        case ast.Div():
            return first / second
        case ast.Pow() if second.constant is not None:
            return first.power(second.constant)
        case ast.Add() if first.constant is not None and second.constant is not None:
            return of_number(first.constant + second.constant)
        case ast.Sub() if first.constant is not None and second.constant is not None:
            return of_number(first.constant - second.constant)
        case _:
            return None


def arithmetic(run: Run, sign: ast.operator, left: Size, right: Size, node: ast.expr, state: State) -> Size | None:
    match sign:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.FloorDiv() | ast.Div():
            return divided(left, right, state.definitions)
        case ast.Pow() if left.constant is not None and right.constant is not None and 0 <= right.constant < 32:
            return constant(left.constant**right.constant)
        case ast.Pow() if right.constant == 2:
            return left * left
        case ast.Mod():
            return constant(left.constant % right.constant) if left.constant is not None and right.constant else symbol(
                run.key(node)
            )  # fmt: skip
        case _:
            return None


def unary_operation(run: Run, node: ast.UnaryOp, state: State) -> Value:
    value = run.evaluate(node.operand, state)
    if isinstance(value, Tensor) and isinstance(node.op, (ast.USub, ast.Invert)):
        name = "neg" if isinstance(node.op, ast.USub) else "logical_not"
        return masking.marked(name, Call(run, state, node, (value,), {}), _unary(run, node, masking.bare(value), state))
    return _unary(run, node, value, state)


def _unary(run: Run, node: ast.UnaryOp, value: Value, state: State) -> Value:
    match node.op:
        case ast.USub():
            if isinstance(value, Int):
                return Int(-value.size)
            if isinstance(value, Tensor):
                return torch_api.elementwise(Call(run, state, node, (value,), {}), value)
            factor = as_factor(value)
            return Number(None if factor is None else -factor)
        case ast.Not():
            known = truth(value)
            return Unknown(run.key(node)) if known is None else Const(not known)
        case _:
            return value


def boolean_operation(run: Run, node: ast.BoolOp, state: State) -> Value:
    """The first operand that decides ``and`` or ``or``, else the last."""
    ends_with = isinstance(node.op, ast.Or)
    value: Value = NOTHING
    for index, operand in enumerate(node.values):
        value = run.evaluate(operand, state)
        if index + 1 == len(node.values):
            break
        known = truth(value)
        if known is None:
            known = decide(run, operand, state)
        if known == ends_with:
            break
    return value


_ORDERS: dict[type[ast.AST], Callable[[int, int], bool]] = {
    ast.Lt: operator.lt,
    ast.Gt: operator.gt,
    ast.LtE: operator.le,
    ast.GtE: operator.ge,
}


def comparison(run: Run, node: ast.Compare, state: State) -> Value:
    left = run.evaluate(node.left, state)
    if len(node.ops) != 1:
        return Unknown(run.key(node))
    right = run.evaluate(node.comparators[0], state)
    result = _compared(run, node, masking.bare(left), masking.bare(right), state)
    name = _NAMES.get(type(node.ops[0]), "")
    if name and (isinstance(left, Tensor) or isinstance(right, Tensor)):
        return masking.marked(name, Call(run, state, node, (left, right), {}), result)
    return result


def _compared(run: Run, node: ast.Compare, left: Value, right: Value, state: State) -> Value:
    sign = node.ops[0]
    match sign:
        case ast.Is() | ast.IsNot() if right == NONE:
            known = is_none(left)
            negated = isinstance(sign, ast.IsNot)
            return Unknown(run.key(node)) if known is None else Const(known != negated)
        case ast.Eq() | ast.NotEq():
            if isinstance(left, Const) and isinstance(right, Const):
                return Const((left == right) == isinstance(sign, ast.Eq))
            first, second = as_size(left), as_size(right)
            if first is not None and second is not None:
                return _compare_sizes(run, node, state.normal(first), state.normal(second))
        case ast.Lt() | ast.Gt() | ast.LtE() | ast.GtE():
            if (low := as_int(left)) is not None and (high := as_int(right)) is not None:
                return Const(_ORDERS[type(sign)](low, high))
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        return torch_api.elementwise(Call(run, state, node, (left, right), {}), left, right)
    return Unknown(run.key(node))


def _compare_sizes(run: Run, node: ast.Compare, left: Size, right: Size) -> Value:
    wanted = isinstance(node.ops[0], ast.Eq)
    if left == right:
        return Const(wanted)
    if left.constant is not None and right.constant is not None:
        return Const(not wanted)
    return Unknown(run.key(node))


def is_none(value: Value) -> bool | None:
    match value:
        case Const(None):
            return True
        case Unknown() | Method():
            return None
        case Layer(optional=True) | Instance(optional=True) | Qualified(optional=True):
            return None
        case _:
            return False
