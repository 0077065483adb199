"""The arms that a rewrite changed, and marks that show which of them ran.

An arm is a stretch of code that Python runs or leaves out as one: a simple statement, the header of a compound one, or
an expression that is evaluated under a condition (an arm of ``a if b else c``, the right side of ``and``, the body of a
lambda, the element of a comprehension, the message of an assertion).

A mark is an empty list that is made, and dropped, right before the arm. It has a row of its own behind the end of the
text, so that whoever watches rows sees it. All else keeps its row: tracebacks, frames and sources tell the user's rows.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct

from mha_lint.parsing import parse
from mha_lint.validation.trials.coverage import Statement, counts, span_of

_SHOWN = 60  # characters of an arm in a message

# The fields that hold expressions which are evaluated under a condition, by the node that has them; of a list, from
# this index on.
_CONDITIONAL: dict[tuple[type[ast.AST], str], int] = {
    (ast.IfExp, "body"): 0,
    (ast.IfExp, "orelse"): 0,
    (ast.BoolOp, "values"): 1,
    (ast.Compare, "comparators"): 1,
    (ast.Lambda, "body"): 0,
    (ast.ListComp, "elt"): 0,
    (ast.SetComp, "elt"): 0,
    (ast.GeneratorExp, "elt"): 0,
    (ast.DictComp, "key"): 0,
    (ast.DictComp, "value"): 0,
    (ast.comprehension, "ifs"): 0,
    (ast.ListComp, "generators"): 1,
    (ast.SetComp, "generators"): 1,
    (ast.DictComp, "generators"): 1,
    (ast.GeneratorExp, "generators"): 1,
    (ast.Assert, "msg"): 0,
    (ast.ExceptHandler, "type"): 0,
    (ast.match_case, "pattern"): 0,
    (ast.match_case, "guard"): 0,
}
_ANNOTATIONS = frozenset({"annotation", "returns", "type_comment"})  # they may never be evaluated
_UNSAID = frozenset({"ctx", "kind", "type_comment"})  # fields that change nothing of the meaning


class Change(Struct, frozen=True):
    """The changed arms of both texts, and the trees of both with a mark at each of them."""

    before: frozenset[Statement]
    after: frozenset[Statement]
    marked_before: ast.Module | None
    marked_after: ast.Module | None


def change_of(before: str, after: str) -> Change:
    """Compare two texts, arm by arm. Raise what :func:`ast.parse` raises."""
    trees = parse(before), parse(after)
    ours, theirs = _changed(trees[0], trees[1], before, after)
    old, new = _statements(ours, before), _statements(theirs, after)
    _mark(trees[0], ours)
    _mark(trees[1], theirs)
    return Change(old, new, trees[0], trees[1])


class _Arm(Struct, frozen=True, eq=False):
    """``node`` is what stands in ``field`` of ``parent``, at ``index`` where that is a list.

    ``depth`` counts the blocks around a statement; it is 0 for an expression, so that one is the same when only the
    statement around it moved.
    """

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None
    depth: int
    row: int  # of its mark

    @property
    def first(self) -> int:
        decorators: list[ast.expr] = getattr(self.node, "decorator_list", [])
        return min([_row(self.node), *(item.lineno for item in decorators)])

    @property
    def last(self) -> int:
        if isinstance(self.node, ast.stmt):
            return span_of(self.node).last
        end = self.node.iter if isinstance(self.node, ast.comprehension) else self.node
        return getattr(end, "end_lineno", None) or _row(self.node)

    def key(self, inner: Collection[ast.AST]) -> str:
        """All that is its own: where it stands and what it says, but for the arms ``inner`` to it."""
        return f"{self.depth} {type(self.parent).__name__}.{self.field} {_said(self.node, inner)}"

    def words(self, lines: Sequence[str]) -> str:
        """The arm as it is written; "" for a statement that begins its row, which the number of the row tells."""
        if isinstance(self.node, ast.stmt):
            line = lines[self.node.lineno - 1].encode()
            if not line[: self.node.col_offset].strip():
                return ""
        text = " ".join(ast.unparse(self.node).split())
        text = f"case {text}" if isinstance(self.node, ast.pattern) else text
        return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _row(node: ast.AST) -> int:
    row: int = node.target.lineno if isinstance(node, ast.comprehension) else getattr(node, "lineno", 0)
    return row


def _arms(tree: ast.Module) -> list[_Arm]:
    """All arms in the order of the text. No recursion: expressions may be nested deeply."""
    found: list[_Arm] = []
    row = _rows(tree)
    pending: list[tuple[ast.AST, ast.AST, str, int | None, int]] = list(reversed(list(_children(tree, 0))))
    while pending:
        node, parent, field, index, depth = pending.pop()
        row += 1
        if isinstance(node, ast.stmt):
            if counts(node):
                found.append(_Arm(node, parent, field, index, depth, row))
        elif _is_conditional(parent, field, index) and not _is_plain_message(parent, node):
            found.append(_Arm(node, parent, field, index, 0, row))
        pending += reversed(list(_children(node, depth)))
    return found


def _rows(tree: ast.Module) -> int:
    return max((node.end_lineno or node.lineno for node in tree.body), default=0)


def _children(node: ast.AST, depth: int) -> Iterator[tuple[ast.AST, ast.AST, str, int | None, int]]:
    """The nodes right below ``node``, each with its place and the depth of its block."""
    for field, value in ast.iter_fields(node):
        if field in _ANNOTATIONS:
            continue
        items: Sequence[object] = value if isinstance(value, list) else [value]
        for index, item in enumerate(items):
            if not isinstance(item, ast.AST):
                continue
            deeper = isinstance(item, ast.stmt) and not _is_elif(node, item)
            yield item, node, field, index if isinstance(value, list) else None, depth + deeper


def _is_elif(parent: ast.AST, node: ast.stmt) -> bool:
    """Tell an ``elif``, which stands at the column of its ``if``, from an ``if`` within ``else``."""
    return isinstance(parent, ast.If) and isinstance(node, ast.If) and parent.col_offset == node.col_offset


def _is_conditional(parent: ast.AST, field: str, index: int | None) -> bool:
    start = _CONDITIONAL.get((type(parent), field))
    return start is not None and (index is None or index >= start)


def _is_plain_message(parent: ast.AST, node: ast.AST) -> bool:
    """Tell a message of an assertion that is but text: it does nothing, and where the assertion holds it never runs."""
    return isinstance(parent, ast.Assert) and isinstance(node, ast.Constant)


def _said(node: ast.AST, inner: Collection[ast.AST]) -> str:
    """The node in words that two texts share where they say the same; statements and arms within it are left out."""
    words: list[str] = []
    pending: list[object] = [node]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            words.append("[")
            pending += ["]", *reversed(item)]
        elif not isinstance(item, ast.AST):
            words.append(repr(item))
        elif item is not node and (isinstance(item, (ast.stmt, ast.ExceptHandler, ast.match_case)) or item in inner):
            words.append("" if isinstance(item, (ast.stmt, ast.ExceptHandler, ast.match_case)) else "...")
        else:
            words.append(type(item).__name__)
            pending += [value for name, value in reversed(list(ast.iter_fields(item))) if name not in _UNSAID]
    return " ".join(filter(None, words))


def _rows_of(source: str) -> list[str]:
    """The rows as Python counts them: a form feed, which ``str.splitlines`` heeds, begins none."""
    return re.split("\r\n|\r|\n", source)


def _changed(old: ast.Module, new: ast.Module, before: str, after: str) -> tuple[list[_Arm], list[_Arm]]:
    """The arms of each text that the other one lacks."""
    ours, theirs = _between(_arms(old), _arms(new), _rows_of(before), _rows_of(after))
    matcher = difflib.SequenceMatcher(None, _keys(ours), _keys(theirs), autojunk=False)
    removed: list[_Arm] = []
    added: list[_Arm] = []
    for tag, first, last, new_first, new_last in matcher.get_opcodes():
        if tag != "equal":
            removed += ours[first:last]
            added += theirs[new_first:new_last]
    return removed, added


def _keys(arms: Sequence[_Arm]) -> list[str]:
    nodes = {arm.node for arm in arms}
    return [arm.key(nodes) for arm in arms]


def _between(
    ours: list[_Arm], theirs: list[_Arm], before: Sequence[str], after: Sequence[str]
) -> tuple[list[_Arm], list[_Arm]]:
    """The arms that do not lie in the rows which both texts begin with, or end with."""
    shorter = min(len(before), len(after))
    head = next((row for row in range(shorter) if before[row] != after[row]), shorter)
    rest = shorter - head
    tail = next((row for row in range(rest) if before[-1 - row] != after[-1 - row]), rest)
    starts = [sum(1 for arm in arms if arm.last <= head) for arms in (ours, theirs)]
    ends = [sum(1 for arm in arms if arm.first > len(rows) - tail) for arms, rows in ((ours, before), (theirs, after))]
    if starts[0] != starts[1] or ends[0] != ends[1]:
        return ours, theirs  # a row may lie within a string in one of the two
    return (
        [arm for arm in ours if head < arm.last and arm.first <= len(before) - tail],
        [arm for arm in theirs if head < arm.last and arm.first <= len(after) - tail],
    )


def _statements(arms: Sequence[_Arm], source: str) -> frozenset[Statement]:
    lines = _rows_of(source)
    return frozenset(Statement(_row(arm.node), arm.last, mark=arm.row, words=arm.words(lines)) for arm in arms)


def _mark(tree: ast.Module, arms: Sequence[_Arm]) -> None:
    """Put a mark before each of the arms, the last one first, so that places in lists stay what they are."""
    for arm in reversed(arms):
        if isinstance(arm.node, ast.stmt):
            getattr(arm.parent, arm.field).insert(arm.index, _mark_before_statements(arm.row))
        elif isinstance(arm.parent, ast.match_case) and isinstance(arm.node, ast.pattern):
            if arm.parent.guard is not None:
                arm.parent.guard = _with_mark(arm.parent.guard, arm.row)
            else:
                arm.parent.body.insert(0, _mark_before_statements(arm.row))
        elif isinstance(arm.node, ast.comprehension):
            arm.node.iter = _with_mark(arm.node.iter, arm.row)
        elif arm.index is not None:
            values = getattr(arm.parent, arm.field)
            values[arm.index] = _with_mark(values[arm.index], arm.row)
        else:
            setattr(arm.parent, arm.field, _with_mark(getattr(arm.parent, arm.field), arm.row))


def _mark_before_statements(row: int) -> ast.Expr:
    return ast.Expr(_list_at(row), lineno=row, col_offset=0, end_lineno=row, end_col_offset=0)


def _with_mark(node: ast.expr, row: int) -> ast.expr:
    """``([], node)[1]``: compilers do not fold an empty list away, and no name is needed for it."""
    pair = ast.copy_location(ast.Tuple([_list_at(row), node], ast.Load()), node)
    second = ast.copy_location(ast.Constant(1), node)
    return ast.copy_location(ast.Subscript(pair, second, ast.Load()), node)


def _list_at(row: int) -> ast.List:
    return ast.List([], ast.Load(), lineno=row, col_offset=0, end_lineno=row, end_col_offset=0)
