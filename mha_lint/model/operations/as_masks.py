"""These rules fill a column of the table: the mask that the result of an operation is."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

from msgspec.structs import replace

from mha_lint.model import padding
from mha_lint.model.keys import Key, Kind
from mha_lint.model.marks import (
    BY_PLACE,
    DRAWN,
    GIVEN,
    NOT_KNOWN,
    Mask,
    Numbers,
    Positions,
    combined,
    common_grid,
    constant,
    triangle,
)
from mha_lint.model.masks import Known, chosen, mask_of, number_of, second, third
from mha_lint.model.operations.new_masks import Rule, made, made_full, written_sizes
from mha_lint.model.run import Call
from mha_lint.model.sizes import Size
from mha_lint.model.values import (
    Const,
    Int,
    Method,
    Number,
    Qualified,
    Tensor,
    Unknown,
    Value,
    arguments,
    as_int,
    as_size,
)
from mha_lint.syntax.nodes import last_name
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import DEVICE, MASKS, PADDING, SOFT_MASKS, WHOLE, is_said


def _held(call: Call) -> Known:
    """Return the mask, or the positions, that the first operand is known to be; None where it is neither."""
    first = call.args[0] if call.args else None
    if isinstance(first, Tensor) and first.mask is not None:
        return first.mask
    return mask_of(first, call.interpreter)


# --- the same numbers, here or elsewhere ---------------------------------------------------------------------------


def lost(call: Call) -> None:
    """The result is no mask, or nothing is known of it as one."""
    return


def same(call: Call) -> Known:
    """Every number stays where it is; what is expanded repeats along new dimensions, in front of queries and keys."""
    return _held(call)


def repeated(call: Call) -> Known:
    """The numbers come again and again: positions do not count on."""
    known = _held(call)
    if not isinstance(known, Mask):
        return None
    times = [as_int(value) for value in written_sizes(call.args[1:])]
    return known if len(times) > 2 and times[-2:] == [1, 1] else replace(known, grid=None)


def moved(call: Call) -> Known:
    """The numbers are the same, and stand elsewhere."""
    known = _held(call)
    return known.somewhere() if isinstance(known, Mask) else None


def transposed(call: Call) -> Known:
    known = _held(call)
    if not isinstance(known, Mask):
        return None
    dims = {call.integer(1, "dim0"), call.integer(2, "dim1")}
    made = known.transposed() if dims in ({0, 1}, {-1, -2}, {2, 3}) or dims == {None} else known.somewhere()
    return padding.transposed(call, known, made, dims)


def unsqueezed(call: Call) -> Known:
    known = _held(call)
    at = call.integer(1, "dim")
    match known:
        case Positions():
            return _unsqueezed_positions(known, at) if len(call.args) == 2 else None
        case Mask():
            made = known if at in (0, 1) or (at is not None and at < -2) else known.somewhere()
            if at == 1 and (_rank(call) or 0) < 3:
                made = replace(made, grid=None)
            return padding.unsqueezed(call, known, made, at)
        case _:
            return None


def _unsqueezed_positions(known: Positions, at: int | None) -> Positions:
    column = known.column or at in (1, -1)
    rank = None if known.rank is None else known.rank + 1
    lies_in_front = at == 0 and rank is not None
    stands_up = known.rank == 1 and at in (1, -1)
    stands_up = stands_up or (at == -1 and not known.column)
    return Positions(column, known.count if lies_in_front or stands_up else None, rank)


def _rank(call: Call) -> int | None:
    first = call.args[0]
    return first.rank if isinstance(first, Tensor) else None


def viewed(call: Call) -> Known:
    known = _held(call)
    written = written_sizes(call.args[1:])
    match known:
        case Positions():
            return _viewed_positions(known, written)
        case Mask():
            sizes = [as_size(value) for value in written]
            same = known.sizes is None or (len(sizes) > 1 and tuple(sizes[-2:]) == known.sizes)
            made = known if same else known.somewhere()
            if known.grid is not None and not _ends_with(sizes, known.grid, call):
                made = replace(made, grid=None)
            return padding.viewed(call, known, made, written)
        case _:
            return None


def _viewed_positions(known: Positions, written: tuple[Value, ...]) -> Positions | None:
    if not written:
        return None
    column = as_int(written[-1]) == 1
    sizes = written[:-1] if column else written
    alone = bool(sizes) and as_int(sizes[-1]) != 1 and all(as_int(size) == 1 for size in sizes[:-1])
    return Positions(column, known.count if alone else None, len(written))


def _ends_with(sizes: list[Size | None], grid: tuple[Size, Size], call: Call) -> bool:
    """Tell whether a view keeps the two dimensions: its last sizes are theirs."""
    last = [None if size is None else call.state.normal(size) for size in sizes[-2:]]
    return last == [call.state.normal(size) for size in grid]


# --- the same numbers, of another type -----------------------------------------------------------------------------


def as_number(call: Call) -> Known:
    """``.float()``, ``.long()``: positions are numbers before and after."""
    known = _held(call)
    if known is None:
        whole = isinstance(call.node, ast.Call) and is_said(WHOLE, last_name(call.node.func))
        return _given_as_numbers(call, whole=whole)
    return replace(known, boolean=False) if isinstance(known, Mask) else known


def _given_as_numbers(call: Call, *, whole: bool) -> Mask | None:
    """A mask of yes and no that is given, and made a number: whole numbers are no bias, and padding is none either."""
    first = call.args[0] if call.args else None
    key = first.key if isinstance(first, (Tensor, Unknown)) else None
    if key is None or (key.of_result and key.kind is not Kind.ITEM):
        return None
    name = key.last_name
    yes = is_said(MASKS, name) and (whole or key.kind is Kind.ITEM or is_said(PADDING, name))
    return replace(GIVEN, boolean=False) if yes and not is_said(SOFT_MASKS, name) else None


def as_boolean(call: Call) -> Known:
    """``.bool()`` makes a mask of anything: of where some condition holds, as far as is known."""
    match _held(call):
        case Mask() as known:
            return known.changed(bool, boolean=True)
        case Positions():
            return None
        case _:
            return GIVEN


def as_told(call: Call) -> Known:
    """``.to(…)`` and ``.type(…)``."""
    match _held(call):
        case Mask() as known:
            return _cast(call, known)
        case Positions() as known:
            return known
        case _:
            kinds = (*call.args[1:], call.keywords.get("dtype"))
            if any(isinstance(kind, Qualified) and is_said(WHOLE, kind.name.removeprefix("torch.")) for kind in kinds):
                return _given_as_numbers(call, whole=True)
            return GIVEN if Qualified("torch.bool") in kinds else None


def as_another(call: Call) -> Known:
    """``.type_as(other)``."""
    known = _held(call)
    return _cast(call, known) if isinstance(known, Mask) else known


def as_array_type(call: Call) -> Known:
    """numpy's ``.astype(…)``."""
    known = _held(call)
    if not isinstance(known, Mask):
        return None
    kinds = (Const("bool"), Qualified("builtins.bool"), Qualified("numpy.bool_"), Qualified("numpy.bool"))
    yes = len(call.args) > 1 and call.args[1] in kinds
    return known.changed(bool, boolean=True) if yes else replace(known, boolean=False)


# --- other numbers ---------------------------------------------------------------------------------------------------


def drawn(call: Call) -> Mask:
    """The numbers are random."""
    return DRAWN


def inverted(call: Call) -> Known:
    known = _held(call)
    return known.changed(operator.not_, boolean=True) if isinstance(known, Mask) else None


def negated(call: Call) -> Known:
    known = _held(call)
    return known.changed(operator.neg, boolean=False) if isinstance(known, Mask) else None


def lower_triangle(call: Call) -> Known:
    known = _held(call)
    return _triangle(call, known, upper=False) if isinstance(known, Mask) else None


def upper_triangle(call: Call) -> Known:
    known = _held(call)
    return _triangle(call, known, upper=True) if isinstance(known, Mask) else None


def joined(function: Callable[[float, float], bool], absorbing: float) -> Rule:
    """Two conditions joined; the ``absorbing`` number decides the result, whatever the other is."""
    return lambda call: _both(call, function, frozenset({absorbing}), of_booleans=True, of_others=True)


def summed(function: Callable[[float, float], float]) -> Rule:
    """A sum or a difference, which is a number."""
    return lambda call: _both(call, function, None, of_booleans=False, of_others=False)


def multiplied(call: Call) -> Known:
    """A product: of two conditions it is one."""
    return _both(call, operator.mul, frozenset({0.0}), of_booleans=True, of_others=False)


def _both(
    call: Call, function: Callable[[float, float], float], absorbing: Numbers, *, of_booleans: bool, of_others: bool
) -> Known:
    left, right = (mask_of(value, call.interpreter) for value in _pair(call))
    if left is None and right is None:
        return None
    booleans = left is not None and right is not None and left.boolean is True and right.boolean is True
    boolean = of_booleans if booleans else of_others
    return combined(function, left or NOT_KNOWN, right or NOT_KNOWN, boolean=boolean, absorbing=absorbing)


def filled(call: Call) -> Known:
    """``mask.masked_fill(where, value)``."""
    known = _held(call)
    if not isinstance(known, Mask):
        return None
    where, value = mask_of(second(call, "mask"), call.interpreter), number_of(third(call, "value"), call.interpreter)
    return _chosen(where, None if value is None else constant(*value), known)


def either(call: Call) -> Known:
    """``torch.where(condition, yes, no)``."""
    parts = [mask_of(value, call.interpreter) for value in chosen(call)]
    return _chosen(*parts[:3]) if len(parts) >= 3 else None


def _pair(call: Call) -> tuple[Value | None, Value | None]:
    first, second = arguments(call.args, call.keywords, "input", "other")
    return first, second


def _triangle(call: Call, mask: Mask, *, upper: bool) -> Mask:
    value = second(call, "diagonal")
    if value is None and "k" in call.keywords:
        value = call.keywords["k"]  # numpy's name
    shift: int | None = 0 if value is None else as_int(value)
    size, grid = as_size(value), _matrix(call, mask)
    if shift is None and size is not None and mask.sizes is not None:
        rows, columns = mask.sizes
        shift = (call.state.normal(size) - (columns - rows)).constant  # aligned with the last query
        grid = grid if grid is not None and grid[0] == grid[1] else None
    if shift is not None and upper:
        shift -= 1
    if mask.diagonal is not None and mask.diagonal != shift:
        shift = None
    kept = replace(triangle(shift), grid=grid)
    if upper:
        kept = kept.changed(operator.not_, boolean=True)
    return combined(lambda number, keep: number if keep else 0.0, mask, kept, boolean=mask.boolean)


def _matrix(call: Call, mask: Mask) -> tuple[Size, Size] | None:
    """The sizes of the two dimensions of which a triangle is taken, which begins at the first of both."""
    first = call.args[0] if call.args else None
    shape = first.shape if isinstance(first, Tensor) else None
    if shape is None:
        return mask.grid
    return (call.state.normal(shape[-2]), call.state.normal(shape[-1])) if len(shape) > 1 else None


def compared(function: Callable[[float, float], bool]) -> Rule:
    """A comparison, elementwise."""
    return lambda call: _compared(call, function)


_OTHER_WAY_ROUND: dict[Callable[[float, float], bool], Callable[[float, float], bool]] = {
    operator.le: operator.ge,
    operator.lt: operator.gt,
    operator.ge: operator.le,
    operator.gt: operator.lt,
}


def _compared(call: Call, function: Callable[[float, float], bool]) -> Mask:
    left, right = _pair(call)
    first, second = (value.mask if isinstance(value, Tensor) else None for value in (left, right))
    given = padding.compared(call.node, function, first, second)
    if isinstance(first, Positions) and isinstance(second, Positions) and first.column != second.column:
        # Keys on the left: s <= t is t >= s.
        ordered = _OTHER_WAY_ROUND.get(function) if second.column else function
        if ordered is None or ordered not in _OTHER_WAY_ROUND:
            return BY_PLACE
        rows, columns = (first, second) if first.column else (second, first)
        lower_or_upper = _ordered(ordered)
        if rows.count is None or columns.count is None:
            return lower_or_upper
        return replace(lower_or_upper, grid=(rows.count, columns.count))
    one, other = mask_of(left, call.interpreter), mask_of(right, call.interpreter)
    if any(mask is not None and mask.random for mask in (one, other)):
        return replace(DRAWN, boolean=True)
    if one is None or other is None or not (one.uniform or other.uniform):
        return given or GIVEN
    return combined(function, one, other, boolean=True)


def _ordered(function: Callable[[float, float], bool]) -> Mask:
    """Where the position of a query, on the left, compares so with that of a key."""
    lower = triangle(0 if function in (operator.ge, operator.lt) else -1)
    return lower if function in (operator.ge, operator.gt) else lower.changed(operator.not_, boolean=True)


def _cast(call: Call, mask: Mask) -> Mask:
    kinds = [value for name, value in call.keywords.items() if name == "dtype"] or list(call.args[1:])
    boolean = mask.boolean
    for kind in kinds:
        match kind:
            case Qualified(name) if name == "torch.bool":
                return mask.changed(bool, boolean=True)
            case Qualified(name) if name == "builtins.bool":
                return mask.changed(bool, boolean=True)
            case Qualified() | Tensor() | Method(name="dtype"):
                boolean = False
            case Unknown(key):
                boolean = _of_an_unknown(call, key, boolean)
    return replace(mask, boolean=boolean)


def _of_an_unknown(call: Call, key: Key | None, before: bool | None) -> bool | None:
    """The type that ``.to(…)`` gives: a number's, that of before where it is given a device, or one not known."""
    node = None if key is None else call.interpreter.node(key)
    if key is None:
        return None
    if any(name.endswith("dtype") for name in (*key.names, last_name(node))):
        return False
    on_a_device = key.says(DEVICE) or (node is not None and names_said(DEVICE, node))
    return before if on_a_device else None


def _chosen(where: Mask | None, yes: Mask | None, no: Mask | None) -> Mask | None:
    """``torch.where`` of masks and numbers, each of them known or not."""
    if where is None or (yes is None and no is None):
        return None
    where, yes, no = where.changed(bool, boolean=True), yes or NOT_KNOWN, no or NOT_KNOWN
    diagonals = {mask.diagonal for mask in (where, yes, no)} - {None}
    diagonal = next(iter(diagonals)) if len(diagonals) == 1 else None
    if diagonal is None and diagonals:
        where, yes, no = where.somewhere(), yes.somewhere(), no.somewhere()
    sides = []
    for inside in (True, False):
        told, first, second = (_side(mask, diagonal, where, inside=inside) for mask in (where, yes, no))
        parts = [part for flag, part in ((1.0, first), (0.0, second)) if told is None or flag in told]
        known = [part for part in parts if part is not None]
        sides.append(frozenset[float]().union(*known) if len(known) == len(parts) else None)
    boolean = yes.boolean if yes.boolean == no.boolean else False
    told_by_padding = padding.chosen(where, yes, no)
    sizes = next((mask.sizes for mask in (where, yes, no) if mask.sizes is not None), None)
    grid = common_grid((where, yes, no), diagonal)
    return Mask(sides[0], sides[1], boolean, diagonal, sizes, padding=told_by_padding, grid=grid)


def _side(mask: Mask, diagonal: int | None, where: Mask, *, inside: bool) -> Numbers:
    """The numbers of a mask on one side: of the diagonal, or of the condition that chooses."""
    if (diagonal is not None and mask.diagonal == diagonal) or (diagonal is None and mask is where):
        return mask.inside if inside else mask.outside
    return mask.numbers


# --- arrays ----------------------------------------------------------------------------------------------------------

_OF_NUMPY: dict[str, Rule] = {
    "numpy.ones": made(1.0),
    "numpy.zeros": made(0.0),
    "numpy.full": made_full,
    "numpy.tril": lower_triangle,
    "numpy.triu": upper_triangle,
}
_OF_AN_ARRAY = ("torch.from_numpy", "torch.as_tensor", "torch.tensor", "numpy.asarray", "numpy.array")


def of_array(name: str, call: Call) -> Value | None:
    """A mask that is made by numpy, or of an array that is one."""
    if name in _OF_AN_ARRAY:
        if not call.args or mask_of(call.args[0], call.interpreter) is None or _is_number(call):
            return None
        return _on_the_default_device(name, call)
    rule = _OF_NUMPY.get(name)
    mask = None if rule is None else rule(call)
    return None if mask is None else Tensor(key=call.interpreter.key(call.node), mask=mask)


def _on_the_default_device(name: str, call: Call) -> Value:
    """The tensor that an array is made into; a tensor, and what names a device, stays where it is."""
    array = call.args[0]
    key = array.key if isinstance(array, Tensor) else None
    node = None if key is None else call.interpreter.node(key)
    by_numpy = isinstance(node, ast.Call) and (call.interpreter.names.qualify(node.func) or "").startswith("numpy.")
    if not by_numpy or not name.startswith("torch.") or call.keywords.keys() & {"device", "**"}:
        return array
    assert isinstance(array, Tensor)
    return replace(array, homes=(call.node,))


def _is_number(call: Call) -> bool:
    return isinstance(call.args[0], (Int, Number, Const))
