"""Kinds of rows of the table of operations: those that differ in few columns."""

from __future__ import annotations

import ast
from collections.abc import Callable

from mha_lint.model import masking
from mha_lint.model.events import Meant
from mha_lint.model.operations import as_masks, pointwise, products, questions, scales, turns
from mha_lint.model.operations.devices import Device
from mha_lint.model.operations.op import MaskedRule, MaskRule, Op, ScaleRule, SingleRule, TurnRule
from mha_lint.model.run import Transfer


def of_one(name: str, turn: TurnRule = turns.lost) -> Op:
    """An elementwise operation of one tensor, of whose numbers nothing is known afterwards."""
    return Op(
        names=(name,), sign=None, attribute=False, in_place=False,
        shape=pointwise.of_one, scale=scales.lost,
        mask=as_masks.lost, begins_mask=False, masked=masking.bent, single=masking.any_single,
        turn=turn, device=Device.FIRST, watched=False, meant=Meant.CHANGES,
    )  # fmt: skip


def dropout(name: str, *, watched: bool) -> Op:
    return Op(
        names=(name,), sign=None, attribute=False, in_place=False,
        shape=pointwise.of_one, scale=scales.kept,
        mask=as_masks.lost, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=watched, meant=Meant.NOTHING,
    )  # fmt: skip


def clamped(*names: str) -> Op:
    return Op(
        names=names, sign=None, attribute=False, in_place=False,
        shape=pointwise.of_one, scale=scales.unsure,
        mask=as_masks.lost, begins_mask=False, masked=masking.bent, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=Meant.CHANGES,
    )  # fmt: skip


def of_two(
    *names: str, sign: type[ast.AST] | None, mask: MaskRule, masked: MaskedRule, turn: TurnRule = turns.lost
) -> Op:
    """An elementwise operation of two tensors, whose scale is that of the one that has one."""
    return Op(
        names=names, sign=sign, attribute=False, in_place=False,
        shape=pointwise.of_two, scale=scales.kept,
        mask=mask, begins_mask=False, masked=masked, single=masking.any_single,
        turn=turn, device=Device.SHAPE, watched=False, meant=Meant.CHANGES,
    )  # fmt: skip


def compared(name: str, sign: type[ast.AST], function: Callable[[float, float], bool]) -> Op:
    return Op(
        names=(name,), sign=sign, attribute=False, in_place=False,
        shape=pointwise.of_two, scale=scales.kept,
        mask=as_masks.compared(function), begins_mask=True, masked=masking.ended, single=masking.no_single,
        turn=turns.lost, device=Device.SHAPE, watched=False, meant=Meant.NOTHING,
    )  # fmt: skip


def same(*names: str, attribute: bool, device: Device) -> Op:
    """The very tensor."""
    return Op(
        names=names, sign=None, attribute=attribute, in_place=False,
        shape=pointwise.same, scale=scales.kept,
        mask=as_masks.same, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turns.kept, device=device, watched=False, meant=Meant.NOTHING,
    )  # fmt: skip


def copied(
    *names: str, scale: ScaleRule, mask: MaskRule, single: SingleRule, device: Device, turn: TurnRule = turns.kept
) -> Op:
    """A copy, which may be of another type or on another device. A copy of another type may begin a mask."""
    return Op(
        names=names, sign=None, attribute=False, in_place=False,
        shape=pointwise.clone, scale=scale,
        mask=mask, begins_mask=mask is not as_masks.same, masked=masking.kept, single=single,
        turn=turn, device=device, watched=False, meant=Meant.CHANGES,
    )  # fmt: skip


def view(*names: str, attribute: bool, shape: Transfer, mask: MaskRule, turn: TurnRule) -> Op:
    """Another view of the same numbers, or a part of them."""
    return Op(
        names=names, sign=None, attribute=attribute, in_place=False,
        shape=shape, scale=scales.kept,
        mask=mask, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turn, device=Device.FIRST, watched=False, meant=Meant.MOVES,
    )  # fmt: skip


def joined(*names: str, shape: Transfer, turn: TurnRule) -> Op:
    """Several tensors that become one."""
    return Op(
        names=names, sign=None, attribute=False, in_place=False,
        shape=shape, scale=scales.kept,
        mask=as_masks.lost, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turn, device=Device.MEETS, watched=False, meant=Meant.CHANGES,
    )  # fmt: skip


def product(*names: str, sign: type[ast.AST] | None, shape: Transfer, turn: TurnRule, watched: bool) -> Op:
    """A matrix product, whose shape function tells the scale of scores. Under autocast it is in half precision."""
    return Op(
        names=names, sign=sign, attribute=False, in_place=False,
        shape=shape, scale=scales.kept,
        mask=as_masks.lost, begins_mask=False, masked=masking.ended, single=masking.no_single,
        turn=turn, device=Device.MEETS, watched=watched, meant=Meant.NOTHING,
    )  # fmt: skip


def product_and_sum(name: str, *, masked: MaskedRule) -> Op:
    return Op(
        names=(name,), sign=None, attribute=False, in_place=False,
        shape=products.baddbmm, scale=scales.by_alpha,
        mask=as_masks.lost, begins_mask=False, masked=masked, single=masking.no_single,
        turn=turns.lost, device=Device.MEETS, watched=True, meant=Meant.NOTHING,
    )  # fmt: skip


def reduced(*names: str, mask: MaskRule, masked: MaskedRule, meant: Meant) -> Op:
    """An operation whose result's shape nobody has asked for so far."""
    return Op(
        names=names, sign=None, attribute=False, in_place=False,
        shape=questions.somehow, scale=scales.kept,
        mask=mask, begins_mask=False, masked=masked, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=meant,
    )  # fmt: skip


def cut(name: str, *, mask: MaskRule) -> Op:
    """A triangle of a tensor, with 0 beyond it."""
    return Op(
        names=(name,), sign=None, attribute=False, in_place=False,
        shape=pointwise.triangle, scale=scales.kept,
        mask=mask, begins_mask=False, masked=masking.cut, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=Meant.CHANGES,
    )  # fmt: skip


def made(name: str, *, shape: Transfer, mask: MaskRule, device: Device, turn: TurnRule = turns.lost) -> Op:
    """A tensor made of sizes, or as large as another one."""
    single = masking.made_single if device is Device.DEFAULT else masking.made_single_like
    return Op(
        names=(name,), sign=None, attribute=False, in_place=False,
        shape=shape, scale=scales.lost,
        mask=mask, begins_mask=mask is not as_masks.lost, masked=masking.kept, single=single,
        turn=turn, device=device, watched=False, meant=Meant.NOTHING,
    )  # fmt: skip


def made_of_one_number(name: str, *, shape: Transfer, mask: MaskRule, device: Device) -> Op:
    """A tensor that holds a number which the call names: a fill of a mask, if it is added to scores."""
    single = masking.made_single if device is Device.DEFAULT else masking.made_single_like
    return Op(
        names=(name,), sign=None, attribute=False, in_place=False,
        shape=shape, scale=scales.lost,
        mask=mask, begins_mask=True, masked=masking.made_of, single=single,
        turn=turns.lost, device=device, watched=True, meant=Meant.NOTHING,
    )  # fmt: skip


def asked(*names: str, attribute: bool, shape: Transfer) -> Op:
    """A question, whose answer is no tensor."""
    return Op(
        names=names, sign=None, attribute=attribute, in_place=False,
        shape=shape, scale=scales.kept,
        mask=as_masks.lost, begins_mask=False, masked=masking.kept, single=masking.any_single,
        turn=turns.lost, device=Device.FIRST, watched=False, meant=Meant.NOTHING,
    )  # fmt: skip
