"""The facets of expressions, calls aside."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from mha_lint.screen import calls, fills, sequences, statements
from mha_lint.screen import facets as fc
from mha_lint.screen.callables import Closure, Env, Qualified
from mha_lint.screen.facets import (
    CONTEXT,
    GIVEN,
    INTEGER,
    KNOWN,
    LITERAL,
    ONE,
    ROLES,
    SIZES,
    TENSOR,
    Facets,
    Items,
    Many,
    Value,
    joined,
    rich,
)
from mha_lint.screen.operations import heads_before, weigh

if TYPE_CHECKING:
    from mha_lint.screen.look import Look


def _literal(look: Look, node: ast.Constant, env: Env) -> Value:
    if type(node.value) is int:
        return (SIZES if node.value == 1 else LITERAL) | INTEGER | fills.number(node.value)
    return fills.number(node.value) if isinstance(node.value, (bool, float)) else 0


def _name(look: Look, node: ast.Name, env: Env) -> Value:
    name = node.id
    if name in env:
        return env[name]
    if name in look.file.classes:
        return rich(look.file.classes[name])
    if name in look.file.functions:
        return rich(look.file.functions[name])
    if name in look.file.imports:
        return rich(Qualified(look.file.imports[name]))
    if name in look.file.constants:
        value = look.file.constants.pop(name)  # not again inside of itself
        try:
            return joined(GIVEN, look.value(value, {}))
        finally:
            look.file.constants[name] = value
    return rich(Qualified(f"builtins.{name}"))


def _attribute(look: Look, node: ast.Attribute, env: Env) -> Value:
    qualified = look.qualified(node, env)
    if qualified is not None:
        return rich(Qualified(qualified))
    base = look.value(node.value, env)
    name = node.attr
    if name == "shape":
        return fc.many(fc.facets(base) & SIZES | INTEGER)
    if name in ("T", "mT", "H", "mH"):
        return joined(fc.transposed(fc.facets(base)), 0 if isinstance(base, int) else look.attribute(name, base))
    if name in ("weight", "bias"):
        return joined(fc.OWN, look.attribute(name, base))
    if name in ("data", "real"):
        return joined(fc.facets(base), 0 if isinstance(base, int) else look.attribute(name, base))
    return look.attribute(name, base)


def _tuple(look: Look, node: ast.Tuple | ast.List, env: Env) -> Value:
    values = [look.value(element, env) for element in node.elts]
    starred = any(isinstance(element, ast.Starred) for element in node.elts)
    sizes = fc.many(fc.either(values)) if starred else fc.items(values)
    return joined(sizes, fc.ACROSS) if heads_before(node.elts) else sizes


def _starred(look: Look, node: ast.Starred, env: Env) -> Value:
    return fc.element(look.value(node.value, env))


def _binary(look: Look, node: ast.BinOp, env: Env) -> Value:
    return binary(look, node.op, look.value(node.left, env), look.value(node.right, env))


def binary(look: Look, sign: ast.operator, left: Value, right: Value) -> Value:
    first, second = fc.facets(left), fc.facets(right)
    if isinstance(sign, ast.MatMult):
        if fc.may_meet(first, second):
            look.suspect("device")
        weigh(look, first, second)
        return fc.multiplied(first, second)
    if isinstance(sign, ast.Mult):
        fills.product(look, left, right)
    if isinstance(sign, (ast.Add, ast.Sub)):
        fills.total(look, left, right)
    if not isinstance(left, int) and not isinstance(right, int):
        return sequences.concatenated(left, right)
    if not isinstance(left, int) and isinstance(sign, ast.Mult):
        return fc.many(fc.element(left))
    if isinstance(sign, ast.Add) and (first | second) & CONTEXT:
        look.adds = True
    if fc.may_meet(first, second):
        look.suspect("device")
    result = fc.elementwise(first, second)
    if isinstance(sign, (ast.Mult, ast.Div)):
        result &= ~fc.UNSCALED
    if not (first | second) & TENSOR:
        result |= INTEGER
        if first & SIZES and second & SIZES and not (first | second) & GIVEN:
            result |= fc.NUMBERS  # such as 2**32
    return result | ONE if first & second & LITERAL and not result & TENSOR else result


def _unary(look: Look, node: ast.UnaryOp, env: Env) -> Value:
    value = look.value(node.operand, env)
    if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        known = look.value(node.operand, env)
        return fc.facets(known) & (INTEGER | fc.NUMBERS)
    return fc.elementwise(fc.facets(value))


def _either(look: Look, node: ast.BoolOp, env: Env) -> Value:
    return fc.either(look.value(value, env) for value in node.values)


def _compare(look: Look, node: ast.Compare, env: Env) -> Value:
    values = [look.value(part, env) for part in (node.left, *node.comparators)]
    if any(fc.facets(value) & ONE for value in values) or any(
        isinstance(part, ast.Constant) and part.value == 2 for part in node.comparators
    ):
        look.compares = True  # on one side of it, a size is known to be 1
    if any(fc.facets(value) & LITERAL for value in values):
        look.learns = True
    if fc.may_meet(*map(fc.facets, values)):
        look.suspect("device")
    of_positions = sum(bool(fc.facets(value) & fc.POSITIONS) for value in values) > 1
    return fc.elementwise(*map(fc.facets, values)) & ~fc.NUMBERS | fc.MARKED | (fc.TRIANGULAR if of_positions else 0)


def _conditional(look: Look, node: ast.IfExp, env: Env) -> Value:
    look.value(node.test, env)
    return joined(look.value(node.body, env), look.value(node.orelse, env))


def _lambda(look: Look, node: ast.Lambda, env: Env) -> Value:
    return rich(Closure(node, dict(env)))


def _walrus(look: Look, node: ast.NamedExpr, env: Env) -> Value:
    value = look.value(node.value, env)
    statements.assign(look, node.target, value, env)
    return value


def _comprehension(look: Look, node: ast.ListComp | ast.GeneratorExp, env: Env) -> Value:
    inner = dict(env)
    for generator in node.generators:
        statements.assign(look, generator.target, fc.element(look.value(generator.iter, inner)), inner)
    return fc.many(look.value(node.elt, inner))


def _subscript(look: Look, node: ast.Subscript, env: Env) -> Value:
    base = look.value(node.value, env)
    index = node.slice
    for part in index.elts if isinstance(index, ast.Tuple) else [index]:  # whatever the base is
        for inner in (part.lower, part.upper, part.step) if isinstance(part, ast.Slice) else (part,):
            if inner is not None:
                look.value(inner, env)
    result: Value = 0
    for other in fc.others(base):
        if isinstance(other, Items):
            result = joined(result, sequences.item(other, index))
        elif isinstance(other, Many):
            result = joined(result, rich(other) if isinstance(index, ast.Slice) else other.item)
        elif other is fc.NESTED:
            result = joined(result, base)
    tensor = fc.facets(base)
    if tensor & ~ROLES:
        result = joined(result, _indexed(look, tensor, index, env))
    return result


def _indexed(look: Look, tensor: Facets, index: ast.expr, env: Env) -> Facets:
    inserts = cuts = False
    for part in index.elts if isinstance(index, ast.Tuple) else [index]:
        match part:
            case ast.Constant(value=None):
                inserts = True
            case ast.Slice(lower=None, upper=None, step=None):
                pass
            case ast.Constant(value=value) if value is ...:
                pass
            case ast.Slice(lower=lower, upper=upper):
                cuts = True
                ends = fc.facets(look.value(upper, env)) if upper is not None else 0
                if lower is not None:
                    look.value(lower, env)
                    ends |= ONE if upper is not None or sequences.integer(lower) == -1 else 0
                inserts = inserts or bool(ends & ONE)
            case _:
                cuts = True
                if not fc.facets(look.value(part, env)) & INTEGER:  # by a tensor, as far as is known
                    return tensor & (SIZES | ROLES | (GIVEN if part is index else 0)) | KNOWN
    result = fc.cut(tensor) if cuts else tensor
    return result | SIZES if inserts else result


EXPRESSIONS: dict[type[ast.expr], Callable[..., Value]] = {
    ast.Constant: _literal,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Tuple: _tuple,
    ast.List: _tuple,
    ast.Starred: _starred,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _either,
    ast.Compare: _compare,
    ast.IfExp: _conditional,
    ast.Lambda: _lambda,
    ast.NamedExpr: _walrus,
    ast.ListComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.Subscript: _subscript,
    ast.Call: calls.call,
}
