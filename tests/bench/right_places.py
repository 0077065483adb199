"""Where right rewrites are made: the code of a class that runs unconditionally."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.bench.injection.code import Edit, is_library
from tests.bench.rewrites import Rewrite
from tests.bench.wrong_subjects import Subject

_CONDITIONAL = (ast.If, ast.IfExp, ast.For, ast.While, ast.Try, ast.With, ast.FunctionDef, ast.Lambda, ast.ClassDef)
# --- where ----------------------------------------------------------------------------------------------------------


def _all_unconditional(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _CONDITIONAL):
            yield child
            yield from _all_unconditional(child)


def unconditional(function: ast.FunctionDef | None) -> list[ast.AST]:
    return list(_all_unconditional(function)) if function is not None else []


def in_forward(subject: Subject, *edits: Edit) -> Rewrite:
    return Rewrite(subject.text, subject.edit(*edits), (subject.forward_symbol,))


def in_init(subject: Subject, *edits: Edit) -> Rewrite:
    return Rewrite(subject.text, subject.edit(*edits), (subject.init_symbol,))


def calls(subject: Subject, *names: str) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Calls of a tensor's method in forward, and the tensor."""
    for node in unconditional(subject.forward):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr not in names:
            continue
        if not is_library(node.func.value) and ast.unparse(node.func.value) != "self":
            yield node, node.func.value


def arguments(subject: Subject, node: ast.Call) -> str:
    """The text of a call's arguments, without brackets."""
    given = sorted([*node.args, *node.keywords], key=lambda each: (each.lineno, each.col_offset))
    return ", ".join(subject.code.data[subject.code.start(e) : subject.code.end(e)].decode() for e in given)
