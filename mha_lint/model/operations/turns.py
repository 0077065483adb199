"""How the numbers of a rotary table come about, and the terms of a rotation: what elementwise operations do to them."""

from __future__ import annotations

import ast
from collections.abc import Callable

from msgspec.structs import replace

from mha_lint.model.cached import Complex, Joined, Rotated, Turning
from mha_lint.model.operations import equations, precisions
from mha_lint.model.rotary import UNTOLD, Held, Laid, Part, Phase, Precision, Rotary, RotaryTable, Stage, Term, Turned
from mha_lint.model.run import Call
from mha_lint.model.sizes import ZERO
from mha_lint.model.values import Const, Int, Number, Sequence, Tensor, Unknown, Value, as_size, as_tensor, integer

_NUMBERS = (Int, Number, Const)


def mark_of(value: Value | None) -> Rotary | None:
    """What a value is to a rotary embedding."""
    if isinstance(value, Unknown) and isinstance(value.handed, Tensor):
        return value.handed.rotary
    return value.rotary if isinstance(value, Tensor) else None


def table_of(value: Value | None) -> RotaryTable | None:
    """The table that a value is, where it is one."""
    mark = mark_of(value)
    return mark if isinstance(mark, RotaryTable) else None


def marked(call: Call, result: Value, mark: Rotary | None) -> Value:
    """The result with its mark; a tensor where nothing else is known of it."""
    if isinstance(result, Tensor):
        if isinstance(mark, RotaryTable) and result.shape is not None:
            mark = replace(mark, rank=len(result.shape))
        return result if result.rotary == mark else replace(result, rotary=mark)
    if mark is None:
        return result
    return Tensor(key=call.interpreter.key(call.node), rotary=mark)


def lost(call: Call, result: Value) -> Value:
    """The numbers are others."""
    if not isinstance(result, Tensor) or result.rotary is None:
        return result
    return replace(result, rotary=None)


def kept(call: Call, result: Value) -> Value:
    """The numbers are the same, at the same places."""
    mark = mark_of(first_of(call))
    return lost(call, result) if mark is None else marked(call, result, mark)


def is_unmarked(call: Call) -> bool:
    """None of the arguments is known to take part in a rotary embedding, as nearly always."""
    for value in call.args:
        if isinstance(value, Tensor):
            if value.rotary is not None:
                return False
        elif isinstance(value, Unknown) and value.handed is not None:
            return False
    return True


def first_of(call: Call) -> Value | None:
    """The tensor that an operation is applied to."""
    value = call.args[0] if call.args else call.keywords.get("input")
    return as_tensor(value) if isinstance(value, Unknown) and value.handed is not None else value


def rank_of(tensor: Tensor) -> int | None:
    """The number of dimensions, where it is known."""
    if tensor.shape is None and isinstance(tensor.rotary, RotaryTable):
        return tensor.rotary.rank
    return tensor.rank


def from_the_end(dim: int | None, rank: int | None) -> int | None:
    """A dimension as it is counted from the end."""
    if dim is None or dim < 0:
        return dim
    return None if rank is None else dim - rank


# --- how the numbers of a table come about ---------------------------------------------------------------------------


def steps(call: Call, result: Value) -> Value:
    """``torch.arange(0, d, 2)``."""
    kind = call.keywords.get("dtype")
    held = UNTOLD if kind is None else precisions.told(call, kind, UNTOLD)
    start = call.keywords.get("start", call.args[0] if len(call.args) > 1 else integer(0))
    return marked(call, result, counted(RotaryTable(Stage.STEPS, rank=1, held=held), call.node, _is_zero(call, start)))


def cast(call: Call, result: Value) -> Value:
    """``x.to(y.dtype)``, ``x.type_as(y)``: the same numbers, held in another precision."""
    return _held(call, result, lambda before: precisions.cast(call, before))


def in_single(call: Call, result: Value) -> Value:
    """``x.float()``."""
    return _held(call, result, lambda _: Held(Precision.SINGLE, call.node))


def in_half(call: Call, result: Value) -> Value:
    """``x.half()``."""
    return _held(call, result, lambda _: Held(Precision.ACTIVATIONS, call.node))


def _held(call: Call, result: Value, change: Callable[[Held], Held]) -> Value:
    table = table_of(first_of(call))
    if table is None or table.stage > Stage.FREQUENCIES:
        return kept(call, result)
    return marked(call, result, replace(table, held=change(table.held)))


def counted(table: RotaryTable, by: ast.expr, at_zero: bool) -> RotaryTable:
    """The table, whose first row is that of position 0, as the expression ``by`` tells, or of an unknown one."""
    return replace(table, at_zero=at_zero, counted=by if at_zero else None)


def _is_zero(call: Call, value: Value) -> bool:
    size = as_size(value)
    return size is not None and call.state.normal(size) == ZERO


def _frequencies(steps: RotaryTable) -> RotaryTable:
    """Return what steps are an exponent of: there are no positions in it yet."""
    return replace(steps, stage=Stage.FREQUENCIES, at_zero=False, counted=None)


def through(turn: Callable[[Call, Value], Value]) -> Callable[[Call, Value], Value]:
    """The same for rotary tables; vectors that were rotated, or joined to earlier ones, stay it in another view."""

    def viewed(call: Call, result: Value) -> Value:
        mark, made = mark_of(first_of(call)), turn(call, result)
        if isinstance(mark, (Rotated, Joined)) and isinstance(made, Tensor) and made.rotary is None:
            return marked(call, made, mark)
        return made

    return viewed


def exponential(call: Call, result: Value) -> Value:
    """``torch.exp(steps * -(math.log(base) / d))``."""
    table = table_of(first_of(call))
    made = None if table is None or table.stage is not Stage.STEPS else _frequencies(table)
    return marked(call, result, made)


def inverse(call: Call, result: Value) -> Value:
    table = table_of(first_of(call))
    return marked(call, result, None if table is None or table.stage is not Stage.FREQUENCIES else table)


def power(call: Call, result: Value) -> Value:
    """``base ** (steps / d)``; to a power, steps stay steps and frequencies frequencies."""
    base, exponent = (*call.args[:2], None, None)[:2]
    over, table = table_of(exponent), table_of(base)
    if over is not None and over.stage is Stage.STEPS and table is None:
        return marked(call, result, _frequencies(over))
    told = over is None and table is not None and table.stage <= Stage.FREQUENCIES
    return marked(call, result, table if told else None)


def with_phase(call: Call, result: Value) -> Value:
    """A result of which no more is known has the angles of what it was made of, if half precision has rounded them."""
    if isinstance(result, Tensor) and result.rotary is not None:
        return result
    for value in call.args:
        for item in value.items if isinstance(value, Sequence) else (value,):
            phase = phase_of(item.rotary) if isinstance(item, Tensor) and item.rotary is not None else None
            if phase is not None:
                return marked(call, result, phase)
    return result


def phase_of(mark: Rotary) -> Phase | None:
    """Where the angles were computed that a mark is about."""
    if isinstance(mark, RotaryTable):
        return mark.phase if mark.stage is Stage.ANGLES else None
    return mark if isinstance(mark, Phase) else None


def trigonometric(call: Call, result: Value) -> Value:
    mark = mark_of(first_of(call))
    if isinstance(mark, Phase):
        call.interpreter.saw_phase(call.node, mark)
        return lost(call, result)
    table = table_of(first_of(call))
    told = table is not None and table.stage in (Stage.FREQUENCIES, Stage.ANGLES)
    if told and table is not None and table.phase is not None:
        call.interpreter.saw_phase(call.node, table.phase)
    return marked(call, result, replace(table, stage=Stage.TURNS) if told and table is not None else None)


def polar(call: Call, result: Value) -> Value:
    """``torch.polar(ones, angles)``: cosines and sines in one."""
    return trigonometric(replace(call, args=call.args[1:2]), result)


def as_complex(call: Call, result: Value) -> Value:
    return marked(call, result, Complex())


def as_real(call: Call, result: Value) -> Value:
    """``torch.view_as_real(x * freqs_cis)``: the pairs have turned."""
    mark = mark_of(first_of(call))
    return marked(call, result, rotated(call, mark) if isinstance(mark, Turning) else None)


def times(call: Call, result: Value) -> Value:
    """Frequencies times positions are angles; a vector times cosines or sines is a term of a rotation."""
    if len(call.args) < 2 or is_unmarked(call):
        return lost(call, result)
    left, right = call.args[:2]
    for one, other in ((left, right), (right, left)):
        mark, beside = mark_of(one), mark_of(other)
        if isinstance(mark, Turned) and isinstance(beside, RotaryTable):
            return marked(call, result, _term(mark, beside))
        if isinstance(mark, Complex) and (beside is None or isinstance(beside, RotaryTable)):
            return marked(call, result, _turning(beside))
        if isinstance(mark, Turned) and beside is None and isinstance(other, (Tensor, Unknown)):
            return marked(call, result, Turning())
        if isinstance(mark, (Turned, Term)) and beside is None:
            alone = isinstance(mark, Term) or isinstance(other, _NUMBERS)
            return marked(call, result, mark if alone else None)
        if isinstance(mark, (Rotated, Joined)) and isinstance(other, (*_NUMBERS, Unknown)):
            return marked(call, result, mark)  # scaled
    return marked(call, result, _product(call, left, right))


def _turning(table: Rotary | None) -> Turning:
    return Turning(table.at_zero, table.counted) if isinstance(table, RotaryTable) else Turning()


def _term(turned: Turned, table: RotaryTable) -> Term | None:
    told = table.stage is Stage.TURNS and table.dim == -1 and table.laid is not Laid.ONCE
    return Term(turned, table) if told else None


def _product(call: Call, left: Value, right: Value) -> RotaryTable | None:
    """A table that comes of two factors, one of which at least is a table."""
    first, second = table_of(left), table_of(right)
    if first is not None and second is not None:
        table, other = (first, right) if first.stage > second.stage else (second, left)
        if first.stage == second.stage or first.dim == second.dim:
            return None
    elif first is not None:
        table, other = first, right
    elif second is not None:
        table, other = second, left
    else:
        return None
    if isinstance(other, _NUMBERS):
        return table
    rank = _broadcast(table, other)
    if table.stage is Stage.FREQUENCIES:
        return replace(angles(call, table, other), rank=rank)
    return replace(table, rank=rank)


def angles(call: Call, frequencies: RotaryTable, positions: Value | None) -> RotaryTable:
    """The product of frequencies and positions."""
    phase = precisions.phase(call, frequencies, positions)
    known = table_of(positions)
    at_zero = known is not None and known.at_zero
    by = None if known is None else known.counted
    return replace(frequencies, stage=Stage.ANGLES, held=UNTOLD, phase=phase, at_zero=at_zero, counted=by)


def _broadcast(table: RotaryTable, other: Value) -> int | None:
    """The number of dimensions of a table and something else, elementwise; what steps are scaled by is a number."""
    if isinstance(other, _NUMBERS) or (table.stage is Stage.STEPS and isinstance(other, Unknown)):
        return table.rank
    known = rank_of(other) if isinstance(other, Tensor) else None
    return None if table.rank is None or known is None else max(table.rank, known)


def quotient(call: Call, result: Value) -> Value:
    """A table over a number, and 1 over frequencies."""
    if len(call.args) < 2 or is_unmarked(call):
        return lost(call, result)
    left, right = call.args[:2]
    above, below = mark_of(left), mark_of(right)
    if below is None and isinstance(above, (RotaryTable, Term)):
        if isinstance(above, RotaryTable):
            above = replace(above, rank=_broadcast(above, right))
        return marked(call, result, above)
    if not isinstance(below, RotaryTable) or below.stage is not Stage.FREQUENCIES:
        return marked(call, result, None)
    if isinstance(above, RotaryTable) and above.stage is Stage.STEPS and above.dim != below.dim:
        return marked(call, result, replace(angles(call, below, left), rank=_broadcast(below, left)))
    return marked(call, result, below if above is None else None)


def total(call: Call, result: Value) -> Value:
    """``x * cos + turned * sin`` is a rotation; steps that are shifted stay steps."""
    if len(call.args) < 2 or is_unmarked(call):
        return lost(call, result)
    left, right = call.args[:2]
    for one, other in ((left, right), (right, left)):
        mark = mark_of(one)
        if isinstance(mark, Term):
            _rotates(call, mark, other)
            return marked(call, result, rotated(call, mark.table))
        if isinstance(mark, Turning):
            return marked(call, result, rotated(call, mark))
        if isinstance(mark, RotaryTable) and mark.stage is Stage.STEPS and mark_of(other) is None:
            return marked(call, result, counted(mark, call.node, mark.at_zero and _is_zero(call, other)))
    return marked(call, result, _rotated_by_parts(call, left, right))


def total_of_products(call: Call, result: Value) -> Value:
    """``torch.addcmul(x * cos, turned, sin)``."""
    if len(call.args) > 2:
        product = times(replace(call, args=call.args[1:3]), Tensor())
        mark = mark_of(product)
        if isinstance(mark, Term):
            _rotates(call, mark, call.args[0])
            return marked(call, result, rotated(call, mark.table))
    return lost(call, result)


def _rotated_by_parts(call: Call, left: Value, right: Value) -> Rotated | None:
    """``x1 * cos - x2 * sin`` is one part of a rotated vector."""
    one, other = table_of(left), table_of(right)
    if one is None or other is None or one.stage is not Stage.TURNS or other.stage is not Stage.TURNS:
        return None
    return rotated(call, one if not one.at_zero else other)


def rotated(call: Call, table: RotaryTable | Turning) -> Rotated:
    return Rotated(table.at_zero, call.node, call.interpreter.calls, table.counted)


def _rotates(call: Call, term: Term, other: Value) -> None:
    cosines = table_of(other)
    if cosines is not None and (cosines.stage is not Stage.TURNS or cosines.laid is Laid.ONCE):
        cosines = None
    call.interpreter.saw_rotation(call.node, term, cosines)


def negated(call: Call, result: Value) -> Value:
    mark = mark_of(first_of(call))
    if isinstance(mark, Part):
        mark = replace(mark, negated=not mark.negated)
    return marked(call, result, mark if isinstance(mark, (Part, RotaryTable, Turned)) else None)


def outer(call: Call, result: Value) -> Value:
    """``torch.outer(positions, frequencies)``, or the other way round."""
    left, right = (*call.args[:2], None, None)[:2]
    for factor, other, dim in ((right, left, -1), (left, right, -2)):
        table, beside = table_of(factor), table_of(other)
        if table is not None and table.stage is Stage.FREQUENCIES and (beside is None or beside.stage < table.stage):
            return marked(call, result, replace(angles(call, table, other), dim=dim, rank=2))
    return lost(call, result)


def einsum(call: Call, result: Value) -> Value:
    """``torch.einsum("i,j->ij", positions, frequencies)``."""
    if is_unmarked(call):
        return lost(call, result)
    equation = equations.read(call.args)
    if equation is None:
        return lost(call, result)
    inputs, output, operands = equation
    tables = [(table, side) for value, side in zip(operands, inputs, strict=True) if (table := table_of(value))]
    told = [(table, side) for table, side in tables if table.stage is Stage.FREQUENCIES]
    if len(told) != 1 or len(operands) != 2 or "." in "".join((*inputs, output)):
        return lost(call, result)
    ((table, side),) = told
    letter = side[table.dim] if len(side) >= -table.dim else ""
    if not letter or letter not in output:
        return lost(call, result)
    dim = output.index(letter) - len(output)
    positions = next(value for value in operands if table_of(value) is not table)
    return marked(call, result, replace(angles(call, table, positions), dim=dim, rank=len(output)))


def matmul(call: Call, result: Value) -> Value:
    """Frequencies in a column times positions in a row, or the other way round."""
    if is_unmarked(call):
        return lost(call, result)
    left, right = (*call.args[:2], None, None)[:2]
    for factor, other, dim in ((left, right, -2), (right, left, -1)):
        table = table_of(factor)
        if table is None or table.stage is not Stage.FREQUENCIES or table.dim != dim or (table.rank or 2) < 2:
            continue
        rank = None if other is None else _broadcast(table, other)
        return marked(call, result, replace(angles(call, table, other), rank=rank))
    return lost(call, result)
