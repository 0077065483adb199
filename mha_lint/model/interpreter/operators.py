"""Operators and comparisons."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

from msgspec.structs import replace

from mha_lint.model import masking, operations, padding
from mha_lint.model.factors import Factor, of_number
from mha_lint.model.fuel import MAX_ITEMS
from mha_lint.model.interpreter import pairs, texts
from mha_lint.model.interpreter.deciding import decide
from mha_lint.model.interpreter.numbers import either, factor_of, may_be_tensor
from mha_lint.model.keys import Kind, attribute
from mha_lint.model.operations import OPERATIONS
from mha_lint.model.run import Call, Run
from mha_lint.model.sizes import ZERO, Size, constant, divided, symbol
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
    Repeated,
    Sequence,
    State,
    Tensor,
    Unknown,
    Value,
    as_int,
    as_size,
    as_tensor,
    truth,
)
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import BIAS, ROTATION


def binary_operation(run: Run, node: ast.BinOp, state: State) -> Value:
    pairs.learn_rank(run, node, state)
    left, right = run.evaluate(node.left, state), run.evaluate(node.right, state)
    return binary(run, node.op, left, right, node, state)


def binary(run: Run, sign: ast.operator, left: Value, right: Value, node: ast.expr, state: State) -> Value:
    left, right = _used(run, left, state), _used(run, right, state)
    result = _binary(run, sign, masking.bare(left), masking.bare(right), node, state)
    row = operations.BY_SIGN.get(type(sign))
    if row is None or not (isinstance(left, Tensor) or isinstance(right, Tensor)):
        return result
    return operations.told(row, Call(run, state, node, (left, right), {}), result)


def _binary(run: Run, sign: ast.operator, left: Value, right: Value, node: ast.expr, state: State) -> Value:
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        return _of_tensors(run, sign, left, right, node, state)
    if isinstance(sign, ast.MatMult):
        return OPERATIONS["matmul"](Call(run, state, node, (left, right), {}))
    left, right = operations.expanded(left, state), operations.expanded(right, state)
    if isinstance(left, Sequence) and isinstance(right, Sequence) and isinstance(sign, ast.Add):
        return Sequence(left.items + right.items) if len(left.items) + len(right.items) <= MAX_ITEMS else NOTHING
    if isinstance(left, Leading) and isinstance(right, Sequence) and isinstance(sign, ast.Add):
        return Leading(left.key, left.items + right.items)
    if isinstance(left, Sequence) and isinstance(sign, ast.Mult) and (count := as_int(right)) is not None:
        return Sequence(left.items * count) if 0 <= count <= 64 and len(left.items) * count <= MAX_ITEMS else NOTHING
    if isinstance(left, Sequence) and isinstance(sign, ast.Mult) and len(left.items) == 1:
        item = NOTHING if left.items[0] == NONE else left.items[0]  # a place that is filled later
        times = as_size(right)
        return Repeated(item, None if times is None else state.normal(times))
    if isinstance(left, Const) and isinstance(left.value, str):
        return texts.calculated(sign, left.value, right) or Unknown(run.key(node))
    unsure = isinstance(sign, _OF_MASKS) and (may_be_tensor(run, left) or may_be_tensor(run, right))
    if isinstance(left, (Number, Const)) or isinstance(right, (Number, Const)):
        return Unknown(run.key(node)) if unsure else Number(_calculated(sign, left, right, state))
    first, second = as_size(left), as_size(right)
    if first is None or second is None:
        return NOTHING
    first, second = state.normal(first), state.normal(second)
    if isinstance(sign, ast.Div) and first.constant is not None:
        return _quotient(first.constant, second) or Number(_calculated(sign, left, right, state))
    size = arithmetic(run, sign, first, second, node, state)
    if size is None:
        return Number(_calculated(sign, left, right, state))
    return either(run, node, size, state) if unsure else Int(size)


_OF_MASKS = (ast.Add, ast.Sub, ast.Mult, ast.Div)  # what is done to tensors and to numbers alike


def _used(run: Run, value: Value, state: State) -> Value:
    """The value; a tensor where the code uses as one what is only known by its name."""
    if not isinstance(value, Unknown) or value.key is None:
        return value
    if isinstance(value.handed, Tensor) or run.is_tensor(value.key, state):
        return as_tensor(value) or value
    return value


def _of_tensors(run: Run, sign: ast.operator, left: Value, right: Value, node: ast.expr, state: State) -> Value:
    call = Call(run, state, node, (left, right), {})
    if isinstance(sign, ast.Add):
        run.saw_sum(left, right)
    if isinstance(sign, ast.Mult) and _rotates(left, right, node):
        return operations.elementwise(call, left, right)
    row = operations.BY_SIGN.get(type(sign))
    result = operations.elementwise(call, left, right) if row is None else operations.computed(row, call)
    if isinstance(sign, (ast.Mult, ast.Div, ast.MatMult)) or not isinstance(result, Tensor) or result.scale is None:
        return result
    return _biased(result, node)


def _quotient(number: int, by: Size) -> Int | None:
    """``8 / 2``: a whole number, which the code may go on to use as a size; ``1 / 2`` and ``1 / d`` are none."""
    if not by.constant or number % by.constant:
        return None
    return Int(constant(number // by.constant))


def _rotates(left: Value, right: Value, node: ast.expr) -> bool:
    """A projection is multiplied by sines or cosines: a rotation scales nothing."""
    if not isinstance(node, ast.BinOp) or isinstance(left, (Int, Number)) or isinstance(right, (Int, Number)):
        return False
    return names_said(ROTATION, node.left, node.right)


def _biased(result: Tensor, node: ast.expr) -> Tensor:
    """Scores with a bias that is learned, to which they may be scaled."""
    assert result.scale is not None
    biased = not isinstance(node, ast.BinOp) or names_said(BIAS, node)
    return replace(result, scale=result.scale.unsure) if biased else result


def _calculated(sign: ast.operator, left: Value, right: Value, state: State) -> Factor | None:
    """The value of an arithmetic operation on numbers, where it is known."""
    first, second = factor_of(left, state), factor_of(right, state)
    if first is None or second is None:
        return None
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
    value = _used(run, run.evaluate(node.operand, state), state)
    row = operations.BY_SIGN.get(type(node.op))
    if row is None or not isinstance(value, Tensor):
        return _unary(run, node, value, state)
    return operations.told(row, Call(run, state, node, (value,), {}), _unary(run, node, masking.bare(value), state))


def _unary(run: Run, node: ast.UnaryOp, value: Value, state: State) -> Value:
    match node.op:
        case ast.USub():
            if isinstance(value, Int):
                return Int(-value.size)
            if isinstance(value, Tensor):
                return operations.elementwise(Call(run, state, node, (value,), {}), value)
            smallest = _smallest(value)
            if smallest is not None:
                return smallest
            if may_be_tensor(run, value):
                return either(run, node, -(as_size(value) or ZERO), state) if as_size(value) else NOTHING
            factor = factor_of(value, state)
            return Number(None if factor is None else -factor)
        case ast.Not():
            known = truth(value)
            return Unknown(run.key(node)) if known is None else Const(not known)
        case _:
            return value


def _smallest(value: Value) -> Unknown | None:
    """``-torch.finfo(dtype).max`` is ``torch.finfo(dtype).min``."""
    key = value.key if isinstance(value, Unknown) else None
    largest = key is not None and key.kind is Kind.ATTRIBUTE and key.last_name == "max" and key.of_result
    return Unknown(attribute(key.owner, "min")) if largest and key is not None and key.owner is not None else None


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
            value = Const(known) if isinstance(operand, ast.Compare) else value
        if known == ends_with:
            return value
    told = isinstance(node.values[-1], ast.Compare) and isinstance(value, Unknown)
    return Unknown(run.key(node)) if told else value


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
    if isinstance(left, Unknown) and isinstance(result, Unknown):
        run.axes.alike_to(run.key(node), left)
    row = operations.BY_SIGN.get(type(node.ops[0]))
    if row is None or not (isinstance(left, Tensor) or isinstance(right, Tensor) or _asks_for_padding(node, result)):
        return result
    return operations.told(row, Call(run, state, node, (left, right), {}), result)


def _asks_for_padding(node: ast.Compare, result: Value) -> bool:
    """Nothing is known of what is compared but that it is compared with padding: it is a tensor."""
    return isinstance(result, Unknown) and padding.compared(node) is not None


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
        return operations.elementwise(Call(run, state, node, (left, right), {}), left, right)
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
