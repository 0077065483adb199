"""Assignment: the effect of small statements, and what unpacking gives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import libcst as cst

from mha_lint.model import operators, torch_api
from mha_lint.model.sizes import Size, constant
from mha_lint.model.torch_api import Call
from mha_lint.model.values import (
    NONE,
    NOTHING,
    Repeated,
    Self,
    Sequence,
    ShapeOf,
    State,
    Tensor,
    Unknown,
    Value,
    as_factor,
    as_tensor,
)

if TYPE_CHECKING:
    from mha_lint.model.interpreter import Interpreter


def execute(run: Interpreter, statement: cst.BaseSmallStatement, state: State) -> Value:
    """Run an assignment or an expression statement."""
    match statement:
        case cst.Expr(value=value):
            run.evaluate(value, state)
        case cst.Assign(targets=targets, value=value):
            result = run.evaluate(value, state)
            for target in targets:
                assign(run, target.target, result, state, value)
        case cst.AnnAssign(target=target, value=value) if value is not None:
            assign(run, target, run.evaluate(value, state), state, value)
        case cst.AugAssign(target=target, operator=sign, value=value):
            before = run.evaluate(target, state)
            result = operators.binary(run, sign, before, run.evaluate(value, state), target, state)
            if (
                isinstance(before, Tensor)
                and not isinstance(sign, cst.MatrixMultiplyAssign)
                and isinstance(result, Tensor)
            ):
                result = replace(result, shape=before.shape, strides=before.strides, contiguous=before.contiguous)
            assign(run, target, result, state)
        case _:
            pass
    return NONE


def assign(
    run: Interpreter, target: cst.BaseExpression, value: Value, state: State, source: cst.BaseExpression | None = None
) -> None:
    """Bind ``value`` to a target; unpacking a tensor unbinds it."""
    match target:
        case cst.Name(name):
            if isinstance(value, Tensor):
                value = replace(value, origin=target)
                run.saw_value(target, name, value, state)
            state.variables[name] = value
            state.forget_conditions_on(name)
        case cst.Attribute(value=cst.Name(owner), attr=cst.Name(name)) if isinstance(state.variables.get(owner), Self):
            state.attributes[name] = value
            state.forget_conditions_on(f"{owner}.{name}")
        case cst.Subscript(value=base):
            _assign_items(run, target, run.evaluate(base, state), value, state)
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            parts = _parts(run, elements, value, source or target, state)
            for element_node, part in zip(elements, parts, strict=True):
                assign(run, element_node.value, part, state)


def overwrite(run: Interpreter, target: cst.BaseExpression, value: Tensor, state: State) -> None:
    """What a name holds was changed in place; of what a part of it holds, nothing is known as a mask."""
    match target:
        case cst.Name() | cst.Attribute(value=cst.Name()):
            if isinstance(run.evaluate(target, state), Tensor):
                assign(run, target, value, state)
        case cst.Subscript(value=base) | cst.Call(func=cst.Attribute(value=base)):
            held = run.evaluate(base, state) if isinstance(base, (cst.Name, cst.Attribute)) else None
            if isinstance(held, Tensor) and held.mask is not None:
                overwrite(run, base, replace(held, mask=None), state)


def _assign_items(run: Interpreter, target: cst.Subscript, held: Value, value: Value, state: State) -> None:
    """``scores[mask] = value`` fills; of a mask of which a part is changed, no more is known."""
    if not isinstance(held, Tensor):
        return
    index = target.slice[0].slice if len(target.slice) == 1 else None
    if isinstance(index, cst.Index) and as_factor(value) is not None and held.roles & {"scores", "weights"}:
        call = Call(run, state, target, (held, run.evaluate(index.value, state), value), {})
        filled = torch_api.OPERATIONS["masked_fill"](call)
        if isinstance(filled, Tensor):
            overwrite(run, target.value, replace(held, masked=filled.masked), state)
    elif held.mask is not None:
        overwrite(run, target.value, replace(held, mask=None), state)


def _parts(run: Interpreter, elements: Any, value: Value, source: cst.BaseExpression, state: State) -> list[Value]:
    count = len(elements)
    starred = [index for index, item in enumerate(elements) if isinstance(item, cst.StarredElement)]
    if isinstance(value, ShapeOf) and not starred:
        known = torch_api.normal(as_tensor(value.tensor) or Tensor(), state)
        known = run.refine(state, known, count)
        value = torch_api.shape_of(known) if known.shape is not None else NOTHING
    if isinstance(value, Tensor) and not starred:
        value = unpacked(run, value, count, source, state)
    if isinstance(value, Unknown) and isinstance(source, cst.Tuple):
        value = _shape_and_more(run, source, count, starred, state)
    if isinstance(value, Sequence):
        items = list(value.items)
        if len(starred) == 1 and len(items) >= count - 1:
            at, extra = starred[0], len(items) - count + 1
            return [*items[:at], Sequence(tuple(items[at : at + extra])), *items[at + extra :]]
        if not starred and len(items) == count:
            return items
    if isinstance(value, Repeated) and not starred:
        return [value.item] * count
    return [Unknown(f"{run.key(source)}.{index}") for index in range(count)]


def _shape_and_more(run: Interpreter, source: cst.Tuple, count: int, starred: list[int], state: State) -> Value:
    """``b, n, _, h = *x.shape, self.heads``: the targets tell the rank of ``x``; ``*_, n, h`` only the last sizes."""
    first, *rest = source.elements
    sizes = run.evaluate(first.value, state) if isinstance(first, cst.StarredElement) else NOTHING
    tensor = as_tensor(sizes.tensor) if isinstance(sizes, ShapeOf) else None
    if tensor is None or any(isinstance(element, cst.StarredElement) for element in rest):
        return NOTHING
    dims = count - len(rest) - len(starred)
    last = [run.evaluate(element.value, state) for element in rest]
    if not starred and dims > 0:
        known = torch_api.shape_of(run.refine(state, torch_api.normal(tensor, state), dims))
        return Sequence((*known.items, *last)) if isinstance(known, Sequence) else NOTHING
    if starred == [0] and dims >= 0:
        return Sequence((NOTHING, *(torch_api.dimension(tensor, at) for at in range(-dims, 0)), *last))
    return NOTHING


def unpacked(run: Interpreter, tensor: Tensor, count: int | None, source: cst.BaseExpression, state: State) -> Value:
    """Iterating over a tensor calls ``unbind(0)``."""
    tensor = torch_api.normal(tensor, state)
    if tensor.shape is None:
        return Repeated(Tensor(roles=tensor.roles, merge=tensor.merge, scale=tensor.scale))
    parts = torch_api.unbound(Call(run, state, source, (tensor,), {}), tensor, 0)
    if isinstance(parts, Repeated) and count is not None and tensor.shape[0].constant is None:
        return Sequence((parts.item,) * count)
    return parts


def length(iterable: Value) -> Size | None:
    """How many items an iterable has, where that is known."""
    match iterable:
        case Repeated(_, count):
            return count
        case Sequence(items):
            return constant(len(items))
        case _:
            return None


def element(iterable: Value) -> Value:
    """What a loop variable holds in some iteration."""
    match iterable:
        case Repeated(item, _):
            return item
        case Sequence(items) if items and all(item == items[0] for item in items):
            return items[0]
        case Tensor():
            return Tensor(roles=iterable.roles)
        case _:
            return NOTHING
