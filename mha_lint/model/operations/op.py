"""One row of the table of operations, and the functions that apply a row to a call.

A row decides every column: none has a default. A column is a function, a member of an enum, or yes or no.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.model import masking
from mha_lint.model.events import Meant
from mha_lint.model.layout import Refused
from mha_lint.model.marks import Mask, Masking, Positions
from mha_lint.model.operations import turns
from mha_lint.model.operations.devices import Device, housed, placed
from mha_lint.model.run import Call, Transfer
from mha_lint.model.values import NOTHING, Tensor, Value

MaskRule = Callable[[Call], Mask | Positions | None]
MaskedRule = Callable[[Call, Tensor, list[Tensor]], frozenset[Masking]]
ScaleRule = Callable[[Call, Tensor], Tensor]
SingleRule = Callable[[Call], bool]
TurnRule = Callable[[Call, Value], Value]


class Op(Struct, frozen=True):
    """An ``Op`` describes one torch operation. Its names all mean the same; the first is the one that rules ask for.

    The layout has no column: a view can't be told from its sizes alone, so that ``shape`` tells strides with shapes.
    """

    names: tuple[str, ...]
    sign: type[ast.AST] | None  # the operator that means the same
    attribute: bool  # code writes it without parentheses, as ``x.mT``
    in_place: bool  # of ``x.op_(y)`` the result is followed into ``x``; of others, what is known of masks alone
    shape: Transfer  # shape, strides, roles, and what the operands were to attention
    scale: ScaleRule  # what it does to the scale that the shape function left
    mask: MaskRule  # the result as a mask
    begins_mask: bool  # the result may be a mask where no operand is known to be one
    masked: MaskedRule  # in which ways the scores, or the weights, that it gives were masked
    single: SingleRule  # the result is not half because the code says so
    turn: TurnRule  # the result as a rotary table, or as a part of a vector that is rotated
    device: Device  # where the result lives
    watched: bool  # rules ask for its calls
    meant: Meant  # what a call as a statement of its own was meant to do

    @property
    def name(self) -> str:
        return self.names[0]


def applied(op: Op, call: Call) -> Value:
    """The value of an operation that is called."""
    return told(op, call, computed(op, _bared(call)))


def computed(op: Op, call: Call) -> Value:
    """Shape, scale and place of the result. The arguments are bare: positions are nothing to these columns."""
    try:
        result = op.shape(call)
        if isinstance(result, Tensor) and result.scale is not None:
            result = op.scale(call, result)
    except Refused:
        result = NOTHING
    return placed(op.device, call, result)


def told(op: Op, call: Call, result: Value) -> Value:
    """The result with what is known of it as a mask, or of what masked it; the observer is told what rules ask for."""
    result = op.turn(call, housed(op.device, call, _marked(op, call, result)))
    if op.turn is not turns.trigonometric:
        result = turns.with_phase(call, result)
    if op.watched:
        call.interpreter.saw_operation(op.name, call, result)
    return result


def possible(function: Transfer) -> Transfer:
    """The same function, unknown for a call that torch would refuse, such as one of a dimension that isn't there.

    The interpreter meets such calls on paths that no run takes.
    """

    def transfer(call: Call) -> Value:
        try:
            return function(call)
        except Refused:
            return NOTHING

    return transfer


def _bared(call: Call) -> Call:
    bare = tuple(map(masking.bare, call.args))
    return replace(call, args=bare) if any(map(_is_other, bare, call.args)) else call


def _is_other(left: Value, right: Value) -> bool:
    return left is not right


def _may_mask_a_map(op: Op, result: Value) -> bool:
    """A learned map may have given scores, which a product with a mask masks."""
    return op.masked is masking.multiplied and isinstance(result, Tensor) and "projection" in result.roles


def _marked(op: Op, call: Call, result: Value) -> Value:
    attends = isinstance(result, Tensor) and bool(result.roles & masking.SCORED)
    if not (op.begins_mask or attends or _may_mask_a_map(op, result)) and not masking.is_tracked(call):
        return result
    mask = None if attends else op.mask(call)
    if not isinstance(result, Tensor):
        return masking.as_mask(call, result, mask, single=op.single(call))
    masked = op.masked(call, result, masking.scored(call))
    single = op.single(call)
    if (result.mask, result.masked, result.single) == (mask, masked, single):
        return result
    return replace(result, mask=mask, masked=masked, single=single)
