"""MHA110: tensors that stay on the CPU when the module moves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.injection.code import Injection, is_library, last, named
from tests.bench.injection.scope import Scope
from tests.bench.injection.silence import INDEXED, MOVED, OWN_MOVE

_MASK_NAME = re.compile(r"mask|bias(?!_(idx|ind))|tril|causal|scale|slopes")  # an index may lie on the CPU
_BUILDERS = frozenset("tril triu ones zeros full arange tensor ones_like zeros_like eye linspace".split())


def injections(scope: Scope) -> Iterator[Injection]:
    """The mistakes of place that a function has room for."""
    yield from _plain_attribute(scope)
    yield from _no_device(scope)


def _plain_attribute(scope: Scope) -> Iterator[Injection]:
    """``self.register_buffer("mask", tensor)`` written ``self.mask = tensor``, in a class that attends."""
    if scope.function.name != "__init__":
        return
    for call in scope.calls:
        statement = scope.statement(call)
        if last(call) != "register_buffer" or len(call.args) < 2 or not isinstance(statement, ast.Expr):
            continue
        name, value = call.args[0], call.args[1]
        if not isinstance(name, ast.Constant):
            continue
        reads = _reads_of(scope, str(name.value))
        if not reads or not _is_made(scope, value):
            continue  # the mistake is none: nothing reads it, it is None, or whoever gives it may have moved it
        indexes = all(_indexes(scope, each) for each in reads)
        if not (indexes or _MASK_NAME.search(str(name.value)) or any(_meets_scores(scope, each) for each in reads)):
            continue  # no attention: it is not known to meet scores or weights
        silent = INDEXED if indexes else MOVED if all(_is_moved(scope, each) for each in reads) else _own_move(scope)
        edit = scope.code.replaced(statement, f"self.{name.value} = {scope.code.text(value)}")
        reading = (f"self.{name.value}",)
        yield scope.injection("MHA110", "plain attribute", statement, edit, reads=reading, silent=silent)


def _is_made(scope: Scope, value: ast.expr) -> bool:
    """The tensor is computed here, and not given."""
    if isinstance(value, ast.Name):
        return any(_is_made(scope, each) for each, _ in scope.values(value.id, value))
    return not isinstance(value, (ast.Constant, ast.Attribute))


def _reads_of(scope: Scope, name: str) -> list[ast.Attribute]:
    return [
        node
        for node in ast.walk(scope.unit)
        if isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Load)
    ]


def _indexes(scope: Scope, read: ast.expr) -> bool:
    """The tensor stands between the brackets of another, or in a call that takes indices."""
    inner: ast.AST = read
    while isinstance(inner, ast.expr):
        outer = scope.parents[inner]
        if isinstance(outer, ast.Subscript) and outer.slice is inner:
            return True
        if isinstance(outer, ast.Call) and last(outer) in ("gather", "index_select", "take", "embedding"):
            return inner is not outer.func
        inner = outer
    return False


def _is_moved(scope: Scope, read: ast.expr) -> bool:
    outer = scope.parents[read]
    while isinstance(outer, (ast.Subscript, ast.Attribute)):
        if isinstance(outer, ast.Attribute) and outer.attr in ("to", "type_as", "cuda"):
            return True
        outer = scope.parents[outer]
    return False


def _meets_scores(scope: Scope, read: ast.expr) -> bool:
    """The tensor is an operand or an argument beside scores or weights."""
    method = next((each for each in scope.others if read in each.nodes), None)
    if method is None or not method.weights:
        return False
    for outer in method.around(read):
        if isinstance(outer, ast.BinOp):
            beside: list[ast.expr] = [outer.left, outer.right]
        elif isinstance(outer, ast.Call) and last(outer) in ("masked_fill", "masked_fill_", "where"):
            beside = [*outer.args, outer.func.value] if isinstance(outer.func, ast.Attribute) else [*outer.args]
        else:
            continue
        if any(method.leads(each, method.is_scores) for each in beside):
            return True
    return False


def _own_move(scope: Scope) -> str:
    methods = scope.unit.body if isinstance(scope.unit, ast.ClassDef) else []
    named_so = any(isinstance(each, ast.FunctionDef) and each.name in ("to", "cuda", "_apply") for each in methods)
    return OWN_MOVE if named_so else ""


def _no_device(scope: Scope) -> Iterator[Injection]:
    """``device=x.device`` left out of a mask that is made where scores are."""
    if not scope.attends:
        return
    for call in scope.calls:
        device = named(call, "device")
        if last(call) not in _BUILDERS or device is None or not call.args or "device" not in ast.unparse(device.value):
            continue
        targets = [name for name, _, at in scope.assignments if at is scope.statement(call)]
        if not isinstance(call.func, ast.Attribute) or not is_library(call.func.value):
            continue
        if not any("mask" in name or "causal" in name for name in targets):
            continue  # no attention: it is not known to meet scores or weights
        no_dimension = last(call) == "tensor" and not isinstance(call.args[0], ast.List)
        silent = INDEXED if no_dimension else ""
        yield scope.injection("MHA110", "no device", call, scope.code.without_argument(call, device), silent=silent)
