"""The table of operations: one row each. To add an operation that takes one tensor elementwise, add a word."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from functools import partial

from mha_lint.model import masking
from mha_lint.model.events import Meant
from mha_lint.model.operations import (
    as_masks,
    dims,
    fused_attention,
    joining,
    letters,
    linear_maps,
    moves,
    new_masks,
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
from mha_lint.model.operations.kinds import (
    asked,
    clamped,
    compared,
    copied,
    cut,
    dropout,
    joined,
    made,
    made_of_one_number,
    of_one,
    of_two,
    product,
    product_and_sum,
    reduced,
    same,
    view,
)
from mha_lint.model.operations.op import Op, applied
from mha_lint.model.run import Transfer


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
    *map(of_one, _OF_ONE_TENSOR.split()),
    of_one("exp", turns.exponential),
    of_one("reciprocal", turns.inverse),
    of_one("cos", turns.trigonometric),
    of_one("sin", turns.trigonometric),
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
    dropout("dropout", watched=True),
    dropout("dropout1d", watched=False),
    dropout("dropout2d", watched=False),
    dropout("alpha_dropout", watched=False),
    dropout("feature_dropout", watched=False),
    clamped("clamp", "clip"),
    clamped("clamp_min"),
    clamped("clamp_max"),
    clamped("nan_to_num"),
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
    of_two("pow", sign=ast.Pow, mask=as_masks.lost, masked=masking.bent, turn=turns.power),
    of_two("maximum", sign=None, mask=as_masks.lost, masked=masking.bent),
    of_two("minimum", sign=None, mask=as_masks.lost, masked=masking.bent),
    of_two("logical_and", "bitwise_and", sign=ast.BitAnd, mask=as_masks.joined(_both, 0.0), masked=masking.kept),
    of_two("logical_or", "bitwise_or", sign=ast.BitOr, mask=as_masks.joined(_either, 1.0), masked=masking.kept),
    of_two("polar", sign=None, mask=as_masks.lost, masked=masking.bent, turn=turns.polar),
    compared("eq", ast.Eq, operator.eq),
    compared("ne", ast.NotEq, operator.ne),
    compared("lt", ast.Lt, operator.lt),
    compared("le", ast.LtE, operator.le),
    compared("gt", ast.Gt, operator.gt),
    compared("ge", ast.GtE, operator.ge),
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
    reduced("cumsum", mask=as_masks.lost, masked=masking.ended, meant=Meant.CHANGES),
    reduced("norm", mask=as_masks.lost, masked=masking.ended, meant=Meant.NOTHING),
    reduced("std", mask=as_masks.lost, masked=masking.bent, meant=Meant.NOTHING),
    reduced("var", mask=as_masks.lost, masked=masking.bent, meant=Meant.NOTHING),
    reduced("amax", mask=as_masks.lost, masked=masking.bent, meant=Meant.NOTHING),
    reduced("amin", mask=as_masks.lost, masked=masking.bent, meant=Meant.NOTHING),
    reduced("logsumexp", mask=as_masks.lost, masked=masking.bent, meant=Meant.NOTHING),
    cut("tril", mask=as_masks.lower_triangle),
    cut("triu", mask=as_masks.upper_triangle),
    reduced("flip", mask=as_masks.lost, masked=masking.kept, meant=Meant.MOVES),
    reduced("roll", mask=as_masks.lost, masked=masking.kept, meant=Meant.MOVES),
    reduced("gather", mask=as_masks.lost, masked=masking.kept, meant=Meant.CHANGES),
    reduced("index_select", mask=as_masks.lost, masked=masking.kept, meant=Meant.CHANGES),
    # copies
    Op(
        names=("contiguous",), sign=None, attribute=False, in_place=False,
        shape=pointwise.contiguous, scale=scales.kept,
        mask=as_masks.same, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turns.kept, device=Device.FIRST, watched=False, meant=Meant.CHANGES,
    ),
    copied("clone", scale=scales.kept, mask=as_masks.same, single=masking.any_single, device=Device.FIRST),
    copied("cuda", scale=scales.kept, mask=as_masks.same, single=masking.any_single, device=Device.MOVES),
    copied("cpu", scale=scales.kept, mask=as_masks.same, single=masking.any_single, device=Device.MOVES),
    copied(
        "to", scale=scales.cast, mask=as_masks.as_told, single=masking.told_single, device=Device.CASTS,
        turn=turns.cast,
    ),
    copied(
        "type", scale=scales.cast, mask=as_masks.as_told, single=masking.told_single, device=Device.CASTS,
        turn=turns.cast,
    ),
    copied(
        "type_as", scale=scales.kept, mask=as_masks.as_another, single=masking.no_single, device=Device.MOVES,
        turn=turns.cast,
    ),
    copied(
        "float", scale=scales.cast, mask=as_masks.as_number, single=masking.is_single, device=Device.FIRST,
        turn=turns.in_single,
    ),
    copied(
        "double", scale=scales.cast, mask=as_masks.as_number, single=masking.is_single, device=Device.FIRST,
        turn=turns.in_single,
    ),
    copied(
        "half", scale=scales.kept, mask=as_masks.as_number, single=masking.no_single, device=Device.FIRST,
        turn=turns.in_half,
    ),
    copied(
        "bfloat16", scale=scales.kept, mask=as_masks.as_number, single=masking.no_single, device=Device.FIRST,
        turn=turns.in_half,
    ),
    copied("int", scale=scales.kept, mask=as_masks.as_number, single=masking.is_single, device=Device.FIRST),
    copied("long", scale=scales.kept, mask=as_masks.as_number, single=masking.is_single, device=Device.FIRST),
    copied("bool", scale=scales.kept, mask=as_masks.as_boolean, single=masking.no_single, device=Device.FIRST),
    same("detach", "alias", attribute=False, device=Device.FIRST),
    same("requires_grad_", attribute=False, device=Device.FIRST),
    same("data", attribute=True, device=Device.FIRST),
    same("real", attribute=True, device=Device.FIRST),
    view("pad", attribute=False, shape=pointwise.pad, mask=as_masks.lost, turn=turns.lost),
    # views
    view("view", attribute=False, shape=views.view, mask=as_masks.viewed, turn=turn_layouts.viewed),
    view("reshape", attribute=False, shape=views.reshape, mask=as_masks.viewed, turn=turn_layouts.viewed),
    view("view_as", "reshape_as", attribute=False, shape=views.view_as, mask=as_masks.lost, turn=turn_layouts.viewed),
    view("flatten", attribute=False, shape=views.flatten, mask=as_masks.moved, turn=turn_layouts.flattened),
    view("unflatten", attribute=False, shape=views.unflatten, mask=as_masks.lost, turn=turn_layouts.taken_apart),
    view(
        "transpose", "swapaxes", "swapdims", attribute=False, shape=moves.transpose, mask=as_masks.transposed,
        turn=turn_layouts.swapped,
    ),
    view("t", attribute=False, shape=moves.matrix_transpose, mask=as_masks.transposed, turn=turn_layouts.swapped_last),
    view(
        "mT", "mH", "H", attribute=True, shape=moves.matrix_transpose, mask=as_masks.transposed,
        turn=turn_layouts.swapped_last,
    ),
    view("T", attribute=True, shape=moves.reversed_dims, mask=as_masks.transposed, turn=turn_layouts.swapped_last),
    view(
        "adjoint", attribute=False, shape=moves.matrix_transpose, mask=as_masks.transposed,
        turn=turn_layouts.swapped_last,
    ),
    view("permute", attribute=False, shape=moves.permute, mask=as_masks.moved, turn=turn_layouts.reordered),
    view("movedim", "moveaxis", attribute=False, shape=moves.movedim, mask=as_masks.lost, turn=turns.lost),
    view("squeeze", attribute=False, shape=dims.squeeze, mask=as_masks.moved, turn=turn_layouts.squeezed),
    view("unsqueeze", attribute=False, shape=dims.unsqueeze, mask=as_masks.unsqueezed, turn=turn_layouts.unsqueezed),
    view("select", attribute=False, shape=dims.select, mask=as_masks.moved, turn=turn_parts.one_of),
    view("narrow", attribute=False, shape=dims.narrow, mask=as_masks.moved, turn=turn_parts.in_part),
    view("expand", "broadcast_to", attribute=False, shape=dims.expand, mask=as_masks.same, turn=turn_layouts.spread),
    view("expand_as", attribute=False, shape=dims.expand_as, mask=as_masks.same, turn=turn_layouts.spread_as),
    view("view_as_complex", attribute=False, shape=dims.as_complex, mask=as_masks.lost, turn=turns.as_complex),
    view("view_as_real", attribute=False, shape=dims.as_real, mask=as_masks.lost, turn=turns.as_real),
    # several of one, and one of several
    view("chunk", "tensor_split", attribute=False, shape=parts.chunk, mask=as_masks.moved, turn=turn_parts.halved),
    view("split", "split_with_sizes", attribute=False, shape=parts.split, mask=as_masks.lost, turn=turn_parts.cut),
    view("unbind", attribute=False, shape=parts.unbind, mask=as_masks.lost, turn=turn_parts.unbound),
    view("repeat", "tile", attribute=False, shape=joining.repeat, mask=as_masks.repeated, turn=turn_layouts.repeated),
    view(
        "repeat_interleave", attribute=False, shape=joining.repeat_interleave, mask=as_masks.lost,
        turn=turn_layouts.interleaved,
    ),
    joined("cat", "concat", "concatenate", shape=joining.cat, turn=turn_layouts.joined),
    joined("stack", shape=joining.stack, turn=turn_layouts.stacked),
    # products
    product("matmul", "mm", sign=ast.MatMult, shape=products.matmul, turn=turns.matmul, watched=True),
    product("bmm", sign=None, shape=products.bmm, turn=turns.matmul, watched=True),
    product("einsum", sign=None, shape=letters.einsum, turn=turns.einsum, watched=True),
    product("outer", "ger", sign=None, shape=products.outer, turn=turns.outer, watched=False),
    product("linear", sign=None, shape=linear_maps.of_weight, turn=turns.lost, watched=False),
    product_and_sum("baddbmm", masked=masking.biased),
    product_and_sum("addmm", masked=masking.ended),
    Op(
        names=("scaled_dot_product_attention",), sign=None, attribute=False, in_place=False,
        shape=fused_attention.attention, scale=scales.lost,
        mask=as_masks.lost, begins_mask=False, masked=masking.ended, single=masking.any_single,
        turn=turns.lost, device=Device.ATTENDS, watched=True, meant=Meant.NOTHING,
    ),
    # made
    made("zeros", shape=questions.filled, mask=new_masks.made(0.0), device=Device.DEFAULT),
    made("ones", shape=questions.filled, mask=new_masks.made(1.0), device=Device.DEFAULT),
    made("empty", shape=questions.filled, mask=as_masks.lost, device=Device.DEFAULT),
    made("rand", shape=questions.filled, mask=as_masks.drawn, device=Device.DEFAULT),
    made("randn", shape=questions.filled, mask=as_masks.drawn, device=Device.DEFAULT),
    made_of_one_number("full", shape=questions.filled, mask=new_masks.made_full, device=Device.DEFAULT),
    made("eye", shape=questions.eye, mask=as_masks.lost, device=Device.DEFAULT),
    made(
        "Transformer.generate_square_subsequent_mask", shape=questions.square, mask=new_masks.made_causal,
        device=Device.MOVES,
    ),
    made("arange", shape=questions.arange, mask=new_masks.positions, device=Device.DEFAULT, turn=turns.steps),
    made("new_zeros", shape=questions.filled, mask=new_masks.made_like(0.0), device=Device.FIRST),
    made("new_ones", shape=questions.filled, mask=new_masks.made_like(1.0), device=Device.FIRST),
    made("new_empty", shape=questions.filled, mask=as_masks.lost, device=Device.FIRST),
    made_of_one_number("new_full", shape=questions.filled, mask=new_masks.made_full_like, device=Device.FIRST),
    made("zeros_like", shape=pointwise.like, mask=new_masks.made_like(0.0), device=Device.FIRST),
    made("ones_like", shape=pointwise.like, mask=new_masks.made_like(1.0), device=Device.FIRST),
    made("rand_like", shape=pointwise.like, mask=as_masks.drawn, device=Device.FIRST),
    made("randn_like", shape=pointwise.like, mask=as_masks.drawn, device=Device.FIRST),
    made("empty_like", shape=pointwise.like, mask=as_masks.lost, device=Device.FIRST),
    made_of_one_number("full_like", shape=pointwise.like, mask=new_masks.made_as_full, device=Device.FIRST),
    # asked
    asked("size", attribute=False, shape=questions.size),
    asked("dim", "ndimension", attribute=False, shape=questions.dim),
    asked("ndim", attribute=True, shape=questions.dim),
    asked("numel", "nelement", attribute=False, shape=questions.numel),
    asked("is_contiguous", attribute=False, shape=pointwise.is_contiguous),
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


def reshapes(name: str) -> bool:
    """Tell whether an operation gives the same numbers in another shape, which its arguments say."""
    row = TABLE.get(name)
    return row is not None and row.shape in (views.view, views.reshape)


def copies_alike(name: str) -> bool:
    """Tell whether an operation gives the same numbers, of the same type and on the same device, as a copy."""
    row = TABLE.get(name)
    if row is None or row.shape not in (pointwise.clone, pointwise.contiguous):
        return False
    return row.mask is as_masks.same and row.device is Device.FIRST


def casts(name: str) -> bool:
    """Tell whether an operation may give the same numbers in another type of floats."""
    row = TABLE.get(name)
    return row is not None and row.turn in (turns.cast, turns.in_single, turns.in_half)


def asks_sizes(name: str) -> bool:
    """Tell whether an operation asks a tensor for its sizes, or for how many dims it has."""
    row = TABLE.get(name)
    return row is not None and row.shape in (questions.size, questions.dim)


def asks_another(name: str) -> bool:
    """Tell whether an operation asks the tensor that it is given for its sizes, or its type, and for nothing else."""
    row = TABLE.get(name)
    return row is not None and (row.shape in (dims.expand_as, views.view_as) or row.mask is as_masks.as_another)


def swaps(name: str) -> bool:
    """Tell whether an operation swaps the two dims that it is given, in place or not."""
    row = TABLE.get(name.removesuffix("_"))
    return row is not None and row.shape is moves.transpose
