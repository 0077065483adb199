"""MHA122: masks that are worked on and then not applied, and keys or values that another one's layer makes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.injection.code import Edit, Injection, keyword, last
from tests.bench.injection.scope import Scope
from tests.bench.injection.silence import GOES_ELSEWHERE, NEVER_READ

_LAYER = re.compile(r"^((?:to|w)_?|)(q|k|v|query|key|value)((?:_?(?:proj|lin|linear))?)$")
_OTHER = {"k": "q", "v": "k", "key": "query", "value": "key"}


def injections(scope: Scope) -> Iterator[Injection]:
    """The mistakes of this rule that a function has room for."""
    yield from _unmasked(scope)
    yield from _by_another_layer(scope)


def _unmasked(scope: Scope) -> Iterator[Injection]:
    """Fused attention that is not given the mask that the function has prepared."""
    for call in scope.sdpa:
        given = keyword(call, "attn_mask") or (call.args[3] if len(call.args) > 3 else None)
        if not isinstance(given, ast.Name) or "mask" not in given.id:
            continue
        worked_on = [
            value for value, _ in scope.values(given.id, call) if not isinstance(value, (ast.Name, ast.Constant))
        ]
        silent = "" if worked_on else NEVER_READ
        reads = [node for node in scope.nodes if isinstance(node, ast.Name) and node.id == given.id]
        others = [node for node in reads if isinstance(node.ctx, ast.Load) and node is not given]
        if any(_is_handed_on(scope, node) for node in others):
            silent = silent or GOES_ELSEWHERE
        yield scope.injection("MHA122", "mask not given", call, scope.code.replaced(given, "None"), silent=silent)


def _is_handed_on(scope: Scope, node: ast.Name) -> bool:
    """Whether a name is read where what is read becomes no mask of that function, and is not asked for."""
    statement = scope.statement(node)
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]):
            return "mask" not in name
        case ast.If(test=ast.Compare(ops=[ast.Is() | ast.IsNot()])):
            return False
        case _:
            return True


def _by_another_layer(scope: Scope) -> Iterator[Injection]:
    """``k = self.to_q(x)``, of a class that has linear layers of that name for all three."""
    built = _linear_layers(scope)
    for call in scope.calls:
        function = call.func
        if not isinstance(function, ast.Attribute) or ast.unparse(function.value) != "self":
            continue
        found = _LAYER.match(function.attr)
        if not found or found[2] not in _OTHER or function.attr not in built:
            continue
        other = f"{found[1]}{_OTHER[found[2]]}{found[3]}"
        if built.get(other) != built[function.attr]:
            continue
        statement = scope.statement(call)
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        if not isinstance(target, ast.Name) or not re.match(rf"^{found[2][0]}", target.id):
            continue
        edit: Edit = scope.code.replaced(function, f"self.{other}")
        yield scope.injection("MHA122", "another layer", call, edit)


def _linear_layers(scope: Scope) -> dict[str, str]:
    """The linear layers that the class builds, with what they are built of."""
    found: dict[str, str] = {}
    for node in ast.walk(scope.unit):
        match node:
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)], value=ast.Call() as made):
                if last(made) == "Linear":
                    found[name] = ast.unparse(made)
    return found
