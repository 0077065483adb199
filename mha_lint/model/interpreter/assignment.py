"""Assignment: the effect of small statements, and what unpacking gives."""

from __future__ import annotations

import ast

from msgspec.structs import replace

from mha_lint.model import operations
from mha_lint.model.axes import Role, Source
from mha_lint.model.cached import Rotated
from mha_lint.model.interpreter import operators
from mha_lint.model.interpreter.deciding import assume
from mha_lint.model.keys import Key, Kind, part
from mha_lint.model.operations import turn_joins, turn_parts
from mha_lint.model.run import Call, Run, normal
from mha_lint.model.sizes import Size, constant, equate, symbol
from mha_lint.model.subscripts import index_value
from mha_lint.model.values import (
    NONE,
    NOTHING,
    Int,
    Qualified,
    Repeated,
    Self,
    Sequence,
    ShapeOf,
    State,
    Tensor,
    Unknown,
    Value,
    as_factor,
    as_int,
    as_tensor,
)
from mha_lint.syntax import nodes
from mha_lint.vocabulary import BATCH_SIZE, SEQUENCE_LENGTH, is_said

_OF_ATTENTION = frozenset({"scores", "weights", "context"})


def execute(run: Run, statement: ast.stmt, state: State) -> Value:
    """Run an assignment or an expression statement."""
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="_assert" | "_check"), args=[test, *_])):
            assume(run, test, state)
        case ast.Expr(value=value):
            run.evaluate(value, state)
        case ast.Assign(targets=targets, value=value):
            result = run.evaluate(value, state)
            for target in targets:
                assign(run, target, result, state, value)
        case ast.AnnAssign(target=target, value=value) if value is not None:
            assign(run, target, run.evaluate(value, state), state, value)
        case ast.AugAssign(target=target, op=sign, value=value):
            before = run.evaluate(target, state)
            result = operators.binary(run, sign, before, run.evaluate(value, state), target, state)
            in_place = isinstance(before, Tensor) and not isinstance(sign, ast.MatMult)
            if in_place and isinstance(before, Tensor) and isinstance(result, Tensor):
                result = replace(result, shape=before.shape, strides=before.strides, contiguous=before.contiguous)
            assign(run, target, result, state)
        case _:
            pass
    return NONE


def assign(run: Run, target: ast.expr, value: Value, state: State, source: ast.expr | None = None) -> None:
    """Bind ``value`` to a target; unpacking a tensor unbinds it."""
    match target:
        case ast.Name(id=name):
            if isinstance(value, Tensor):
                value = replace(value, origin=target)
                run.saw_value(target, name, value, state)
            elif isinstance(value, Int):
                _same_batch(run, state.variables.get(name), value, state)
                _note_name(run, name, value)
            state.variables[name] = value
            state.forget_conditions_on((name,))
        case ast.Attribute(value=ast.Name(id=owner), attr=name) if isinstance(state.variables.get(owner), Self):
            state.attributes[name] = value
            state.forget_conditions_on((owner, name))
        case ast.Subscript(value=base):
            _assign_items(run, target, run.evaluate(base, state), value, state)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            parts = _parts(run, elements, value, source or target, state)
            for element_node, part in zip(elements, parts, strict=True):
                assign(run, element_node, part, state)
        case ast.Starred(value=inner):
            assign(run, inner, value, state)


def _same_batch(run: Run, before: Value | None, after: Int, state: State) -> None:
    """``b, m, d = z.shape; b, c, h, w = x.shape``: a name that means the first size of two inputs means one size."""
    first, second = after.size.symbol, before.size.symbol if isinstance(before, Int) else None
    if first is None or second is None or first is second or not _is_batch(run, first) or not _is_batch(run, second):
        return
    equate(after.size, symbol(second), state.definitions)


def _note_name(run: Run, name: str, value: Int) -> None:
    """``b, t, c = x.shape``: names tell what the dimensions of a tensor count."""
    key = value.size.symbol
    if key is None or not key.of_dimension:
        return
    if is_said(BATCH_SIZE, name):
        run.axes.tell(value.size, Role.BATCH, Source.NAMES)
    elif is_said(SEQUENCE_LENGTH, name):
        run.axes.tell(value.size, Role.TOKENS, Source.NAMES)


def _is_batch(run: Run, key: Key) -> bool:
    """The key is the first size of something that the function is given."""
    return key.kind is Kind.DIMENSION and key.number == 0 and key.owner is not None and run.is_given(key.owner)


def overwrite(run: Run, target: ast.expr, value: Tensor, state: State) -> None:
    """Give a name its tensor as changed in place; where a part was changed, nothing is known of the whole as a mask."""
    match target:
        case ast.Name() | ast.Attribute(value=ast.Name()):
            if isinstance(run.evaluate(target, state), Tensor):
                assign(run, target, value, state)
        case ast.Subscript(value=base) | ast.Call(func=ast.Attribute(value=base)):
            held = run.evaluate(base, state) if isinstance(base, (ast.Name, ast.Attribute)) else None
            if isinstance(held, Tensor) and held.mask is not None:
                overwrite(run, base, replace(held, mask=None), state)


def _assign_items(run: Run, target: ast.Subscript, held: Value, value: Value, state: State) -> None:
    """``scores[mask] = value`` fills; of a mask of which a part is changed, no more is known.

    What a list, or a tensor that was allocated for it, is filled with is what it holds from then on.
    """
    if isinstance(held, (Sequence, Repeated)):
        assign(run, target.value, _filled(run, held, run.evaluate(target.slice, state), value), state)
    if isinstance(value, Tensor) and isinstance(value.rotary, Rotated):
        indices = [index_value(run, index, state) for index in nodes.indices(target)]
        if turn_joins.stands_behind(target, indices, value, state):
            run.saw_written(target, value.rotary)
    if not isinstance(held, Tensor):
        return
    made = value.roles & _OF_ATTENTION if isinstance(value, Tensor) else frozenset[str]()
    if made - held.roles:  # ``scores[:, i] = q_i @ k_i.T``
        assert isinstance(value, Tensor)
        masked = held.masked | value.masked
        changed = replace(held.having(*made), mask=None, masked=masked, single=value.single, made=False)
        _keep(run, target.value, changed, state)
        return
    index = target.slice
    one = not isinstance(index, (ast.Slice, ast.Tuple))
    if one and as_factor(value) is not None and held.roles & {"scores", "weights"}:
        call = Call(run, state, target, (held, run.evaluate(index, state), value), {})
        filled = operations.OPERATIONS["masked_fill"](call)
        if isinstance(filled, Tensor):
            overwrite(run, target.value, replace(held, masked=filled.masked), state)
    elif held.mask is not None:
        where = run.evaluate(index, state) if one else NOTHING
        known = isinstance(where, Tensor)  # a row or a column is a part of which no more is known
        mask = (
            operations.TABLE["masked_fill"].mask(Call(run, state, target, (held, where, value), {})) if known else None
        )
        overwrite(run, target.value, replace(held, mask=mask), state)


def _keep(run: Run, name: ast.expr, value: Value, state: State) -> None:
    """Give a variable, or an attribute of the object, the value of which a part was changed."""
    match name:
        case ast.Name() | ast.Attribute(value=ast.Name()):
            assign(run, name, value, state)


def _filled(run: Run, held: Sequence | Repeated, index: Value, value: Value) -> Value:
    """A list of which one item is replaced: in a loop, all of them."""
    at = as_int(index)
    count = constant(len(held.items)) if isinstance(held, Sequence) else held.count
    if run.looping:
        return Repeated(value, count)
    if isinstance(held, Sequence) and at is not None and -len(held.items) <= at < len(held.items):
        items = list(held.items)
        items[at] = value
        return Sequence(tuple(items))
    return held if isinstance(held, Repeated) and held.item == value else NOTHING


def _parts(run: Run, elements: list[ast.expr], value: Value, source: ast.expr, state: State) -> list[Value]:
    count = len(elements)
    starred = [index for index, item in enumerate(elements) if isinstance(item, ast.Starred)]
    if isinstance(value, ShapeOf) and not starred:
        known = normal(as_tensor(value.tensor) or Tensor(), state)
        known = run.refine(state, known, count)
        value = operations.shape_of(known) if known.shape is not None else NOTHING
    if isinstance(value, Tensor) and not starred:
        value = unpacked(run, value, count, source, state)
    if isinstance(value, Unknown) and isinstance(source, ast.Tuple):
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
    if isinstance(value, Qualified) and not starred:  # ``einops, is_there = optional_import("einops")``
        return [value, *[NOTHING] * (count - 1)]
    handed = value.handed if isinstance(value, Unknown) and not starred else None
    tables = handed if isinstance(handed, Sequence) and len(handed.items) == count else None
    parts = [part(run.key(source), index) for index in range(count)]
    if tables is None:
        return [Unknown(key) for key in parts]
    return [Unknown(key, turn_parts.item_of(tables, index)) for index, key in enumerate(parts)]


def _shape_and_more(run: Run, source: ast.Tuple, count: int, starred: list[int], state: State) -> Value:
    """``b, n, _, h = *x.shape, self.heads``: the targets tell the rank of ``x``; ``*_, n, h`` only the last sizes."""
    first, *rest = source.elts
    sizes = run.evaluate(first.value, state) if isinstance(first, ast.Starred) else NOTHING
    tensor = as_tensor(sizes.tensor) if isinstance(sizes, ShapeOf) else None
    if tensor is None or any(isinstance(element, ast.Starred) for element in rest):
        return NOTHING
    dims = count - len(rest) - len(starred)
    last = [run.evaluate(element, state) for element in rest]
    if not starred and dims > 0:
        known = operations.shape_of(run.refine(state, normal(tensor, state), dims))
        return Sequence((*known.items, *last)) if isinstance(known, Sequence) else NOTHING
    if starred == [0] and dims >= 0:
        return Sequence((NOTHING, *(operations.dimension(tensor, at) for at in range(-dims, 0)), *last))
    return NOTHING


def unpacked(run: Run, tensor: Tensor, count: int | None, source: ast.expr, state: State) -> Value:
    """Iterating over a tensor calls ``unbind(0)``."""
    tensor = normal(tensor, state)
    if tensor.shape is None and not (tensor.lead is not None and tensor.lead.front):
        return Repeated(Tensor(roles=tensor.roles, merge=tensor.merge, scale=tensor.scale))
    parts = operations.unbound(Call(run, state, source, (tensor,), {}), tensor, 0)
    if isinstance(parts, Repeated) and count is not None:
        # A batch or tokens that are as many as there are names by luck alone: here comes something else, a tuple.
        return Sequence((Tensor(roles=tensor.roles, merge=tensor.merge, scale=tensor.scale),) * count)
    return parts


def length(iterable: Value) -> Size | None:
    """The number of items of an iterable, where that is known."""
    match iterable:
        case Repeated(_, count):
            return count
        case Sequence(items):
            return constant(len(items))
        case _:
            return None


def element(iterable: Value) -> Value:
    """The value of a loop variable in some iteration."""
    match iterable:
        case Repeated(item, _):
            return item
        case Sequence(items) if items and all(item == items[0] for item in items):
            return items[0]
        case Tensor():
            return Tensor(roles=iterable.roles)
        case _:
            return NOTHING
