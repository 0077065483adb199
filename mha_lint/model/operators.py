"""Operators, comparisons and conditions."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.model import masking, torch_api
from mha_lint.model.factors import Factor, of_number
from mha_lint.model.fuel import MAX_ITEMS
from mha_lint.model.sizes import ONE, Size, constant, equate, symbol
from mha_lint.model.torch_api import OPERATIONS, Call
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

if TYPE_CHECKING:
    from mha_lint.model.interpreter import Interpreter


def binary_operation(run: Interpreter, node: cst.BinaryOperation, state: State) -> Value:
    left, right = run.evaluate(node.left, state), run.evaluate(node.right, state)
    return binary(run, node.operator, left, right, node, state)


_NAMES: dict[type[cst.CSTNode], str] = {
    cst.Add: "add",
    cst.AddAssign: "add",
    cst.Subtract: "sub",
    cst.SubtractAssign: "sub",
    cst.Multiply: "mul",
    cst.MultiplyAssign: "mul",
    cst.Divide: "div",
    cst.DivideAssign: "div",
    cst.BitAnd: "logical_and",
    cst.BitAndAssign: "logical_and",
    cst.BitOr: "logical_or",
    cst.BitOrAssign: "logical_or",
    cst.Equal: "eq",
    cst.NotEqual: "ne",
    cst.LessThan: "lt",
    cst.LessThanEqual: "le",
    cst.GreaterThan: "gt",
    cst.GreaterThanEqual: "ge",
}  # torch's names for what the operators do to tensors


def binary(
    run: Interpreter, sign: cst.CSTNode, left: Value, right: Value, node: cst.BaseExpression, state: State
) -> Value:
    result = _binary(run, sign, masking.bare(left), masking.bare(right), node, state)
    name = _NAMES.get(type(sign), "")
    if not name or (not isinstance(left, Tensor) and not isinstance(right, Tensor)):
        return result
    call = Call(run, state, node, (left, right), {})
    result = masking.marked(name, call, result)
    if name == "add":
        run.saw_operation(name, call, result)
    return result


def _binary(run: Interpreter, sign: object, left: Value, right: Value, node: cst.BaseExpression, state: State) -> Value:
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        call = Call(run, state, node, (left, right), {})
        if isinstance(sign, (cst.MatrixMultiply, cst.MatrixMultiplyAssign)):
            return OPERATIONS["matmul"](call)
        if isinstance(sign, (cst.Add, cst.AddAssign)):
            run.saw_sum(left, right)
        if isinstance(sign, (cst.Divide, cst.DivideAssign)):
            return OPERATIONS["div"](call)
        if isinstance(sign, (cst.Multiply, cst.MultiplyAssign)):
            if _rotates(run, left, right, node):
                return torch_api.elementwise(call, left, right)
            return OPERATIONS["mul"](call)
        result = torch_api.elementwise(call, left, right)
        return _biased(run, result, node) if isinstance(result, Tensor) and result.scale is not None else result
    if isinstance(sign, (cst.MatrixMultiply, cst.MatrixMultiplyAssign)):
        return OPERATIONS["matmul"](Call(run, state, node, (left, right), {}))
    left, right = torch_api.expanded(left, state), torch_api.expanded(right, state)
    if isinstance(left, Sequence) and isinstance(right, Sequence) and isinstance(sign, cst.Add):
        return Sequence(left.items + right.items) if len(left.items) + len(right.items) <= MAX_ITEMS else NOTHING
    if isinstance(left, Leading) and isinstance(right, Sequence) and isinstance(sign, cst.Add):
        return Leading(left.key, left.items + right.items)
    if isinstance(left, Sequence) and isinstance(sign, cst.Multiply) and (times := as_int(right)) is not None:
        return Sequence(left.items * times) if 0 <= times <= 64 and len(left.items) * times <= MAX_ITEMS else NOTHING
    if isinstance(left, (Number, Const)) or isinstance(right, (Number, Const)):
        return Number(_calculated(sign, left, right, state))
    first, second = as_size(left), as_size(right)
    if first is None or second is None:
        return NOTHING
    first, second = state.normal(first), state.normal(second)
    if isinstance(sign, (cst.Divide, cst.DivideAssign)) and first.constant is not None:
        return _quotient(first.constant, second) or Number(_calculated(sign, left, right, state))
    size = arithmetic(run, sign, first, second, node, state)
    return Number(_calculated(sign, left, right, state)) if size is None else Int(size)


def _quotient(number: int, by: Size) -> Int | None:
    """``8 / 2``: a whole number, which the code may go on to use as a size; ``1 / 2`` and ``1 / d`` are none."""
    if not by.constant or number % by.constant:
        return None
    return Int(constant(number // by.constant))


_ROTATION = re.compile(r"(?:^|[._])(?:cos|sin|freqs?)(?:$|[\W_])", re.IGNORECASE)


def _rotates(run: Interpreter, left: Value, right: Value, node: cst.BaseExpression) -> bool:
    """Whether a projection is multiplied by sines or cosines: a rotation scales nothing."""
    if not isinstance(node, cst.BinaryOperation) or isinstance(left, (Int, Number)) or isinstance(right, (Int, Number)):
        return False
    return any(_ROTATION.search(run.text(each)) for each in (node.left, node.right))


_BIAS = re.compile(r"bias|alibi|rel_?pos|relative|position", re.IGNORECASE)


def _biased(run: Interpreter, result: Tensor, node: cst.BaseExpression) -> Tensor:
    """Scores with a bias that is learned, to which they may be scaled."""
    assert result.scale is not None
    biased = not isinstance(node, cst.BinaryOperation) or _BIAS.search(run.text(node))
    return replace(result, scale=result.scale.unsure) if biased else result


def _calculated(sign: object, left: Value, right: Value, state: State) -> Factor | None:
    """The value of an arithmetic operation on numbers, where it is known."""
    first, second = as_factor(left), as_factor(right)
    if first is None or second is None:
        return None
    first, second = first.substitute(state.definitions), second.substitute(state.definitions)
    match sign:
        case cst.Multiply() | cst.MultiplyAssign():
            return first * second
        case cst.Divide() | cst.DivideAssign():
            return first / second
        case cst.Power() if second.constant is not None:
            return first.power(second.constant)
        case cst.Add() | cst.AddAssign() if first.constant is not None and second.constant is not None:
            return of_number(first.constant + second.constant)
        case cst.Subtract() | cst.SubtractAssign() if first.constant is not None and second.constant is not None:
            return of_number(first.constant - second.constant)
        case _:
            return None


def arithmetic(
    run: Interpreter, sign: object, left: Size, right: Size, node: cst.BaseExpression, state: State
) -> Size | None:
    match sign:
        case cst.Add() | cst.AddAssign():
            return left + right
        case cst.Subtract() | cst.SubtractAssign():
            return left - right
        case cst.Multiply() | cst.MultiplyAssign():
            return left * right
        case cst.FloorDivide() | cst.FloorDivideAssign() | cst.Divide() | cst.DivideAssign():
            return divided(left, right, state, by_text=f"({left} // {right})")
        case cst.Power() if left.constant is not None and right.constant is not None and 0 <= right.constant < 32:
            return constant(left.constant**right.constant)
        case cst.Power() if right.constant == 2:
            return left * left
        case cst.Modulo():
            return constant(left.constant % right.constant) if left.constant is not None and right.constant else symbol(
                run.key(node)
            )  # fmt: skip
        case _:
            return None


def divided(left: Size, right: Size, state: State, *, by_text: str) -> Size:
    """``left // right``: exact where it can be, else a new symbol q with left = right * q."""
    if left.constant is not None and right.constant:
        return constant(left.constant // right.constant)
    quotient = left.divide(right)
    if quotient is not None:
        return quotient
    name = symbol(by_text)
    equate(left, right * name, state.definitions)
    return state.normal(name)


def unary_operation(run: Interpreter, node: cst.UnaryOperation, state: State) -> Value:
    value = run.evaluate(node.expression, state)
    if isinstance(value, Tensor) and isinstance(node.operator, (cst.Minus, cst.BitInvert)):
        name = "neg" if isinstance(node.operator, cst.Minus) else "logical_not"
        return masking.marked(name, Call(run, state, node, (value,), {}), _unary(run, node, masking.bare(value), state))
    return _unary(run, node, value, state)


def _unary(run: Interpreter, node: cst.UnaryOperation, value: Value, state: State) -> Value:
    match node.operator:
        case cst.Minus():
            if isinstance(value, Int):
                return Int(-value.size)
            if isinstance(value, Tensor):
                return torch_api.elementwise(Call(run, state, node, (value,), {}), value)
            factor = as_factor(value)
            return Number(None if factor is None else -factor)
        case cst.Not():
            known = truth(value)
            return Unknown(run.key(node)) if known is None else Const(not known)
        case _:
            return value


def boolean_operation(run: Interpreter, node: cst.BooleanOperation, state: State) -> Value:
    left = run.evaluate(node.left, state)
    known = truth(left)
    if known is None:
        known = decide(run, node.left, state)
    if isinstance(node.operator, cst.Or):
        return left if known else run.evaluate(node.right, state)
    return run.evaluate(node.right, state) if known else left


_ORDERS: dict[type[cst.CSTNode], Callable[[int, int], bool]] = {
    cst.LessThan: operator.lt,
    cst.GreaterThan: operator.gt,
    cst.LessThanEqual: operator.le,
    cst.GreaterThanEqual: operator.ge,
}


def comparison(run: Interpreter, node: cst.Comparison, state: State) -> Value:
    left = run.evaluate(node.left, state)
    if len(node.comparisons) != 1:
        return Unknown(run.key(node))
    target = node.comparisons[0]
    right = run.evaluate(target.comparator, state)
    result = _compared(run, node, target.operator, masking.bare(left), masking.bare(right), state)
    name = _NAMES.get(type(target.operator), "")
    if name and (isinstance(left, Tensor) or isinstance(right, Tensor)):
        return masking.marked(name, Call(run, state, node, (left, right), {}), result)
    return result


def _compared(
    run: Interpreter, node: cst.Comparison, sign: cst.BaseCompOp, left: Value, right: Value, state: State
) -> Value:
    match sign:
        case cst.Is() | cst.IsNot() if right == NONE:
            known = is_none(left)
            negated = isinstance(sign, cst.IsNot)
            return Unknown(run.key(node)) if known is None else Const(known != negated)
        case cst.Equal() | cst.NotEqual():
            if isinstance(left, Const) and isinstance(right, Const):
                return Const((left == right) == isinstance(sign, cst.Equal))
            first, second = as_size(left), as_size(right)
            if first is not None and second is not None:
                return _compare_sizes(run, sign, state.normal(first), state.normal(second), node)
        case cst.LessThan() | cst.GreaterThan() | cst.LessThanEqual() | cst.GreaterThanEqual():
            if (low := as_int(left)) is not None and (high := as_int(right)) is not None:
                return Const(_ORDERS[type(sign)](low, high))
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        return torch_api.elementwise(Call(run, state, node, (left, right), {}), left, right)
    return Unknown(run.key(node))


def _compare_sizes(run: Interpreter, operator: cst.BaseCompOp, left: Size, right: Size, node: cst.Comparison) -> Value:
    wanted = isinstance(operator, cst.Equal)
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


# Tensors of XLA have no strides, those in channels-last format others: nothing is said of code for them alone.
_OTHER_STRIDES = re.compile(r"(?<![a-z])(?:tpu|xla)(?![a-z])|^(?:self\.)?channels_last$", re.IGNORECASE)


def decide(run: Interpreter, test: cst.BaseExpression, state: State) -> bool:
    """Whether a condition holds: known, decided before on this path, or chosen now."""
    match test:
        case cst.UnaryOperation(operator=cst.Not(), expression=inner):
            return not decide(run, inner, state)
        case cst.BooleanOperation(left=left, operator=cst.And(), right=right):
            return decide(run, left, state) and decide(run, right, state)
        case cst.BooleanOperation(left=left, operator=cst.Or(), right=right):
            return decide(run, left, state) or decide(run, right, state)
        case cst.Comparison(
            comparisons=[cst.ComparisonTarget(operator=cst.IsNot() | cst.NotEqual() as operator, comparator=other)]
        ):
            positive = cst.Is() if isinstance(operator, cst.IsNot) else cst.Equal()
            return not _decide_atom(
                run, test, f"{run.text(test.left)} {_word(positive)} {run.text(other)}", state, negated=True
            )
        case cst.Comparison(
            left=left, comparisons=[cst.ComparisonTarget(operator=cst.Is() | cst.Equal() as operator, comparator=other)]
        ):
            return _decide_atom(run, test, f"{run.text(left)} {_word(operator)} {run.text(other)}", state)
        case _:
            return _decide_atom(run, test, run.text(test), state)


def _word(operator: cst.BaseCompOp) -> str:
    return "is" if isinstance(operator, cst.Is) else "=="


def _learn(run: Interpreter, test: cst.Comparison, holds: bool, state: State) -> None:
    """``t == n`` tells a size; ``not t > 1`` tells that it is 1, since sizes are at least that."""
    left = as_size(run.evaluate(test.left, state))
    right = as_size(run.evaluate(test.comparisons[0].comparator, state))
    if left is None or right is None:
        return
    match test.comparisons[0].operator, right.constant:
        case (cst.Equal(), _) if holds:
            equate(left, right, state.definitions)
        case (cst.NotEqual(), _) if not holds:
            equate(left, right, state.definitions)
        case (cst.GreaterThan(), 1) | (cst.GreaterThanEqual(), 2) if not holds:
            equate(left, ONE, state.definitions)
        case (cst.LessThan(), 2) | (cst.LessThanEqual(), 1) if holds:
            equate(left, ONE, state.definitions)


def _fact(run: Interpreter, test: cst.BaseExpression, text: str, state: State) -> str:
    """A condition on one value that was given, in terms of that value, which other functions know by other names.

    Empty where the condition is on anything else.
    """
    asked: cst.BaseExpression = test
    if isinstance(test, cst.Comparison):
        asked = test.left
        if not all(_is_plain(each.comparator) for each in test.comparisons):
            return ""
    if not isinstance(asked, (cst.Name, cst.Attribute)):
        return ""
    value = run.evaluate(asked, state)
    if not isinstance(value, Unknown) or value.key is None or value.key.startswith("<"):
        return ""
    return value.key + text.removeprefix(run.text(asked))


def _is_plain(node: cst.BaseExpression) -> bool:
    """Return True for a literal, which says the same in every function."""
    if isinstance(node, cst.Name):
        return node.value in ("None", "True", "False")
    return isinstance(node, (cst.Integer, cst.Float, cst.SimpleString))


def _decide_atom(run: Interpreter, test: cst.BaseExpression, text: str, state: State, *, negated: bool = False) -> bool:
    known = truth(run.evaluate(test, state))
    if known is not None:
        return known != negated
    if _OTHER_STRIDES.search(text):
        return False
    if text in state.conditions:
        return state.conditions[text]
    fact = _fact(run, test, text, state)
    if fact in state.facts:
        state.conditions[text] = taken = state.facts[fact]
        return taken
    taken = run.choose(2) == 0
    state.conditions[text] = taken
    if fact:
        state.facts[fact] = taken
    if isinstance(test, cst.Comparison):
        _learn(run, test, taken != negated, state)
    if taken and text.endswith(" is None"):
        target = test.left if isinstance(test, cst.Comparison) else test
        if isinstance(target, cst.Name):
            state.variables[target.value] = NONE
    return taken
