"""The part of a file that its suspects come to, as a module by itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeGuard

from mha_lint.screen import tensor_work
from mha_lint.screen.outline import Function, Outline, statements_of

_VISIBLE = re.compile(rb"[^\r\n]")
_LINE_END = re.compile(rb"[\r\n]")


Calls = Mapping[Function, Collection[Function]]


@dataclass(frozen=True, slots=True)
class Part:
    """A file in which what doesn't matter is blanked out: every byte that is left stands where it stood."""

    text: str
    roots: frozenset[str]  # "Class.method" or "function": where to begin
    among: frozenset[str]  # the classes and functions that would be begun from if all of the file were looked at


@dataclass(frozen=True)
class Suspects:
    """What of a file can lead to a finding.

    ``roots`` are functions in which, or in what they call, something is suspect; ``holders`` those in which it stands.
    """

    file: Outline
    text: str
    roots: Sequence[Function]
    holders: Collection[Function]
    calls: Calls
    kinds: Collection[str]  # of what is suspect
    likely: bool  # some nearly always are findings

    def part(self) -> Part:
        """The roots, with what they call."""
        return self._part(self.roots)

    def context(self) -> Part | None:
        """All that comes to a suspect: a finding's certainty, message and fix depend on it. None for the whole file."""
        if "unprojected" in self.kinds:  # a class, whose callers and subclasses matter
            return None
        callers: dict[Function, list[Function]] = {}
        for caller, called in self.calls.items():
            for function in called:
                callers.setdefault(function, []).append(caller)
        above = _reached(list(self.holders), callers)
        owners = {self.file.owners[function] for function in above if function in self.file.owners}
        above |= {forward for owner in owners if (forward := owner.method("forward")) is not None}
        return self._part([root for root in self.file.everything if root in above])

    @cached_property
    def _worth(self) -> frozenset[str]:
        return _worth_it(self.file, self.text)

    def _part(self, roots: Sequence[Function]) -> Part:
        worth = self._worth
        ancestors = {cls for each in self.file.every_class if each.name in worth for cls in each.lineage}
        kept = [
            root
            for root in roots
            if (self.file.owners[root] in ancestors if root in self.file.owners else _name(root) in worth)
        ]
        names = (f"{self.file.owners[r].name}.{_name(r)}" if r in self.file.owners else _name(r) for r in kept)
        return Part(_blanked(self.file, self.text, kept, self.calls), frozenset(names), worth)


def _name(function: Function) -> str:
    return "<lambda>" if isinstance(function, ast.Lambda) else function.name


def _worth_it(file: Outline, text: str) -> frozenset[str]:
    """The classes and functions that the layout model begins from, as ``mha_lint.model.attention`` chooses them."""
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", text)
    texts: dict[ast.AST, str] = {}
    end = 0
    for statement in file.body:
        for inner in statements_of([statement]) if isinstance(statement, (ast.If, ast.Try)) else [statement]:
            first = end if inner is statement else _first_row(inner) - 1
            texts[inner] = "".join(lines[first : inner.end_lineno])
        end = statement.end_lineno or end
    working, named = tensor_work({name: texts.get(node, "") for name, node in file.functions.items()})
    classes = {cls for cls in file.every_class if named.search(texts.get(cls.node, ""))}
    return working | {cls.name for cls in file.every_class if not classes.isdisjoint(cls.lineage)}


def _blanked(file: Outline, text: str, roots: Sequence[Function], calls: Calls) -> str:
    """The file without the classes and functions that the roots never come to, nor name."""
    reached = _reached(roots, calls)
    owners = {file.owners[root] for root in roots if root in file.owners}
    needed = [cls.name for cls in file.every_class if not owners.isdisjoint(cls.lineage)]
    needed += [_name(root) for root in roots if root not in file.owners]
    needed += [file.owners[function].name for function in reached if function in file.owners]
    kept: set[ast.stmt] = set()
    while needed:
        for statement in file.defined.get(needed.pop(), ()):
            if statement not in kept:
                kept.add(statement)
                needed += _mentioned(statement, reached)
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    starts = [0]
    for line in bytes(data).splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for statement in file.body:
        if isinstance(statement, ast.ClassDef) and (statement in kept or _changes_others(statement)):
            for method in statement.body:
                if _is_left_out(method, reached):
                    first, last = method.body[0], method.body[-1]
                    _blank(data, _start(first, data, starts), _end(last, starts))
        elif isinstance(statement, ast.ClassDef) or (
            isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef))
            and statement not in kept
            and not _changes_others(statement)
        ):
            _blank(data, _start(statement, data, starts), _end(statement, starts))
    return data.decode("utf-8", "surrogatepass")


def _start(statement: ast.stmt, data: bytearray, starts: Sequence[int]) -> int:
    """Where a statement begins; of a decorated one, at the row of its first ``@``."""
    row = _first_row(statement)
    if getattr(statement, "decorator_list", ()):
        while not data[starts[row - 1] : starts[row]].lstrip(b" \t\f").startswith(b"@"):
            row -= 1
    return starts[row - 1] + statement.col_offset


def _end(statement: ast.stmt, starts: Sequence[int]) -> int:
    return starts[(statement.end_lineno or statement.lineno) - 1] + (statement.end_col_offset or 0)


def _blank(data: bytearray, start: int, end: int) -> None:
    """Write a string of the same bytes and rows over it; what is too short for one stays."""
    inside = bytes(data[start + 3 : end - 3])
    if end - start < 6 or _LINE_END.search(data[start : start + 3] + data[end - 3 : end]):
        return
    data[start:end] = b'"""' + _VISIBLE.sub(b" ", inside) + b'"""'


def _reached(roots: Sequence[Function], calls: Calls) -> set[Function]:
    """The roots and all that they call."""
    reached: set[Function] = set()
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


def _is_left_out(method: ast.stmt, reached: Collection[Function]) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Whether a method is one that is never come to, and begins on a row of its own."""
    return (
        isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef))
        and method.name != "__init__"
        and method not in reached
        and method.body[0].lineno > method.lineno
        and not any(map(_changed, ast.walk(method)))
    )


_SETTING = frozenset({"setattr", "__setattr__", "append", "extend", "insert", "update", "pop", "clear"})


def _changed(node: ast.AST) -> bool:
    """The code sets an attribute, or a name of the module, that other code may take to be constant."""
    match node:
        case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Global():
            return True
        case ast.Subscript(value=ast.Attribute() | ast.Call(), ctx=ast.Store() | ast.Del()):
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in _SETTING
        case _:
            return False


def _changes_others(statement: ast.stmt) -> bool:
    """A class or function sets an attribute of anything but its own object, or a name of the module."""
    return any(_changed(node) and not _is_of_self(node) for node in ast.walk(statement))


def _is_of_self(node: ast.AST) -> bool:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(node, ast.Name):
            return node.id == "self"
    return False


def _mentioned(statement: ast.stmt, reached: Collection[Function]) -> list[str]:
    """The names that what is kept of a statement at the top level mentions."""
    if not isinstance(statement, ast.ClassDef):
        return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]
    kept: list[ast.AST] = [*statement.bases, *statement.decorator_list]
    for inner in statement.body:
        kept += [inner.args, *inner.decorator_list] if _is_left_out(inner, reached) else [inner]
    return [node.id for part in kept for node in ast.walk(part) if isinstance(node, ast.Name)]
