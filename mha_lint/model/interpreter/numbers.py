"""Functions and methods that give numbers: those of Python and numpy, and those of torch for a tensor of one number.

A tensor of one number is used as that number: ``torch.sqrt(torch.tensor(head_dim))``.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from contextlib import suppress
from math import isfinite

from msgspec.structs import replace

from mha_lint.model import operations
from mha_lint.model.factors import Factor, of_number
from mha_lint.model.operations import OPERATIONS
from mha_lint.model.operations.questions import filled
from mha_lint.model.run import Call, Run
from mha_lint.model.sizes import ONE, Size, product, symbol
from mha_lint.model.values import (
    NOTHING,
    Const,
    Int,
    Number,
    Sequence,
    State,
    Tensor,
    Unknown,
    Value,
    as_factor,
    as_size,
    integer,
)
from mha_lint.syntax.nodes import is_number


def factor_of(value: Value, state: State) -> Factor | None:
    """The value as a number of known value, in terms of what is not defined by other sizes."""
    if isinstance(value, Unknown) and value.key in state.definitions:
        value = Int(symbol(value.key))
    factor = as_factor(value)
    return None if factor is None else factor.substitute(state.definitions)


def may_be_tensor(run: Run, value: Value) -> bool:
    """Tell whether what a function was given, or what a call gave, may be a tensor as well as a number."""
    match value:
        case Unknown(None):
            return True
        case Unknown(key) if key is not None:
            return key.of_result or run.is_given(key)
        case Int(size):
            return any(map(run.is_given, size.symbols))
        case _:
            return False


def either(run: Run, node: ast.expr, size: Size, state: State) -> Unknown:
    """Return an unknown value that has this size if it is a number at all: it may as well be a tensor."""
    key = run.key(node)
    size = state.normal(size)
    known = state.definitions.get(key)
    if known is not None and state.normal(known) != size:  # the code ran before, with other values
        return NOTHING
    if key not in size.symbols:
        state.definitions[key] = size
    return Unknown(key)


# --- whole numbers -----------------------------------------------------------------------------------------------


def _int(run: Run, call: Call) -> Value:
    return _whole(run, call, int)


def _round(run: Run, call: Call) -> Value:
    return _whole(run, call, round)


def _floor(run: Run, call: Call) -> Value:
    return _whole(run, call, math.floor)


def _ceil(run: Run, call: Call) -> Value:
    return _whole(run, call, math.ceil)


def _whole(run: Run, call: Call, convert: Callable[[float], int]) -> Value:
    """``int(ratio * width)`` and ``round(…)``: some whole number, which is known where the argument is."""
    match call.args[:1]:
        case (Number(Factor(constant=float(number))),) if isfinite(number):
            return integer(convert(number))
        case (value,) if (size := as_size(value)) is not None and not _is_fraction_of(call.node, size):
            return Int(size)
        case _:
            return Int(symbol(run.key(call.node)))


def _is_fraction_of(node: ast.expr, size: Size) -> bool:
    """``int(ratio * width)``: a product of two names is made whole because one of them is a fraction."""
    made = node.args[0] if isinstance(node, ast.Call) and node.args else None
    factors = (made.left, made.right) if isinstance(made, ast.BinOp) and isinstance(made.op, ast.Mult) else ()
    return bool(factors) and size.constant is None and not any(map(is_number, factors))


def _product(run: Run, call: Call) -> Value:
    """``math.prod(x.shape[2:])``."""
    items = call.args[0] if len(call.args) == 1 and not call.keywords else None
    if not isinstance(items, Sequence):
        return Unknown(run.key(call.node))
    sizes = [as_size(item) for item in items.items]
    known = [call.state.normal(size) for size in sizes if size is not None]
    return Int(product(known)) if len(known) == len(sizes) else Unknown(run.key(call.node))


# --- real numbers ------------------------------------------------------------------------------------------------


def _float(run: Run, call: Call) -> Value:
    """``float("-inf")``, ``float(head_dim)``."""
    match call.args:
        case (Const(str(text)),):
            with suppress(ValueError):
                return Number(of_number(float(text)))
            return Number()
        case (value,):
            return Number(factor_of(value, call.state))
        case _:
            return Number()


def _of_numpy(run: Run, call: Call) -> Value:
    """``numpy.float32(head_dim)``: of an array it is an array."""
    return _float(run, call) if call.args and not may_be_tensor(run, call.args[0]) else Unknown(run.key(call.node))


def _to_a_power(exponent: float, operation: str = "") -> Callable[[Run, Call], Value]:
    """The function that takes its argument to a power; ``operation`` is that of torch, which takes tensors alone."""

    def function(run: Run, call: Call) -> Value:
        value = call.args[0] if call.args else NOTHING
        if isinstance(value, Tensor):
            return OPERATIONS[operation or "sqrt"](call)
        is_told = isinstance(value, Unknown) and value.key in call.state.definitions
        if operation and not is_told and may_be_tensor(run, value):
            return OPERATIONS[operation](call)
        factor = factor_of(value, call.state)
        return Number(None if factor is None else factor.power(exponent))

    return function


def power(run: Run, call: Call) -> Value:
    """``math.pow(head_dim, -0.5)``, ``numpy.power``, ``pow``."""
    if len(call.args) < 2:
        return Unknown(run.key(call.node))
    base, exponent = call.args[:2]
    if isinstance(base, Tensor) or isinstance(exponent, Tensor):
        return OPERATIONS["pow"](call)
    factor, by = factor_of(base, call.state), factor_of(exponent, call.state)
    if factor is None or by is None or by.constant is None:
        return Number(None)
    is_small = 0 <= by.constant < 8 and by.constant == int(by.constant)
    if is_small and isinstance(base, Int) and isinstance(exponent, Int):
        return Int(product([call.state.normal(base.size)] * int(by.constant)))
    return Number(factor.power(by.constant))


# --- tensors of one number ---------------------------------------------------------------------------------------


def of_one_number(run: Run, call: Call) -> Value:
    """``torch.tensor(head_dim)``, ``torch.tensor([head_dim])``."""
    value = call.args[0] if call.args else NOTHING
    if isinstance(value, Sequence) and len(value.items) == 1:
        value = value.items[0]
    match value:
        case Int() | Number():
            return Number(factor_of(value, call.state))
        case Unknown() if not may_be_tensor(run, value):
            return Number(factor_of(value, call.state))
        case Unknown() if (size := as_size(value)) is not None:
            return either(run, call.node, size, call.state)
        case _:
            return Unknown(run.key(call.node))


def _of_a_list(run: Run, call: Call) -> Value:
    """``torch.FloatTensor([head_dim])``; of numbers it is a tensor of these sizes."""
    if call.args and isinstance(call.args[0], Sequence):
        return of_one_number(run, call)
    if len(call.args) > 1 or (call.args and isinstance(call.args[0], Int)):
        return filled(call)
    return Unknown(run.key(call.node))


def _full(run: Run, call: Call) -> Value:
    """``torch.full((1,), head_dim)``."""
    match call.args[:2]:
        case (Sequence(items), value) if items in ((), (Int(ONE),)) and not may_be_tensor(run, value):
            return Number(factor_of(value, call.state))
        case _:
            return OPERATIONS["full"](call)


def method(run: Run, receiver: Number, name: str, call: Call) -> Value:
    """A method of a tensor of one number."""
    if name == "item" or operations.copies(name):
        return receiver
    function = NUMBERS.get(f"torch.{name}")
    if function is None:
        return Unknown(run.key(call.node))
    return function(run, replace(call, args=(receiver, *call.args)))


_square_root = _to_a_power(0.5)

NUMBERS: dict[str, Callable[[Run, Call], Value]] = {
    "builtins.int": _int,
    "builtins.round": _round,
    "math.floor": _floor,
    "math.ceil": _ceil,
    "numpy.floor": _floor,
    "numpy.ceil": _ceil,
    "math.prod": _product,
    "numpy.prod": _product,
    "builtins.float": _float,
    "numpy.float16": _of_numpy,
    "numpy.float32": _of_numpy,
    "numpy.float64": _of_numpy,
    "math.sqrt": _square_root,
    "cmath.sqrt": _square_root,
    "numpy.sqrt": _square_root,
    "torch.sqrt": _to_a_power(0.5, "sqrt"),
    "torch.rsqrt": _to_a_power(-0.5, "rsqrt"),
    "torch.square": _to_a_power(2.0, "square"),
    "numpy.square": _to_a_power(2.0),
    "torch.reciprocal": _to_a_power(-1.0, "reciprocal"),
    "numpy.reciprocal": _to_a_power(-1.0),
    "builtins.pow": power,
    "math.pow": power,
    "numpy.power": power,
    "numpy.float_power": power,
    "operator.pow": power,
    "torch.pow": power,
    "torch.float_power": power,
    "torch.tensor": of_one_number,
    "torch.as_tensor": of_one_number,
    "torch.scalar_tensor": of_one_number,
    "numpy.array": of_one_number,
    "numpy.asarray": of_one_number,
    "torch.Tensor": _of_a_list,
    "torch.FloatTensor": _of_a_list,
    "torch.DoubleTensor": _of_a_list,
    "torch.HalfTensor": _of_a_list,
    "torch.LongTensor": _of_a_list,
    "torch.cuda.FloatTensor": _of_a_list,
    "torch.full": _full,
}
