"""The table of operations: one row each. To add an operation that takes one tensor elementwise, add a word."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import partial

from mha_lint.model import masking
from mha_lint.model.events import Meant
from mha_lint.model.operations import (
    as_masks,
    joining,
    parts,
    pointwise,
    products,
    questions,
    scales,
    turn_layouts,
    turn_parts,
    turns,
    views,
)
from mha_lint.model.operations.devices import Device
from mha_lint.model.operations.op import MaskedRule, MaskRule, Op, ScaleRule, SingleRule, TurnRule, applied
from mha_lint.model.run import Transfer

# --- kinds of rows: those that differ in few columns -----------------------------------------------------------------


def _of_one(name: str, turn: TurnRule = turns.lost) -> Op:
    """An elementwise operation of one tensor, of whose numbers nothing is known afterwards."""
    return Op(
        names=(name,), sign=None, attribute=False, in_place=False,
        shape=pointwise.of_one, scale=scales.lost,
        mask=as_masks.lost, begins_mask=False, masked=masking.bent, single=masking.any_single,
        turn=turn, device=Device.FIRST, watched=False, meant=Meant.CHANGES,
    )  # fmt: skip


def _dropout(name: str, *, watched: bool) -> Op:
    return Op(
        names=(name,), sign=None, attribute=False, in_place=False,
        shape=pointwise.of_one, scale=scales.kept,
        mask=as_masks.lost, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=watched, meant=Meant.NOTHING,
    )  # fmt: skip


def _clamped(*names: str) -> Op:
    return Op(
        names=names, sign=None, attribute=False, in_place=False,
        shape=pointwise.of_one, scale=scales.unsure,
        mask=as_masks.lost, begins_mask=False, masked=masking.bent, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=Meant.CHANGES,
    )  # fmt: skip


def _of_two(
    *names: str, sign: type[ast.AST] | None, mask: MaskRule, masked: MaskedRule, turn: TurnRule = turns.lost
) -> Op:
    """An elementwise operation of two tensors, whose scale is that of the one that has one."""
    return Op(
        names=names, sign=sign, attribute=False, in_place=False,
        shape=pointwise.of_two, scale=scales.kept,
        mask=mask, begins_mask=False, masked=masked, single=masking.any_single,
        turn=turn, device=Device.SHAPE, watched=False, meant=Meant.CHANGES,
    )  # fmt: skip


def _compared(name: str, sign: type[ast.AST], function: Callable[[float, float], bool]) -> Op:
    return Op(
        names=(name,), sign=sign, attribute=False, in_place=False,
        shape=pointwise.of_two, scale=scales.kept,
        mask=as_masks.compared(function), begins_mask=True, masked=masking.ended, single=masking.no_single,
        turn=turns.lost, device=Device.SHAPE, watched=False, meant=Meant.NOTHING,
    )  # fmt: skip


def _same(*names: str, attribute: bool, device: Device) -> Op:
    """The very tensor."""
    return Op(
        names=names, sign=None, attribute=attribute, in_place=False,
        shape=pointwise.same, scale=scales.kept,
        mask=as_masks.same, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turns.kept, device=device, watched=False, meant=Meant.NOTHING,
    )  # fmt: skip


def _copied(
    *names: str, scale: ScaleRule, mask: MaskRule, single: SingleRule, device: Device, turn: TurnRule = turns.kept
) -> Op:
    """A copy, which may be of another type or on another device. A copy of another type may begin a mask."""
    return Op(
        names=names, sign=None, attribute=False, in_place=False,
        shape=pointwise.clone, scale=scale,
        mask=mask, begins_mask=mask is not as_masks.same, masked=masking.kept, single=single,
        turn=turn, device=device, watched=False, meant=Meant.CHANGES,
    )  # fmt: skip


def _view(*names: str, attribute: bool, shape: Transfer, mask: MaskRule, turn: TurnRule) -> Op:
    """Another view of the same numbers, or a part of them."""
    return Op(
        names=names, sign=None, attribute=attribute, in_place=False,
        shape=shape, scale=scales.kept,
        mask=mask, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turn, device=Device.FIRST, watched=False, meant=Meant.MOVES,
    )  # fmt: skip


def _joined(*names: str, shape: Transfer, turn: TurnRule) -> Op:
    """Several tensors that become one."""
    return Op(
        names=names, sign=None, attribute=False, in_place=False,
        shape=shape, scale=scales.kept,
        mask=as_masks.lost, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turn, device=Device.MEETS, watched=False, meant=Meant.CHANGES,
    )  # fmt: skip


def _product(*names: str, sign: type[ast.AST] | None, shape: Transfer, turn: TurnRule, watched: bool) -> Op:
    """A matrix product, whose shape function tells the scale of scores. Under autocast it is in half precision."""
    return Op(
        names=names, sign=sign, attribute=False, in_place=False,
        shape=shape, scale=scales.kept,
        mask=as_masks.lost, begins_mask=False, masked=masking.ended, single=masking.no_single,
        turn=turn, device=Device.MEETS, watched=watched, meant=Meant.NOTHING,
    )  # fmt: skip


def _product_and_sum(name: str, *, masked: MaskedRule) -> Op:
    return Op(
        names=(name,), sign=None, attribute=False, in_place=False,
        shape=products.baddbmm, scale=scales.by_alpha,
        mask=as_masks.lost, begins_mask=False, masked=masked, single=masking.no_single,
        turn=turns.lost, device=Device.MEETS, watched=True, meant=Meant.NOTHING,
    )  # fmt: skip


def _reduced(*names: str, mask: MaskRule, masked: MaskedRule, meant: Meant) -> Op:
    """An operation whose result's shape nobody has asked for so far."""
    return Op(
        names=names, sign=None, attribute=False, in_place=False,
        shape=questions.somehow, scale=scales.kept,
        mask=mask, begins_mask=False, masked=masked, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=meant,
    )  # fmt: skip


def _cut(name: str, *, mask: MaskRule) -> Op:
    """A triangle of a tensor, with 0 beyond it."""
    return Op(
        names=(name,), sign=None, attribute=False, in_place=False,
        shape=pointwise.of_one, scale=scales.kept,
        mask=mask, begins_mask=False, masked=masking.cut, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=Meant.CHANGES,
    )  # fmt: skip


def _made(name: str, *, shape: Transfer, mask: MaskRule, device: Device, turn: TurnRule = turns.lost) -> Op:
    """A tensor made of sizes, or as large as another one."""
    single = masking.made_single if device is Device.DEFAULT else masking.made_single_like
    return Op(
        names=(name,), sign=None, attribute=False, in_place=False,
        shape=shape, scale=scales.lost,
        mask=mask, begins_mask=mask is not as_masks.lost, masked=masking.kept, single=single,
        turn=turn, device=device, watched=False, meant=Meant.NOTHING,
    )  # fmt: skip


def _made_of_one_number(name: str, *, shape: Transfer, mask: MaskRule, device: Device) -> Op:
    """A tensor that holds a number which the call names: a fill of a mask, if it is added to scores."""
    single = masking.made_single if device is Device.DEFAULT else masking.made_single_like
    return Op(
        names=(name,), sign=None, attribute=False, in_place=False,
        shape=shape, scale=scales.lost,
        mask=mask, begins_mask=True, masked=masking.made_of, single=single,
        turn=turns.lost, device=device, watched=True, meant=Meant.NOTHING,
    )  # fmt: skip


def _asked(*names: str, attribute: bool, shape: Transfer) -> Op:
    """A question, whose answer is no tensor."""
    return Op(
        names=names, sign=None, attribute=attribute, in_place=False,
        shape=shape, scale=scales.kept,
        mask=as_masks.lost, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=Meant.NOTHING,
    )  # fmt: skip


def _both(left: float, right: float) -> bool:
    return bool(left and right)


def _either(left: float, right: float) -> bool:
    return bool(left or right)


# --- the rows --------------------------------------------------------------------------------------------------------

_OF_ONE_TENSOR = """
    relu gelu silu sigmoid tanh log sqrt rsqrt abs square erf elu leaky_relu softplus relu6
    mish hardtanh hardswish round floor ceil sign isnan isinf
"""

ROWS: tuple[Op, ...] = (
    # elementwise
    *map(_of_one, _OF_ONE_TENSOR.split()),
    _of_one("exp", turns.exponential),
    _of_one("reciprocal", turns.inverse),
    _of_one("cos", turns.trigonometric),
    _of_one("sin", turns.trigonometric),
    Op(
        names=("neg",), sign=ast.USub, attribute=False, in_place=False,
        shape=pointwise.of_one, scale=scales.lost,
        mask=as_masks.negated, begins_mask=False, masked=masking.bent, single=masking.any_single,
        turn=turns.negated, device=Device.FIRST, watched=False, meant=Meant.CHANGES,
    ),
    Op(
        names=("logical_not", "bitwise_not"), sign=ast.Invert, attribute=False, in_place=False,
        shape=pointwise.of_one, scale=scales.lost,
        mask=as_masks.inverted, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=Meant.CHANGES,
    ),
    Op(
        names=("bernoulli",), sign=None, attribute=False, in_place=False,
        shape=pointwise.of_one, scale=scales.lost,
        mask=as_masks.drawn, begins_mask=True, masked=masking.kept, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=Meant.NOTHING,
    ),
    Op(
        names=("normalize",), sign=None, attribute=False, in_place=False,
        shape=pointwise.normalize, scale=scales.lost,
        mask=as_masks.lost, begins_mask=False, masked=masking.normalised, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=Meant.CHANGES,
    ),
    _dropout("dropout", watched=True),
    _dropout("dropout1d", watched=False),
    _dropout("dropout2d", watched=False),
    _dropout("alpha_dropout", watched=False),
    _dropout("feature_dropout", watched=False),
    _clamped("clamp", "clip"),
    _clamped("clamp_min"),
    _clamped("clamp_max"),
    _clamped("nan_to_num"),
    Op(
        names=("add",), sign=ast.Add, attribute=False, in_place=True,
        shape=pointwise.of_two, scale=scales.kept,
        mask=as_masks.summed(operator.add), begins_mask=False, masked=masking.summed, single=masking.any_single,
        turn=turns.total, device=Device.SHAPE, watched=True, meant=Meant.CHANGES,
    ),
    Op(
        names=("sub", "subtract"), sign=ast.Sub, attribute=False, in_place=True,
        shape=pointwise.of_two, scale=scales.kept,
        mask=as_masks.summed(operator.sub), begins_mask=False, masked=masking.subtracted, single=masking.any_single,
        turn=turns.total, device=Device.SHAPE, watched=True, meant=Meant.CHANGES,
    ),
    Op(
        names=("mul", "multiply"), sign=ast.Mult, attribute=False, in_place=True,
        shape=products.paired, scale=scales.times,
        mask=as_masks.multiplied, begins_mask=False, masked=masking.multiplied, single=masking.any_single,
        turn=turns.times, device=Device.SHAPE, watched=True, meant=Meant.CHANGES,
    ),
    Op(
        names=("div", "true_divide", "divide"), sign=ast.Div, attribute=False, in_place=True,
        shape=pointwise.quotient, scale=scales.over,
        mask=as_masks.lost, begins_mask=False, masked=masking.divided, single=masking.any_single,
        turn=turns.quotient, device=Device.SHAPE, watched=False, meant=Meant.CHANGES,
    ),
    _of_two("pow", sign=ast.Pow, mask=as_masks.lost, masked=masking.bent, turn=turns.power),
    _of_two("maximum", sign=None, mask=as_masks.lost, masked=masking.bent),
    _of_two("minimum", sign=None, mask=as_masks.lost, masked=masking.bent),
    _of_two("logical_and", "bitwise_and", sign=ast.BitAnd, mask=as_masks.joined(_both, 0.0), masked=masking.kept),
    _of_two("logical_or", "bitwise_or", sign=ast.BitOr, mask=as_masks.joined(_either, 1.0), masked=masking.kept),
    _compared("eq", ast.Eq, operator.eq),
    _compared("ne", ast.NotEq, operator.ne),
    _compared("lt", ast.Lt, operator.lt),
    _compared("le", ast.LtE, operator.le),
    _compared("gt", ast.Gt, operator.gt),
    _compared("ge", ast.GtE, operator.ge),
    Op(
        names=("addcmul",), sign=None, attribute=False, in_place=True,
        shape=pointwise.of_three, scale=scales.lost,
        mask=as_masks.lost, begins_mask=False, masked=masking.ended, single=masking.any_single,
        turn=turns.total_of_products, device=Device.SHAPE, watched=False, meant=Meant.CHANGES,
    ),
    Op(
        names=("masked_fill",), sign=None, attribute=False, in_place=True,
        shape=pointwise.masked_fill, scale=scales.kept,
        mask=as_masks.filled, begins_mask=True, masked=masking.filled, single=masking.first_single,
        turn=turns.lost, device=Device.MEETS, watched=True, meant=Meant.MASKS,
    ),
    Op(
        names=("masked_scatter",), sign=None, attribute=False, in_place=False,
        shape=pointwise.masked_fill, scale=scales.kept,
        mask=as_masks.lost, begins_mask=False, masked=masking.filled, single=masking.first_single,
        turn=turns.lost, device=Device.MEETS, watched=False, meant=Meant.MASKS,
    ),
    Op(
        names=("where",), sign=None, attribute=False, in_place=False,
        shape=pointwise.where, scale=scales.kept,
        mask=as_masks.either, begins_mask=True, masked=masking.chosen_where, single=masking.chosen_single,
        turn=turns.lost, device=Device.SHAPE, watched=True, meant=Meant.MASKS,
    ),
    # along one dimension
    Op(
        names=("softmax",), sign=None, attribute=False, in_place=False,
        shape=pointwise.softmax, scale=scales.lost,
        mask=as_masks.lost, begins_mask=False, masked=masking.before, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=True, meant=Meant.CHANGES,
    ),
    Op(
        names=("log_softmax",), sign=None, attribute=False, in_place=False,
        shape=pointwise.softmax, scale=scales.lost,
        mask=as_masks.lost, begins_mask=False, masked=masking.before, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=Meant.CHANGES,
    ),
    Op(
        names=("softmin",), sign=None, attribute=False, in_place=False,
        shape=pointwise.softmax, scale=scales.lost,
        mask=as_masks.lost, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=Meant.CHANGES,
    ),
    Op(
        names=("layer_norm",), sign=None, attribute=False, in_place=False,
        shape=pointwise.layer_norm, scale=scales.lost,
        mask=as_masks.lost, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=Meant.CHANGES,
    ),
    Op(
        names=("sum",), sign=None, attribute=False, in_place=False,
        shape=products.summed, scale=scales.kept,
        mask=as_masks.lost, begins_mask=False, masked=masking.ended, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=True, meant=Meant.NOTHING,
    ),
    Op(
        names=("mean",), sign=None, attribute=False, in_place=False,
        shape=questions.pooled, scale=scales.kept,
        mask=as_masks.lost, begins_mask=False, masked=masking.ended, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=Meant.NOTHING,
    ),
    _reduced("cumsum", mask=as_masks.lost, masked=masking.ended, meant=Meant.CHANGES),
    _reduced("norm", mask=as_masks.lost, masked=masking.ended, meant=Meant.NOTHING),
    _reduced("std", mask=as_masks.lost, masked=masking.bent, meant=Meant.NOTHING),
    _reduced("var", mask=as_masks.lost, masked=masking.bent, meant=Meant.NOTHING),
    _reduced("amax", mask=as_masks.lost, masked=masking.bent, meant=Meant.NOTHING),
    _reduced("amin", mask=as_masks.lost, masked=masking.bent, meant=Meant.NOTHING),
    _reduced("logsumexp", mask=as_masks.lost, masked=masking.bent, meant=Meant.NOTHING),
    _cut("tril", mask=as_masks.lower_triangle),
    _cut("triu", mask=as_masks.upper_triangle),
    _reduced("flip", mask=as_masks.lost, masked=masking.kept, meant=Meant.MOVES),
    _reduced("roll", mask=as_masks.lost, masked=masking.kept, meant=Meant.MOVES),
    _reduced("gather", mask=as_masks.lost, masked=masking.kept, meant=Meant.CHANGES),
    _reduced("index_select", mask=as_masks.lost, masked=masking.kept, meant=Meant.CHANGES),
    # copies
    Op(
        names=("contiguous",), sign=None, attribute=False, in_place=False,
        shape=pointwise.contiguous, scale=scales.kept,
        mask=as_masks.same, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turns.kept, device=Device.FIRST, watched=False, meant=Meant.CHANGES,
    ),
    _copied("clone", scale=scales.kept, mask=as_masks.same, single=masking.any_single, device=Device.FIRST),
    _copied("cuda", scale=scales.kept, mask=as_masks.same, single=masking.any_single, device=Device.MOVES),
    _copied("cpu", scale=scales.kept, mask=as_masks.same, single=masking.any_single, device=Device.MOVES),
    _copied(
        "to", scale=scales.cast, mask=as_masks.as_told, single=masking.told_single, device=Device.CASTS,
        turn=turns.cast,
    ),
    _copied(
        "type", scale=scales.cast, mask=as_masks.as_told, single=masking.told_single, device=Device.FIRST,
        turn=turns.cast,
    ),
    _copied(
        "type_as", scale=scales.kept, mask=as_masks.as_another, single=masking.no_single, device=Device.MOVES,
        turn=turns.cast,
    ),
    _copied(
        "float", scale=scales.cast, mask=as_masks.as_number, single=masking.is_single, device=Device.FIRST,
        turn=turns.in_single,
    ),
    _copied(
        "double", scale=scales.cast, mask=as_masks.as_number, single=masking.is_single, device=Device.FIRST,
        turn=turns.in_single,
    ),
    _copied(
        "half", scale=scales.kept, mask=as_masks.as_number, single=masking.no_single, device=Device.FIRST,
        turn=turns.in_half,
    ),
    _copied(
        "bfloat16", scale=scales.kept, mask=as_masks.as_number, single=masking.no_single, device=Device.FIRST,
        turn=turns.in_half,
    ),
    _copied("int", scale=scales.kept, mask=as_masks.as_number, single=masking.is_single, device=Device.FIRST),
    _copied("long", scale=scales.kept, mask=as_masks.as_number, single=masking.is_single, device=Device.FIRST),
    _copied("bool", scale=scales.kept, mask=as_masks.as_boolean, single=masking.no_single, device=Device.FIRST),
    _same("detach", "alias", attribute=False, device=Device.FIRST),
    _same("requires_grad_", attribute=False, device=Device.FIRST),
    _same("data", attribute=True, device=Device.FIRST),
    _same("real", attribute=True, device=Device.FIRST),
    _view("pad", attribute=False, shape=pointwise.pad, mask=as_masks.lost, turn=turns.lost),
    # views
    _view("view", attribute=False, shape=views.view, mask=as_masks.viewed, turn=turn_layouts.viewed),
    _view("reshape", attribute=False, shape=views.reshape, mask=as_masks.viewed, turn=turn_layouts.viewed),
    _view("view_as", "reshape_as", attribute=False, shape=views.view_as, mask=as_masks.lost, turn=turn_layouts.viewed),
    _view("flatten", attribute=False, shape=views.flatten, mask=as_masks.moved, turn=turn_layouts.flattened),
    _view("unflatten", attribute=False, shape=views.unflatten, mask=as_masks.lost, turn=turn_layouts.taken_apart),
    _view(
        "transpose", "swapaxes", "swapdims", attribute=False, shape=views.transpose, mask=as_masks.transposed,
        turn=turn_layouts.swapped,
    ),
    _view("t", attribute=False, shape=views.matrix_transpose, mask=as_masks.transposed, turn=turn_layouts.swapped_last),
    _view(
        "mT", "mH", "H", attribute=True, shape=views.matrix_transpose, mask=as_masks.transposed,
        turn=turn_layouts.swapped_last,
    ),
    _view("T", attribute=True, shape=views.reversed_dims, mask=as_masks.transposed, turn=turn_layouts.swapped_last),
    _view(
        "adjoint", attribute=False, shape=views.matrix_transpose, mask=as_masks.transposed,
        turn=turn_layouts.swapped_last,
    ),
    _view("permute", attribute=False, shape=views.permute, mask=as_masks.moved, turn=turn_layouts.reordered),
    _view("movedim", "moveaxis", attribute=False, shape=views.movedim, mask=as_masks.lost, turn=turns.lost),
    _view("squeeze", attribute=False, shape=views.squeeze, mask=as_masks.moved, turn=turns.lost),
    _view("unsqueeze", attribute=False, shape=views.unsqueeze, mask=as_masks.unsqueezed, turn=turn_layouts.unsqueezed),
    _view("select", attribute=False, shape=views.select, mask=as_masks.moved, turn=turn_parts.one_of),
    _view("narrow", attribute=False, shape=views.narrow, mask=as_masks.moved, turn=turn_parts.in_part),
    _view("expand", "broadcast_to", attribute=False, shape=views.expand, mask=as_masks.same, turn=turn_layouts.spread),
    _view("expand_as", attribute=False, shape=views.expand_as, mask=as_masks.same, turn=turn_layouts.spread_as),
    # several of one, and one of several
    _view("chunk", "tensor_split", attribute=False, shape=parts.chunk, mask=as_masks.moved, turn=turn_parts.halved),
    _view("split", "split_with_sizes", attribute=False, shape=parts.split, mask=as_masks.lost, turn=turn_parts.cut),
    _view("unbind", attribute=False, shape=parts.unbind, mask=as_masks.lost, turn=turn_parts.unbound),
    _view("repeat", "tile", attribute=False, shape=joining.repeat, mask=as_masks.repeated, turn=turn_layouts.repeated),
    _view(
        "repeat_interleave", attribute=False, shape=joining.repeat_interleave, mask=as_masks.lost,
        turn=turn_layouts.interleaved,
    ),
    _joined("cat", "concat", "concatenate", shape=joining.cat, turn=turn_layouts.joined),
    _joined("stack", shape=joining.stack, turn=turn_layouts.stacked),
    # products
    _product("matmul", "mm", sign=ast.MatMult, shape=products.matmul, turn=turns.matmul, watched=True),
    _product("bmm", sign=None, shape=products.bmm, turn=turns.matmul, watched=True),
    _product("einsum", sign=None, shape=products.einsum, turn=turns.einsum, watched=True),
    _product("outer", "ger", sign=None, shape=products.outer, turn=turns.outer, watched=False),
    _product("linear", sign=None, shape=products.of_weight, turn=turns.lost, watched=False),
    _product_and_sum("baddbmm", masked=masking.biased),
    _product_and_sum("addmm", masked=masking.ended),
    Op(
        names=("scaled_dot_product_attention",), sign=None, attribute=False, in_place=False,
        shape=products.attention, scale=scales.lost,
        mask=as_masks.lost, begins_mask=False, masked=masking.ended, single=masking.any_single,
        turn=turns.lost, device=Device.ATTENDS, watched=True, meant=Meant.NOTHING,
    ),
    # made
    _made("zeros", shape=questions.filled, mask=as_masks.made(0.0), device=Device.DEFAULT),
    _made("ones", shape=questions.filled, mask=as_masks.made(1.0), device=Device.DEFAULT),
    _made("empty", shape=questions.filled, mask=as_masks.lost, device=Device.DEFAULT),
    _made("rand", shape=questions.filled, mask=as_masks.drawn, device=Device.DEFAULT),
    _made("randn", shape=questions.filled, mask=as_masks.drawn, device=Device.DEFAULT),
    _made_of_one_number("full", shape=questions.filled, mask=as_masks.made_full, device=Device.DEFAULT),
    _made("eye", shape=questions.eye, mask=as_masks.lost, device=Device.DEFAULT),
    _made("arange", shape=questions.arange, mask=as_masks.positions, device=Device.DEFAULT, turn=turns.steps),
    _made("new_zeros", shape=questions.filled, mask=as_masks.made_like(0.0), device=Device.FIRST),
    _made("new_ones", shape=questions.filled, mask=as_masks.made_like(1.0), device=Device.FIRST),
    _made("new_empty", shape=questions.filled, mask=as_masks.lost, device=Device.FIRST),
    _made_of_one_number("new_full", shape=questions.filled, mask=as_masks.made_full_like, device=Device.FIRST),
    _made("zeros_like", shape=pointwise.like, mask=as_masks.made_like(0.0), device=Device.FIRST),
    _made("ones_like", shape=pointwise.like, mask=as_masks.made_like(1.0), device=Device.FIRST),
    _made("rand_like", shape=pointwise.like, mask=as_masks.drawn, device=Device.FIRST),
    _made("randn_like", shape=pointwise.like, mask=as_masks.drawn, device=Device.FIRST),
    _made("empty_like", shape=pointwise.like, mask=as_masks.lost, device=Device.FIRST),
    _made_of_one_number("full_like", shape=pointwise.like, mask=as_masks.made_as_full, device=Device.FIRST),
    # asked
    _asked("size", attribute=False, shape=questions.size),
    _asked("dim", "ndimension", attribute=False, shape=questions.dim),
    _asked("ndim", attribute=True, shape=questions.dim),
    _asked("numel", "nelement", attribute=False, shape=questions.numel),
    _asked("is_contiguous", attribute=False, shape=pointwise.is_contiguous),
)  # fmt: skip


# --- the rows, by what code writes -----------------------------------------------------------------------------------


def by_name(rows: tuple[Op, ...]) -> Mapping[str, Op]:
    """The rows by each of their names. Raises :class:`ValueError` for a name that two of them claim."""
    table: dict[str, Op] = {}
    for row in rows:
        for name in row.names:
            if name in table:
                raise ValueError(f"two rows of the table of operations are named {name!r}: leave one of them")
            table[name] = row
    return table


TABLE: Mapping[str, Op] = by_name(ROWS)
OPERATIONS: Mapping[str, Transfer] = {name: partial(applied, row) for name, row in TABLE.items()}
BY_SIGN: Mapping[type[ast.AST], Op] = {row.sign: row for row in ROWS if row.sign is not None}
ATTRIBUTES = frozenset(name for name, row in TABLE.items() if row.attribute)


def copies(name: str) -> bool:
    """Tell whether an operation gives the same numbers, if of another type or on another device."""
    row = TABLE.get(name)
    return row is not None and row.shape in (pointwise.clone, pointwise.contiguous, pointwise.same)
