"""The part of a file that its suspects come to, as a module by itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from mha_lint.screen.outline import Function, Outline


@dataclass(frozen=True, slots=True)
class Part:
    """What of a file can lead to a finding: a module by itself, and the functions of it to begin from."""

    text: str
    roots: frozenset[str]  # "Class.method" or "function"


def part_of(
    file: Outline, text: str, roots: Sequence[Function], calls: Mapping[Function, Collection[Function]]
) -> Part:
    """The text without the classes and functions that the roots never come to, nor name."""
    if not roots:
        return Part("", frozenset())
    reached = _reached(roots, calls)
    owners = {file.owners[root] for root in roots if root in file.owners}
    needed = [cls.name for cls in file.every_class if not owners.isdisjoint(cls.lineage)]
    needed += [root.name for root in roots if root not in file.owners and not isinstance(root, ast.Lambda)]
    needed += [file.owners[function].name for function in reached if function in file.owners]
    kept: set[ast.stmt] = set()
    while needed:
        for statement in file.defined.get(needed.pop(), ()):
            if statement not in kept:
                kept.add(statement)
                needed += _mentioned(statement, reached)
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", text)
    out: list[str] = []
    for statement in file.body:
        if isinstance(statement, ast.ClassDef) and statement in kept:
            row = _first_row(statement) - 1
            for method in statement.body:
                if _is_left_out(method, reached):
                    out += lines[row : method.body[0].lineno - 1]
                    out.append(" " * method.body[0].col_offset + "...\n")
                    row = method.end_lineno or 0
            out += lines[row : statement.end_lineno]
        elif statement in kept or not isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            out += lines[_first_row(statement) - 1 : statement.end_lineno]
    names = (
        f"{file.owners[root].name}.{root.name}" if root in file.owners else root.name
        for root in roots
        if not isinstance(root, ast.Lambda)
    )
    return Part("".join(out), frozenset(names))


def _reached(roots: Sequence[Function], calls: Mapping[Function, Collection[Function]]) -> set[ast.AST]:
    """The roots and all that they call."""
    reached: set[ast.AST] = set()
    pending = list(roots)
    while pending:
        function = pending.pop()
        if function not in reached:
            reached.add(function)
            pending += calls.get(function, ())
    return reached


def _first_row(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _is_left_out(method: ast.stmt, reached: Collection[ast.AST]) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Whether a method is one that is never come to, and begins on a row of its own."""
    return (
        isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef))
        and method.name != "__init__"
        and method not in reached
        and method.body[0].lineno > method.lineno
    )


def _mentioned(statement: ast.stmt, reached: Collection[ast.AST]) -> list[str]:
    """The names that what is kept of a statement at the top level mentions."""
    if not isinstance(statement, ast.ClassDef):
        return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]
    kept: list[ast.AST] = [*statement.bases, *statement.decorator_list]
    for inner in statement.body:
        kept += [inner.args, *inner.decorator_list] if _is_left_out(inner, reached) else [inner]
    return [node.id for part in kept for node in ast.walk(part) if isinstance(node, ast.Name)]
