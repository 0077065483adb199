"""What patterns of einops do to rotary tables, and to the vectors that turn by them."""

from __future__ import annotations

from msgspec.structs import replace

from mha_lint.model.einops_api import Groups, parse, pattern_of
from mha_lint.model.operations.turns import first_of, mark_of, marked, rank_of, with_phase
from mha_lint.model.rotary import Laid, Rotary, RotaryTable, Split, Stacked, Turned
from mha_lint.model.run import Call
from mha_lint.model.values import Tensor, Value, as_int


def rearranged(call: Call, result: Value) -> Value:
    """``rearrange(x, "... (d r) -> ... d r", r=2)``, and the way back."""
    mark, sides = mark_of(first_of(call) or call.keywords.get("tensor")), _sides(call)
    if sides is None:
        return marked(call, result, None)
    left, right, rank = sides
    made: Rotary | None
    match mark:
        case Stacked(by, pair):
            made = Turned(by, call.node) if _merged(left, right, pair) is by else None
        case RotaryTable(pair=int(pair)) if {mark.dim, pair} == {-1, -2}:
            laid = _merged(left, right, pair)
            made = None if laid is None else replace(mark, dim=-1, rank=rank, laid=laid, by=call.node, pair=None)
        case RotaryTable(pair=None):
            made = _moved(mark, left, right, rank)
        case _:
            made = _split(call, left, right)
    return with_phase(call, marked(call, result, made))


def repeated(call: Call, result: Value) -> Value:
    """``repeat(f, "... n -> ... (n r)", r=2)``."""
    return with_phase(call, _repeated(call, result))


def _repeated(call: Call, result: Value) -> Value:
    mark, sides = mark_of(first_of(call) or call.keywords.get("tensor")), _sides(call)
    if sides is None or not isinstance(mark, RotaryTable) or mark.pair is not None:
        return marked(call, result, None)
    left, right, rank = sides
    moved = _moved(mark, left, right, rank)
    if moved is not None:
        return marked(call, result, moved)
    (axis,) = left[mark.dim] if len(left) >= -mark.dim and len(left[mark.dim]) == 1 else ("",)
    match right[-1] if right else []:
        case [first, second] if axis and axis in (first, second) and mark.laid is Laid.ONCE:
            other = second if axis == first else first
            count = int(other) if other.isdigit() else as_int(call.keywords.get(other))
            laid = Laid.NEIGHBOURS if axis == first else Laid.HALVES
            twice = replace(mark, dim=-1, rank=rank, laid=laid, by=call.node) if count == 2 else None
            return marked(call, result, twice)
        case _:
            return marked(call, result, None)


def _sides(call: Call) -> tuple[Groups, Groups, int | None] | None:
    """The axes of both sides behind their ellipsis, and the number of dimensions of the result, where it is known."""
    pattern = pattern_of(call)
    if pattern is None:
        return None
    left, right = (parse(side.rpartition("...")[2]) for side in pattern)
    if left is None or right is None:
        return None
    if "..." not in pattern[1]:
        return left, right, len(right)
    tensor = first_of(call)
    rank = rank_of(tensor) if isinstance(tensor, Tensor) and "..." in pattern[0] else None
    return left, right, None if rank is None else rank - len(left) + len(right)


def _merged(left: Groups, right: Groups, pair: int) -> Laid | None:
    """How two parts are laid out that stand along the last two axes, one of which is the ``pair``, and are merged."""
    if len(left) < 2 or not right or len(left[-1]) != 1 or len(left[-2]) != 1:
        return None
    (two,), (other,) = left[pair], left[-3 - pair]
    if right[-1] == [other, two]:
        return Laid.NEIGHBOURS
    return Laid.HALVES if right[-1] == [two, other] else None


def _moved(table: RotaryTable, left: Groups, right: Groups, rank: int | None) -> RotaryTable | None:
    """The table, whose axis of frequencies stays an axis of its own."""
    axis = left[table.dim] if len(left) >= -table.dim else []
    if len(axis) != 1 or axis not in right:
        return None
    return replace(table, dim=right.index(axis) - len(right), rank=rank)


def _split(call: Call, left: Groups, right: Groups) -> Split | None:
    """A vector is taken apart into two axes, one of size 2."""
    if not left or len(left[-1]) != 2 or len(right) < 2:
        return None
    first, second = left[-1]
    sizes = as_int(call.keywords.get(first)), as_int(call.keywords.get(second))
    if (sizes[0] == 2) == (sizes[1] == 2):
        return None
    two, by = (second, Laid.NEIGHBOURS) if sizes[1] == 2 else (first, Laid.HALVES)
    if sorted((*right[-1], *right[-2])) != sorted((first, second)):
        return None
    return Split(by, -1 if right[-1] == [two] else -2)
