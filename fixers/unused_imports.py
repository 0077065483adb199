"""Imports that an edit makes unused, and the edits that delete them.

What an ``__init__.py`` imports, what ``__all__`` names and what is imported ``as`` its own name are there for others.
An import that is alone in its block stays, since an empty block is no Python. In a notebook, lines that IPython alone
reads may use an import too: they are comments here, and an import that a comment names stays.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache

from msgspec import Struct

from mha_lint.findings import Edit, Position
from mha_lint.fixers.pieces import Piece, pieces, starts_of, tree_of
from mha_lint.parsing import parse_expression

_Statement = ast.Import | ast.ImportFrom
_WORD = re.compile(r"\w+")


class _Imported(Struct, frozen=True):
    """One name of an import statement."""

    bound: str
    index: int  # among the names of the statement
    statement: _Statement
    alone: bool  # in its block


class _Module(Struct, frozen=True):
    imported: tuple[_Imported, ...]
    statements: tuple[_Statement, ...]
    used: Counter[str]  # how often each name is read


def tidied(text: str, edits: Iterable[Edit], filename: str) -> tuple[Edit, ...]:
    """The edits, and those that delete the imports which ``text`` uses and which nothing uses once the edits are made.

    Several fixes may make an import unused together: what each deletes of the imports is worked out anew for all.
    """
    edits = tuple(edits)
    if not edits or filename == "__init__.py":
        return edits
    before = _read(text)
    if before is None:
        return edits
    made = tuple(edit for edit in edits if edit.content or not any(_lies_in(edit, each) for each in before.statements))
    touched = pieces(text, made)
    if any(piece.after is None for piece in touched):
        return edits
    lost = _lost(before, touched)
    lost -= _in_comments(text) if lost and filename.endswith(".ipynb") else set()
    gone = [each for each in before.imported if each.bound in lost and not each.alone]
    if not gone:
        return made
    starts = starts_of(text)
    lines = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    for statement in dict.fromkeys(each.statement for each in gone):
        made += tuple(_without([each.index for each in gone if each.statement is statement], statement, lines))
    return made


@lru_cache(maxsize=2)
def _read(text: str) -> _Module | None:
    """Collect what a module imports and uses; None where it is no Python for this interpreter."""
    tree = tree_of(text)
    if tree is None:
        return None
    statements = tuple(node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    return _Module(tuple(_imported(tree)), statements, Counter(_used(tree)))


def _lost(before: _Module, touched: Iterable[Piece]) -> set[str]:
    """The names that are read before some edits, and nowhere once they are made."""
    there: Counter[str] = Counter()
    left: set[str] = set()
    for piece in touched:
        there.update(_used(*piece.before))
        left |= set(_used(*piece.after or ()))
    return {name for name, count in there.items() if count == before.used[name] and name not in left}


def _in_comments(text: str) -> set[str]:
    """The words behind the first ``#`` of each row."""
    return {word for row in text.splitlines() for word in _WORD.findall(row.partition("#")[2])}


def _lies_in(edit: Edit, statement: _Statement) -> bool:
    """An edit is on the rows of a statement, and on no others but the start of the next."""
    end = statement.end_lineno or statement.lineno
    return statement.lineno <= edit.start.row <= end and edit.end <= Position(end + 2, 1)


def _imported(tree: ast.Module) -> Iterator[_Imported]:
    """All names that the module imports, unless they are meant for others."""
    public = _public(tree)
    for block in _blocks(tree):
        for statement in block:
            if not isinstance(statement, ast.Import | ast.ImportFrom) or _is_of_the_future(statement):
                continue
            for index, name in enumerate(statement.names):
                bound = name.asname or name.name.partition(".")[0]
                if bound not in public and name.asname != name.name and name.name != "*":
                    yield _Imported(bound, index, statement, alone=len(block) == 1)


def _is_of_the_future(statement: _Statement) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _blocks(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                yield block


def _public(tree: ast.Module) -> set[str]:
    """The names in ``__all__``, however it is put together."""
    names: set[str] = set()
    for statement in tree.body:
        if not isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr):
            continue
        if any(isinstance(node, ast.Name) and node.id == "__all__" for node in ast.walk(statement)):
            names |= set(_strings(statement))
    return names


def _used(*nodes: ast.AST) -> Iterator[str]:
    """The names that are read somewhere, each as often as it is, annotations in quotes included."""
    for node in nodes:
        for each in ast.walk(node):
            if isinstance(each, ast.Name):
                yield each.id
            annotation = getattr(each, "annotation", None) or getattr(each, "returns", None)
            for quoted in () if annotation is None else _strings(annotation):
                try:
                    yield from _used(parse_expression(quoted))
                except (SyntaxError, ValueError):
                    continue


def _strings(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def _without(indices: list[int], statement: _Statement, lines: list[str]) -> list[Edit]:
    """The edits that delete some names of an import statement, or all of it."""
    start, end = _position(statement, lines), _end(statement, lines)
    names = statement.names
    if len(indices) == len(names):
        around = lines[start.row - 1][: start.column - 1] + lines[end.row - 1][end.column - 1 :]
        if around.strip() and not around.strip().startswith("#"):
            return []  # another statement stands on that line
        below = end.row + 1
        blank_above = start.row == 1 or not lines[start.row - 2].strip()
        if blank_above and below <= len(lines) and not lines[below - 1].strip():
            below += 1  # one of the two blank lines that it stood between
        return [Edit(Position(start.row, 1), Position(below, 1), "")]
    if any(line.count("#") for line in lines[start.row - 1 : end.row]):
        return []  # a comment may speak of one of the names
    found: list[Edit] = []
    kept_before = False
    for index, name in enumerate(names):
        if index not in indices:
            kept_before = True
        elif kept_before:
            found.append(Edit(_end(names[index - 1], lines), _end(name, lines), ""))
        else:
            found.append(Edit(_position(name, lines), _position(names[index + 1], lines), ""))
    return found


def _position(node: ast.stmt | ast.alias, lines: list[str]) -> Position:
    return Position(node.lineno, _column(lines[node.lineno - 1], node.col_offset))


def _end(node: ast.stmt | ast.alias, lines: list[str]) -> Position:
    row = node.end_lineno or node.lineno
    return Position(row, _column(lines[row - 1], node.end_col_offset or 0))


def _column(line: str, offset: int) -> int:
    """The column, from 1 and in characters, of an offset in bytes."""
    return len(line.encode()[:offset].decode(errors="ignore")) + 1
