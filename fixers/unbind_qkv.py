"""MHA002: unbind at the packed dimension before permuting, or index."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from mha_lint.findings import Edit, Fix, Position
from mha_lint.fixers.arguments import with_keyword
from mha_lint.fixers.shape_comments import Comment, comments_above, comments_on
from mha_lint.syntax import usage
from mha_lint.syntax.nodes import last_name

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.unbind_qkv import Unbinding
    from mha_lint.syntax.exact import Exact

_OPTION = 'indexing instead (`qkv-split = "index"`) is no faster forward, and slower in training'
_PACKED = {3: frozenset({"3", "three", "qkv"}), 2: frozenset({"2", "two", "kv", "qk"})}  # as comments call the dim
_VIEWS = frozenset({"view", "reshape", "unflatten"})


class _Reordering(Struct, frozen=True):
    """``receiver.permute(…)`` that brings dimension ``packed`` to the front; ``order`` is the whole permutation.

    It is ``packed`` alone where that is counted from the end.
    """

    call: ast.Call
    method: ast.Attribute
    order: tuple[int, ...]

    @property
    def receiver(self) -> ast.expr:
        return self.method.value

    @property
    def packed(self) -> int:
        return self.order[0]

    @property
    def rest(self) -> tuple[int, ...]:
        """The order of each part's own dimensions, once the packed one is gone."""
        return tuple(dim - (dim > self.packed) for dim in self.order[1:])


def fix(hit: Hit[Unbinding], context: Context) -> Fix | str:
    """Candidate edits, or why the line stays."""
    unbinding = hit.evidence
    if unbinding.statement is None or not unbinding.targets or not all(unbinding.targets):
        return "the parts are not assigned to plain names in a statement of their own"
    if not context.places.stands_alone(unbinding.statement):
        return "the statement shares its line with another"
    if context.settings.qkv_split == "index" or unbinding.inference:
        return _index(unbinding, context)
    return _unbind_first(unbinding, context)


# --- unbind before permuting -------------------------------------------------------------------------------------


def _unbind_first(unbinding: Unbinding, context: Context) -> Fix | str:
    places = context.places
    inline = _reordering(unbinding.packed)
    if inline is not None:
        edits = _without_reordering(inline, places)
    else:
        if not isinstance(unbinding.packed, ast.Name):
            return f"{_unreadable(unbinding.packed)}; {_OPTION}"
        found = _assigned_before(unbinding, unbinding.packed.id, context)
        if isinstance(found, str):
            return found
        inline, edits = found
    if not _shows_view(inline, unbinding, context):
        return f"the view that makes the packed dimension is not visible here; {_OPTION}"
    edits = [*edits, *_unbind_at(unbinding, inline.packed, places)]
    step = _reorder_text(inline.rest)
    false, late = _comments_that_change(inline, unbinding, context)
    if step is not None:
        assert unbinding.statement is not None
        names = ", ".join(unbinding.targets)
        line = f"{names} = {', '.join(f'{name}{step}' for name in unbinding.targets)}"
        line = "  ".join([line, *(comment.text for comment in late)])
        edits += [comment.dropped() for comment in late]
        edits.append(places.lines_after(unbinding.statement, [line]))
    message = f"Unbind at dimension {inline.packed}, before permuting"
    if false:
        message += f"; drop the comment {' and '.join(f'`{each.text}`' for each in false)}, which no longer holds"
    return Fix("safe", "equivalent", message, _without_comments(false, edits, inline, places))


def _comments_that_change(
    found: _Reordering, unbinding: Unbinding, context: Context
) -> tuple[list[Comment], list[Comment]]:
    """The comments that tell the shape of the permuted tensor, which is no more, and those that tell its parts'.

    The parts have their shape one statement later than before.
    """
    places, unbound = context.places, unbinding.statement
    assert unbound is not None
    permuted = places.statement(found.call) or unbound
    packed = _PACKED.get(len(unbinding.targets), frozenset())
    rows = dict.fromkeys((*places.rows(permuted), *places.rows(unbound)))
    near = [*comments_on(rows, places), *comments_above(places.start(permuted).row, places)]
    if unbound is not permuted:
        near += comments_above(places.start(unbound).row, places)
    rank = len(found.order)
    false = [each for each in near if any(len(sizes) == rank and sizes[0] in packed for sizes in each.shapes())]
    behind = comments_on([places.end(unbound).row], places)
    late = [each for each in behind if each not in false and any(len(sizes) == rank - 1 for sizes in each.shapes())]
    return false, late


def _without_comments(
    comments: list[Comment], edits: list[Edit], found: _Reordering, places: Exact
) -> tuple[Edit, ...]:
    """The edits and those that drop comments; one that loses what it stood behind goes with its line."""
    for comment in comments:
        row = comment.start.row
        statement = [edit for edit in edits if edit.start.row == row and edit.end > comment.start]
        if statement:  # it is deleted up to the comment
            edits = [edit for edit in edits if edit not in statement]
            edits.append(Edit(Position(row, 1), Position(row + 1, 1), ""))
            continue
        edits.append(comment.dropped())
        start, end = places.end_of_receiver(found.method), places.end(found.call)
        if start.row == row and end == comment.start and not places.line(row)[: start.column - 1].strip():
            above = places.line(row - 1).rstrip("\r\n")
            edits.append(Edit(Position(row - 1, len(above) + 1), start, ""))
    return tuple(edits)


def _reordering(node: ast.expr) -> _Reordering | None:
    """Read ``x.permute(2, 0, 3, 1, 4)``, ``x.movedim(2, 0)`` or ``x.transpose(0, 2)`` off an expression."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)) or node.keywords:
        return None
    values = node.args
    if len(values) == 1 and isinstance(values[0], (ast.Tuple, ast.List)):
        values = values[0].elts
    dims = [dim for dim in map(_whole_number, values) if dim is not None]
    if len(dims) != len(values):
        return None
    name = node.func.attr
    order: list[int]
    if name == "permute" and sorted(dims) == list(range(len(dims))) and len(dims) > 1:
        order = dims
    elif name in ("movedim", "moveaxis") and len(dims) == 2 and dims[1] == 0:
        order = [dims[0], *range(dims[0])]  # the others keep their places, all where it is counted from the end
    elif name in ("transpose", "swapaxes") and len(dims) == 2 and 0 in dims and max(dims) in (1, 2):
        packed = max(dims)
        order = [packed, *range(1, packed), 0]
    else:
        return None
    return None if order[0] == 0 else _Reordering(node, node.func, tuple(order))


def _whole_number(node: ast.expr) -> int | None:
    """The whole number that a literal spells, with its sign."""
    match node:
        case ast.Constant(value=int(number)) if type(number) is int:
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))) if type(number) is int:
            return -number
        case _:
            return None


_REORDERS = frozenset({"permute", "movedim", "moveaxis", "transpose", "swapaxes", "swapdims", "rearrange"})


def _unreadable(packed: ast.expr) -> str:
    """Say why an expression that is unbound is not simply a permuted view."""
    behind = ""
    node = packed
    while isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)):
        name = last_name(node.func)
        if name in _REORDERS:
            if behind:
                return f"`.{behind}()` stands between `{name}`, which reorders the dimensions, and the unbinding"
            return f"how `{name}` reorders the dimensions is not told by numbers alone"
        behind = name
        if not isinstance(node.func, ast.Attribute):
            break
        node = node.func.value
    return "the permute that brings the packed dimension to the front is not visible here"


def _without_reordering(found: _Reordering, places: Exact) -> list[Edit]:
    """Delete ``.permute(…)`` with the white space before it, but not a comment."""
    return [Edit(places.end_of_receiver(found.method), places.end(found.call), "")]


def _assigned_before(unbinding: Unbinding, name: str, context: Context) -> tuple[_Reordering, list[Edit]] | str:
    """The permute in every assignment of ``name`` that reaches the unbinding, if nothing else reads the value."""
    places = context.places
    assert unbinding.statement is not None
    assignments = usage.reaching(unbinding.statement, name, places)
    if not assignments:
        return f"the permute that brings the packed dimension to the front is not visible here; {_OPTION}"
    found = [_reordering(assignment.value) for assignment in assignments]
    first = found[0]
    if first is None or any(other is None or other.order != first.order for other in found):
        return f"`{name}` is not simply a permuted view where it is assigned; {_OPTION}"
    if usage.read_later(unbinding.statement, name, places):
        return f"`{name}` is used elsewhere in its permuted form; {_OPTION}"
    edits: list[Edit] = []
    for assignment, other in zip(assignments, found, strict=True):
        assert other is not None
        onto_itself = isinstance(other.receiver, ast.Name) and other.receiver.id == name
        if onto_itself and places.stands_alone(assignment) and len(places.block(assignment)) > 1:
            edits.append(places.without_statement(assignment))  # nothing but `qkv = qkv` would be left of it
        else:
            edits += _without_reordering(other, places)
    return first, edits


def _shows_view(found: _Reordering, unbinding: Unbinding, context: Context) -> bool:
    """The tensor that is permuted is seen to be a view of a packed one: its gradient is laid out in order."""
    receiver = found.receiver
    if isinstance(receiver, ast.Name):
        receiver = _last_assignment(receiver, unbinding, context) or receiver
    match receiver:
        case ast.Call(func=ast.Attribute(attr=method)):
            return method in _VIEWS
        case _:
            return False


def _last_assignment(name: ast.Name, unbinding: Unbinding, context: Context) -> ast.expr | None:
    """Return the value assigned to ``name`` that reaches the permutation; None unless there is exactly one."""
    statement = context.places.statement(name)
    assert unbinding.statement is not None
    assignments = usage.reaching(statement or unbinding.statement, name.id, context.places)
    return assignments[0].value if len(assignments) == 1 else None


def _unbind_at(unbinding: Unbinding, dim: int, places: Exact) -> list[Edit]:
    """Write the packed dimension into the unbind call, or the call where a tensor was just unpacked."""
    if not unbinding.explicit:
        return [places.insert(places.end(unbinding.packed), f".unbind({dim})")]
    call = unbinding.call
    assert isinstance(call, ast.Call)
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    for argument in arguments:
        if argument is not unbinding.packed:
            return [places.replace(argument, str(dim))]
    if arguments:  # torch.unbind(packed): dim defaults to 0
        return [*with_keyword(call, "dim", str(dim), places)]
    return [Edit(places.end(call.func), places.end(call), f"({dim})")]


def _reorder_text(rest: tuple[int, ...]) -> str | None:
    """The call that puts each part's dimensions in order, or None where they are."""
    moved = [index for index, dim in enumerate(rest) if index != dim]
    if not moved:
        return None
    if len(moved) == 2:
        return f".transpose({moved[0]}, {moved[1]})"
    return f".permute({', '.join(map(str, rest))})"


# --- index -------------------------------------------------------------------------------------------------------


def _index(unbinding: Unbinding, context: Context) -> Fix | str:
    places, statement = context.places, unbinding.statement
    assert statement is not None
    message = "Index the packed tensor"
    if isinstance(unbinding.packed, ast.Name):
        parts = _parts(unbinding.packed.id, len(unbinding.targets))
        return Fix("safe", "equivalent", message, (places.replace(unbinding.call, parts),))
    name = _free_name(unbinding, context)
    packed = places.whole(unbinding.packed)
    edit = places.replace(statement, f"{name} = {packed}")
    line = f"{', '.join(unbinding.targets)} = {_parts(name, len(unbinding.targets))}"
    return Fix("safe", "equivalent", message, (edit, places.lines_after(statement, [line])))


def _parts(name: str, count: int) -> str:
    return ", ".join(f"{name}[{index}]" for index in range(count))


def _free_name(unbinding: Unbinding, context: Context) -> str:
    """A name for the packed tensor that the file does not use."""
    base = "qkv" if len(unbinding.targets) == 3 else "kv"
    text = context.places.text
    candidates = [base, f"packed_{base}", *(f"{base}_{number}" for number in range(2, 100))]
    return next(name for name in candidates if not re.search(rf"\b{name}\b", text))
