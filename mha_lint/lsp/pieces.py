"""A text in pieces that stand on their own, and what has become of them, and of their rows, in another text."""

from __future__ import annotations

import ast
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.files import Source, SourceError
from mha_lint.linter import parse
from mha_lint.syntax.module import Module
from mha_lint.syntax.nodes import FUNCTIONS, Function, walk
from mha_lint.syntax.rows import apart
from mha_lint.syntax.words import names_in

_DEFINED = (*FUNCTIONS, ast.ClassDef)


class Piece(Struct, frozen=True, eq=False):
    """Statements that share rows with no others: the rows ``first`` to ``last``, counted from 1, and their text."""

    first: int
    last: int
    text: str
    statements: Sequence[ast.stmt]


class Text:
    """A source, and the pieces of its top level."""

    def __init__(self, source: Source, module: Module) -> None:
        self.source, self.module = source, module
        self.pieces = tuple(_pieces(module.tree.body, module))

    def piece(self, row: int) -> Piece | None:
        """The piece that a row lies in; None for a row between them."""
        index = bisect_right(self.pieces, row, key=lambda piece: piece.first) - 1
        return self.pieces[index] if index >= 0 and row <= self.pieces[index].last else None


def read(source: Source, earlier: Text | None = None) -> Text:
    """Cut a source into pieces. Of an earlier text, those that are the same in the same rows are not parsed again.

    Raises what :func:`mha_lint.linter.parse` raises.
    """
    tree = None if earlier is None else _parsed_in_part(source, earlier)
    return Text(source, parse(source) if tree is None else Module(source.text, tree))


def _parsed_in_part(source: Source, earlier: Text) -> ast.Module | None:
    """The tree of a source, of which only the rows from the first to the last changed piece are parsed.

    Where rows were added or deleted, all that is below is parsed. Pieces are whole statements, and so what lies between
    two of them is Python by itself, or the source is not. None where it is not.
    """
    pieces = earlier.pieces
    old, new = earlier.module.data, source.text.encode("utf-8", "surrogatepass")
    head, tail, first, last = _unlike(earlier, new)
    rows = new[first : last + len(new) - len(old)]
    if len(rows.splitlines()) != len(old[first:last].splitlines()):
        tail, rows = len(pieces), new[first:]
    if not _is_at_row(new, first) or not _is_at_row(new, first + len(rows)):
        return None
    text = "\n" * (pieces[head - 1].last if head else 0) + rows.decode("utf-8", "surrogatepass")
    part = replace(source, text=text, data=text.encode("utf-8", "surrogatepass"), notebook=None)
    try:
        changed = parse(part).tree.body
    except SourceError:
        return None
    above, below = ([each for piece in group for each in piece.statements] for group in (pieces[:head], pieces[tail:]))
    return ast.Module([*above, *changed, *below], [])


def _unlike(earlier: Text, new: bytes) -> tuple[int, int, int, int]:
    """The pieces of a text that are not the same in another one, from one index to the next, and their span in bytes.

    The rows between the pieces count with them.
    """
    pieces, starts, old = earlier.pieces, earlier.module.starts, earlier.module.data
    ends = [0, *(starts[piece.last] for piece in pieces)]
    head, tail, last, more = 0, len(pieces), len(old), len(new) - len(old)
    while head < tail and new[ends[head] : ends[head + 1]] == old[ends[head] : ends[head + 1]]:
        head += 1
    while tail > head:
        start = starts[pieces[tail - 1].first - 1]
        if start + more < ends[head] or new[start + more : last + more] != old[start:last]:
            break
        tail, last = tail - 1, start
    return head, tail, ends[head], last


def _is_at_row(data: bytes, offset: int) -> bool:
    """Tell whether a row starts there, or the text ends."""
    if offset in (0, len(data)):
        return True
    return data[offset - 1 : offset] == b"\n" or (
        data[offset - 1 : offset] == b"\r" and data[offset : offset + 1] != b"\n"
    )


class Edited:
    """What of one text is another way in the next."""

    def __init__(self, before: Text, after: Text) -> None:
        self.before, self.after = before, after
        self.pairs: list[tuple[Piece | None, Piece | None]] = []  # changed pieces; None: it was not there, or is not
        self._rows: dict[int, int] = {}  # by the row before
        for old, new, is_same in _runs([each.text for each in before.pieces], [each.text for each in after.pieces]):
            pieces, others = before.pieces[old], after.pieces[new]
            if is_same:
                for piece, other in zip(pieces, others, strict=True):
                    self._note_rows(piece, other)
            else:
                self._pair(pieces, others)
        self._changed_before = {id(piece) for piece, _ in self.pairs}
        self._changed_after = {id(piece) for _, piece in self.pairs}

    def row(self, row: int) -> int | None:
        """The row that one has become, changed or not; None where it is gone."""
        return self._rows.get(row)

    def is_changed(self, row: int) -> bool:
        """Tell whether a row of the text before lies in a piece that has changed."""
        return id(self.before.piece(row)) in self._changed_before

    def has_changed(self, row: int) -> bool:
        """Tell whether a row of the text after lies in such a piece."""
        return id(self.after.piece(row)) in self._changed_after

    def entries(self) -> tuple[set[ast.AST], set[ast.AST]]:
        """The classes, methods and functions that changed, before and after, and the methods that mention these."""
        before, after = set[ast.AST](), set[ast.AST]()
        for old, new in self.pairs:
            match _only_class(old), _only_class(new):
                case ast.ClassDef() as cls, ast.ClassDef() as other:
                    assert old is not None and new is not None
                    names = _methods_changed(cls, other, self.before.module, self.after.module)
                    before |= {cls} if names is None else _methods(cls, names)
                    after |= {other} if names is None else _methods(other, names)
                case _:
                    before |= _defined(old)
                    after |= _defined(new)
        return before, after

    def _pair(self, pieces: Sequence[Piece], others: Sequence[Piece]) -> None:
        """Tell which of the changed pieces was which: those in the same order, or of the same name."""
        if len(pieces) == len(others):
            pairs = list(zip(pieces, others, strict=True))
        else:
            named = {_name(other): other for other in others if _name(other)}
            pairs = [(piece, named.pop(_name(piece))) for piece in pieces if _name(piece) in named]
        for piece, other in pairs:
            self._note_rows(piece, other)
        left = {id(each) for pair in pairs for each in pair}
        self.pairs += pairs
        self.pairs += [(piece, None) for piece in pieces if id(piece) not in left]
        self.pairs += [(None, other) for other in others if id(other) not in left]

    def _note_rows(self, piece: Piece, other: Piece) -> None:
        if piece.text == other.text:
            self._rows.update(zip(range(piece.first, piece.last + 1), range(other.first, other.last + 1), strict=True))
            return
        rows = [self.before.module.line(row) for row in range(piece.first, piece.last + 1)]
        others = [self.after.module.line(row) for row in range(other.first, other.last + 1)]
        for old, new, _ in _runs(rows, others):
            if old.stop - old.start == new.stop - new.start:
                known = range(piece.first + old.start, piece.first + old.stop)
                self._rows.update(zip(known, range(other.first + new.start, other.first + new.stop), strict=True))


def _pieces(block: Sequence[ast.stmt], module: Module) -> Iterator[Piece]:
    for first, last, statements in apart(block, module.line):
        yield Piece(first, last, module.rows(first, last), statements)


def _runs(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[slice, slice, bool]]:
    """Cut two lists into runs that are the same in both, and those that are not."""
    most = min(len(before), len(after))
    head = next((index for index in range(most) if before[index] != after[index]), most)
    tail = next((index for index in range(most - head) if before[-1 - index] != after[-1 - index]), most - head)
    yield slice(0, head), slice(0, head), True
    end, other_end = len(before) - tail, len(after) - tail
    matcher = SequenceMatcher(None, before[head:end], after[head:other_end], autojunk=False)
    for tag, first, last, start, stop in matcher.get_opcodes():
        yield slice(head + first, head + last), slice(head + start, head + stop), tag == "equal"
    yield slice(end, len(before)), slice(other_end, len(after)), True


# --- what changed in a class -----------------------------------------------------------------------------------------


def _only_class(piece: Piece | None) -> ast.ClassDef | None:
    match piece.statements if piece is not None else ():
        case [ast.ClassDef() as cls]:
            return cls
        case _:
            return None


def _name(piece: Piece) -> str:
    match piece.statements:
        case [ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name)]:
            return name
        case _:
            return ""


def _defined(piece: Piece | None) -> set[ast.AST]:
    """The classes and functions that statements define, under conditions too."""
    return {node for node in walk(*(piece.statements if piece is not None else ())) if isinstance(node, _DEFINED)}


def _methods(cls: ast.ClassDef, names: frozenset[str]) -> set[ast.AST]:
    return {node for node in cls.body if isinstance(node, FUNCTIONS) and node.name in names}


def _methods_changed(
    cls: ast.ClassDef, other: ast.ClassDef, module: Module, other_module: Module
) -> frozenset[str] | None:
    """The names of the methods that changed, and of those that mention them; None where all of the class is concerned.

    That is so where anything but a method changed. What a constructor does tells ``forward``.
    """
    if cls.name != other.name or not _have_same_frame(cls, other):
        return None
    before, after = _by_name(cls), _by_name(other)
    names = set[str]()
    for name in before.keys() | after.keys():
        if not _are_same(before[name], after[name], module, other_module):
            names.add(name)
    changed = _with_mentioning(names, [*before.items(), *after.items()])
    if "__init__" in changed:
        return frozenset({*changed, "forward"}) if "forward" in after else None
    return frozenset(changed)


def _have_same_frame(cls: ast.ClassDef, other: ast.ClassDef) -> bool:
    """Two classes are the same but for their methods."""
    return [*map(ast.dump, _frame(cls))] == [*map(ast.dump, _frame(other))]


def _frame(cls: ast.ClassDef) -> list[ast.AST]:
    rest = [each for each in cls.body if not isinstance(each, FUNCTIONS)]
    return [*cls.decorator_list, *cls.bases, *cls.keywords, *rest]


def _by_name(cls: ast.ClassDef) -> defaultdict[str, list[Function]]:
    found = defaultdict[str, list[Function]](list)
    for node in cls.body:
        if isinstance(node, FUNCTIONS):
            found[node.name].append(node)
    return found


def _are_same(nodes: list[Function], others: list[Function], module: Module, other_module: Module) -> bool:
    """Functions are the same, wherever they stand and whatever comments are in them."""
    if [*map(module.whole, nodes)] == [*map(other_module.whole, others)]:
        return True
    return [*map(ast.dump, nodes)] == [*map(ast.dump, others)]


def _with_mentioning(names: set[str], methods: Sequence[tuple[str, list[Function]]]) -> set[str]:
    """The names of methods, and of those that mention one of these, or one that does."""
    found = more = set(names)
    while more:
        more = {
            name
            for name, nodes in methods
            if name not in found and any(not more.isdisjoint(names_in(node)) for node in nodes)
        }
        found = found | more
    return found
