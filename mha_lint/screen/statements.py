"""Statements, run over facets: branches join, loops run twice."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mha_lint.screen import expressions, fills, sequences
from mha_lint.screen import facets as fc
from mha_lint.screen.callables import Closure, Env, Mapped
from mha_lint.screen.facets import LITERAL, TENSOR, Value, joined, rich

if TYPE_CHECKING:
    from mha_lint.screen.look import Look


def _expression(look: Look, statement: ast.Expr, env: Env) -> None:
    look.value(statement.value, env)


def _return(look: Look, statement: ast.Return, env: Env) -> None:
    if statement.value is not None:
        look.returned.append(look.value(statement.value, env))


def _assign(look: Look, statement: ast.Assign, env: Env) -> None:
    value = look.value(statement.value, env)
    for target in statement.targets:
        if isinstance(target, ast.Subscript):
            fills.fill(look, look.value(target.value, env), look.value(target.slice, env), [value])
    target = statement.targets[0]
    if isinstance(target, (ast.Tuple, ast.List)) and len(statement.targets) == 1:
        _unpacking(look, target.elts, statement.value, value)
    for target in statement.targets:
        assign(look, target, value, env)


def _unpacking(look: Look, targets: Sequence[ast.expr], source: ast.expr, value: Value) -> None:
    """Unpacking a tensor calls ``unbind(0)``; so does a ``map`` over one."""
    if "unbind" not in look.wanted or not _may_be_qkv(targets, source):
        return
    if look.suspicious and _is_unbind(source) and all(map(_is_letter, targets)):
        look.likely = True
    tensor = fc.facets(value)
    for other in fc.others(value):
        if isinstance(other, Mapped):
            tensor |= other.source
    if (tensor & TENSOR and tensor & LITERAL) or (tensor and look.learns):
        look.suspect("unbind")


def _annotated(look: Look, statement: ast.AnnAssign, env: Env) -> None:
    if statement.value is not None:
        assign(look, statement.target, look.value(statement.value, env), env)


def _augmented(look: Look, statement: ast.AugAssign, env: Env) -> None:
    before = look.value(statement.target, env)
    assign(
        look,
        statement.target,
        joined(before, expressions.binary(look, statement.op, before, look.value(statement.value, env))),
        env,
    )


def assign(look: Look, target: ast.expr, value: Value, env: Env) -> None:
    match target:
        case ast.Name(name):
            env[name] = value
        case ast.Attribute(attr=name):
            look.set_attribute(name, value)
        case ast.Starred(value=inner):
            assign(look, inner, fc.many(fc.element(value)), env)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            for part, element in zip(sequences.parts(value, elements), elements, strict=True):
                assign(look, element, part, env)


def _if(look: Look, statement: ast.If, env: Env) -> None:
    look.value(statement.test, env)
    _branches(look, env, statement.body, statement.orelse)


def _branches(look: Look, env: Env, *bodies: Sequence[ast.stmt]) -> None:
    """Run one of several blocks."""
    ends = []
    for body in bodies:
        end = dict(env)
        look.block(body, end)
        ends.append(end)
    for end in ends[1:]:
        for name, value in end.items():
            ends[0][name] = joined(ends[0][name], value) if name in ends[0] else value
    env.update(ends[0])


def _for(look: Look, statement: ast.For | ast.AsyncFor, env: Env) -> None:
    item = fc.element(look.value(statement.iter, env))
    for _ in range(2):
        assign(look, statement.target, item, env)
        _branches(look, env, (), statement.body)
    look.block(statement.orelse, env)


def _while(look: Look, statement: ast.While, env: Env) -> None:
    for _ in range(2):
        look.value(statement.test, env)
        _branches(look, env, (), statement.body)
    look.block(statement.orelse, env)


def _with(look: Look, statement: ast.With | ast.AsyncWith, env: Env) -> None:
    for item in statement.items:
        look.value(item.context_expr, env)
    look.block(statement.body, env)


def _try(look: Look, statement: ast.Try, env: Env) -> None:
    _branches(look, env, (), [*statement.body, *statement.orelse])
    _branches(look, env, (), *(handler.body for handler in statement.handlers))
    look.block(statement.finalbody, env)


def _define(look: Look, statement: ast.FunctionDef | ast.AsyncFunctionDef, env: Env) -> None:
    env[statement.name] = rich(Closure(statement, dict(env)))


def _assert(look: Look, statement: ast.Assert, env: Env) -> None:
    look.value(statement.test, env)


def _local_import(look: Look, statement: ast.Import | ast.ImportFrom, env: Env) -> None:
    look.file.add_import(statement)


def _may_be_qkv(targets: Sequence[ast.expr], source: ast.expr) -> bool:
    """Whether three parts are unpacked, or two with names of queries, keys or values."""
    if len(targets) != 2:
        return len(targets) == 3
    return all(map(_is_letter, targets)) or _last_name(source).endswith("kv")


def _is_letter(target: ast.expr) -> bool:
    """Whether a name may stand for queries, keys or values."""
    return isinstance(target, ast.Name) and re.match(r"_*(?:x?[qkv]|quer|val)", target.id.lower()) is not None


def _is_unbind(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "unbind"


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.lower()
        case ast.Call(func=ast.Attribute(value=inner)):
            return _last_name(inner)
        case ast.Call(func=ast.Name(id=name)):
            return name.lower()
    return ""


STATEMENTS: dict[type[ast.stmt], Callable[..., None]] = {
    ast.Expr: _expression,
    ast.Return: _return,
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.AugAssign: _augmented,
    ast.If: _if,
    ast.For: _for,
    ast.AsyncFor: _for,
    ast.While: _while,
    ast.With: _with,
    ast.AsyncWith: _with,
    ast.Try: _try,
    getattr(ast, "TryStar", ast.Try): _try,  # from Python 3.11 on
    ast.FunctionDef: _define,
    ast.AsyncFunctionDef: _define,
    ast.Assert: _assert,
    ast.Import: _local_import,
    ast.ImportFrom: _local_import,
}
