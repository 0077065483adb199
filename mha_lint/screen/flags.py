"""Arguments of attention and of dropout that may be wrong by what is written in the call."""

from __future__ import annotations

import ast
import re


def _given(node: ast.Call, index: int, *names: str) -> ast.expr | None:
    """The argument at ``index`` of a function of torch, or under one of ``names``."""
    if any(isinstance(arg, ast.Starred) for arg in node.args[: index + 1]):
        return node.args[0]  # it may be anything
    if index < len(node.args):
        return node.args[index]
    return next((keyword.value for keyword in node.keywords if keyword.arg in names), None)


def may_drop_in_eval(node: ast.Call, *, is_method: bool) -> bool:
    """Whether attention has a rate of dropout that is not plainly 0, or 0 unless ``training``."""
    match None if is_method else _given(node, 4, "dropout_p"):
        case None:
            return False
        case ast.Constant(value=value):
            return bool(value)
        case ast.IfExp(test=ast.Attribute(attr="training") | ast.Name(id="training"), orelse=ast.Constant(value=other)):
            return bool(other)
        case _:
            return True


_A_TYPE = re.compile(r"(?:^|\.)(?:dtype|bfloat16|float\d*|half|double|bool|u?int\d*|long|short)$")


def moves(name: str, node: ast.Call) -> bool:
    """Whether a conversion takes the tensor to the device of another, and doesn't only change its type."""
    if name in ("type_as", "cuda", "cpu"):
        return True
    told = {keyword.arg for keyword in node.keywords} - {"dtype", "copy", "non_blocking"}
    return name == "to" and (bool(told) or not all(_A_TYPE.search(ast.unparse(arg)) for arg in node.args))


def may_be_causal(node: ast.Call, *, is_method: bool) -> bool:
    """Whether attention has a causal flag that is not plainly off."""
    match None if is_method else _given(node, 5, "is_causal"):
        case None:
            return False
        case ast.Constant(value=value):
            return bool(value)
        case _:
            return True


def has_mask(node: ast.Call) -> bool:
    """Whether attention is given something as a mask."""
    mask = _given(node, 3, "attn_mask")
    return mask is not None and not isinstance(mask, ast.Constant)


def is_told_nothing(node: ast.Call) -> bool:
    """Whether a dropout has no ``training``, or one that is True."""
    match _given(node, 2, "training", "train"):
        case None:
            return True
        case ast.Constant(value=value):
            return bool(value)
        case ast.Attribute(attr="training"):
            return False
        case _:
            return True  # it may turn out to be True
