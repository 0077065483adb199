"""The scale of attention by hand, as fused attention takes it: a Python number, or its own default.

A tensor with one number for each head, or for each query, scales the queries instead: the scores come out the same.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from msgspec import Struct, field

from mha_lint.fixers.attention_operands import bound, bound_text
from mha_lint.fixers.unread import class_around
from mha_lint.model.by_hand.steps import ByHand, Operand, Scaled
from mha_lint.model.keys import Key
from mha_lint.model.scale import is_right
from mha_lint.model.values import Const, Int, Number, Tensor, Unknown, Value
from mha_lint.syntax.nodes import Function, defaults, dotted, every_parameter, walk

if TYPE_CHECKING:
    from mha_lint.fixers import Context

NO_NUMBER = "`scale` of fused attention is a number, and what scales here may be a tensor"
_NUMERIC_CALLS = frozenset(
    {"float", "int", "len", "round", "pow", "math.sqrt", "math.pow", "numpy.sqrt", "numpy.power"}
)
_MOST = 6  # names that stand for one another


class Scale(Struct):
    """What scales the scores: the factors, and the operands without those that were written at them.

    ``of_queries`` are the factors by which the queries are multiplied instead, since they may be tensors.
    """

    query: ast.expr
    key: ast.expr
    factors: list[Scaled] = field(default_factory=list)
    of_queries: list[Scaled] = field(default_factory=list)


def scale_of(found: ByHand, context: Context) -> Scale:
    """Gather the factors of scores, and those of queries and keys that are written in the product itself."""
    scale = Scale(found.product.query.node, found.product.key.node)
    scale.query = _stripped(found.product.query, scale, found.function, context)
    scale.key = _stripped(found.product.key, scale, found.function, context)
    scale.factors += [step for step in found.steps() if isinstance(step, Scaled)]
    if not _is_default(scale, found, context):
        maybe_tensors = [each for each in scale.factors if not _is_a_number(each, found, context)]
        scale.of_queries = [each for each in maybe_tensors if _scales_rows(each, context)]
        scale.factors = [each for each in scale.factors if each not in scale.of_queries]
    return scale


def scaled_text(text: str, scale: Scale, context: Context) -> str:
    """The text of the queries, multiplied by what may be a tensor."""
    for each in scale.of_queries:
        factor = bound(each.factor, context.places)
        text = f"{_next_to_factor(text)} * {factor}"
    return text


def _next_to_factor(text: str) -> str:
    tree = ast.parse(text, mode="eval").body
    is_product = isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Mult)
    return text if is_product else bound_text(text)


def _is_a_number(step: Scaled, found: ByHand, context: Context) -> bool:
    """Tell whether a factor is a Python number: as it is written, or as the model has seen it on every path."""
    if is_number(step.factor, found.function, context):
        return True
    seen = [] if step.node is None else context.model.operations.get(step.node, [])
    return bool(seen) and all(_is_numeric_value(_factor_of(each.args, step)) for each in seen)


def _factor_of(operands: tuple[Value, ...], step: Scaled) -> Value | None:
    """What the model knows of a factor, among the two operands of the product."""
    is_left = isinstance(step.node, ast.BinOp) and step.node.left is step.factor
    return operands[0 if is_left else 1] if len(operands) == 2 else None


def _scales_rows(step: Scaled, context: Context) -> bool:
    """Tell whether a factor is known on every path to have one number, at most, for each row of scores.

    The model notes products, not quotients.
    """
    seen = [] if step.node is None else context.model.operations.get(step.node, [])
    return bool(seen) and all(_is_of_rows(each.args, step, context) for each in seen)


def _is_of_rows(operands: tuple[Value, ...], step: Scaled, context: Context) -> bool:
    match _factor_of(operands, step):
        case Tensor(shape=tuple() as shape):
            return not shape or shape[-1].constant == 1
        case Unknown(key=Key() as key):
            return _is_asked_for_truth(key, step.factor, context)
        case value:
            return _is_numeric_value(value)


def _is_asked_for_truth(key: Key, factor: ast.expr, context: Context) -> bool:
    """Tell whether a constructor asks ``scale or width ** -0.5``, which a tensor of several numbers can't answer."""
    cls = class_around(factor, context)
    constructor = None if cls is None else cls.method("__init__")
    if constructor is None or not isinstance(factor, ast.Attribute):
        return False
    for node in walk(constructor):
        match node:
            case ast.Assign(targets=[target], value=ast.BoolOp(op=ast.Or(), values=[ast.Name(id=name), *_])):
                if name == key.text and dotted(target) == dotted(factor):
                    return True
    return False


def argument_of(scale: Scale, found: ByHand, context: Context) -> str | None:
    """The text of ``scale``: empty where the default is the same, None where what scales is no Python number."""
    if not scale.of_queries and _is_default(scale, found, context):
        return ""
    if not all(_is_a_number(each, found, context) for each in scale.factors):
        return None
    if not scale.factors:
        return "1.0"
    places = context.places
    parts: list[str] = []
    for each in scale.factors:
        text = places.source(each.factor)
        if each.divides:
            right = bound(each.factor, places) if not isinstance(each.factor, ast.Constant) else text
            parts.append(f"1 / {right}" if not parts else f"/ {right}")
        else:
            first = text if len(scale.factors) == 1 else bound(each.factor, places)
            parts.append(first if not parts else f"* {first}")
    return " ".join(parts)


def _is_default(scale: Scale, found: ByHand, context: Context) -> bool:
    """Tell whether the factors that go are, all together, one over the root of the width, on every path."""
    if len(scale.factors) == 1 and _is_root_of_width(scale.factors[0], scale.query, context):
        return True
    seen = context.model.scales.get(found.product.node, ())
    return bool(seen) and all(
        is_right(each.scale) and len(each.scale.parts) == len(scale.factors) and not each.scale.others for each in seen
    )


def _is_root_of_width(step: Scaled, query: ast.expr, context: Context) -> bool:
    """Tell whether a factor is spelled as the root of the last size of the queries."""
    name = dotted(query)
    match step.factor:
        case ast.BinOp(left=size, op=ast.Pow(), right=power):
            wanted = "0.5" if step.divides else "-0.5"
            is_root = ast.unparse(power) == wanted
        case ast.Call(func=called, args=[size]) if step.divides:
            is_root = context.model.names.qualify(called) in ("math.sqrt", "numpy.sqrt")
        case _:
            return False
    return is_root and name is not None and ast.unparse(size) in (f"{name}.shape[-1]", f"{name}.size(-1)")


def _stripped(operand: Operand, scale: Scale, function: Function, context: Context) -> ast.expr:
    """The operand without a number that it is multiplied or divided by, which is noted."""
    match operand.node:
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as op, right=right):
            for inner, factor in ((left, right), (right, left)):
                if isinstance(op, ast.Div) and inner is right:
                    continue
                if is_number(factor, function, context):
                    scale.factors.append(Scaled(factor, divides=isinstance(op, ast.Div)))
                    return inner
    return operand.node


# --- what is a number ------------------------------------------------------------------------------------------------


def is_number(node: ast.expr, function: Function, context: Context) -> bool:
    """Tell whether an expression is known to be a Python number, not a tensor."""
    return _is_number(node, function, context, _MOST)


def _is_number(node: ast.expr, function: Function, context: Context, left: int) -> bool:
    if left == 0:
        return False
    match node:
        case ast.Constant(value=int() | float()):
            return True
        case ast.UnaryOp(operand=operand):
            return _is_number(operand, function, context, left - 1)
        case ast.BinOp(left=first, right=second):
            return all(_is_number(each, function, context, left - 1) for each in (first, second))
        case ast.Call(func=called):
            return _is_numeric_call(node, called, function, context, left)
        case ast.Subscript(value=ast.Attribute(attr="shape"), slice=ast.Constant() | ast.UnaryOp()):
            return True
        case ast.Name(id=name):
            return _is_numeric_name(name, function, context, left)
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return _is_numeric_attribute(node, name, context)
        case ast.Attribute():
            return context.model.names.qualify(node) in ("math.pi", "math.e")
        case _:
            return False


def _is_numeric_call(node: ast.Call, called: ast.expr, function: Function, context: Context, left: int) -> bool:
    if isinstance(called, ast.Attribute) and called.attr == "size" and len(node.args) == 1:
        return True
    name = context.model.names.qualify(called) or dotted(called)
    if name in ("float", "int", "len"):
        return True
    if name not in _NUMERIC_CALLS:
        return False
    return all(_is_number(each, function, context, left - 1) for each in node.args)


def _is_numeric_name(name: str, function: Function, context: Context, left: int) -> bool:
    """Tell whether each assignment of a local name gives it a number, and its default does, if it is a parameter."""
    found: list[bool] = []
    stored = 0
    for node in walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                found.append(_is_number(value, function, context, left - 1))
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value):
                found += [_is_shape(value) for each in targets if isinstance(each, ast.Name) and each.id == name]
            case ast.Name(id=target, ctx=ast.Store()) if target == name:
                stored += 1
    if any(each.arg == name for each in every_parameter(function)):
        default = defaults(function).get(name)
        found.append(default is not None and _is_number(default, function, context, left - 1))
    elif not found:
        constant = context.model.names.constants.get(name)
        return constant is not None and _is_number(constant, function, context, left - 1)
    return bool(found) and all(found) and stored <= len(found)


def _is_shape(node: ast.expr) -> bool:
    match node:
        case ast.Attribute(attr="shape"):
            return True
        case ast.Call(func=ast.Attribute(attr="size"), args=[]):
            return True
        case ast.Subscript(value=inner):
            return _is_shape(inner)
        case _:
            return False


def _is_numeric_attribute(node: ast.Attribute, name: str, context: Context) -> bool:
    """Tell whether every way of building the object gives the attribute a number, and nothing else changes it."""
    cls = class_around(node, context)
    if cls is None or context.model.names.changes_of(cls, name):
        return False
    built = context.model.model_of(cls).built
    values = [state.attributes.get(name) for state in built]
    return bool(values) and all(map(_is_numeric_value, values))


def _is_numeric_value(value: Value | None) -> bool:
    match value:
        case Int() | Number():
            return True
        case Const(float() | int()):
            return True
        case _:
            return False
