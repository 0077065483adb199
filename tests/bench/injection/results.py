"""MHA114, MHA123, MHA124: results that nobody takes, diagonals of an einsum, and masks that lack a dimension."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.injection.code import Injection, keyword, last, name_of, operands
from tests.bench.injection.scope import Scope
from tests.bench.injection.silence import NOT_A_TENSOR, ONE_IS_BROADCAST, SHAPE_UNKNOWN

_FILLS = frozenset({"masked_fill", "masked_scatter"})
_LAYS_OUT = frozenset(
    "transpose permute view reshape unsqueeze squeeze expand expand_as flatten unflatten repeat contiguous swapaxes"
    " repeat_interleave".split()
)
_CASTS = frozenset("to float half bfloat16 double type type_as bool long int".split())
_CHANGES = _CASTS | frozenset("clamp softmax tanh sigmoid relu exp log abs sqrt mul add div sub".split())
_ONE_QUERY = re.compile(r"\[:, (0|0:1|:1)[\],]|unsqueeze\(1\)|latent|expand\(")
_QUERY = re.compile(r"^(?:q|query|queries|query_states|query_layer)$")


def injections(scope: Scope) -> Iterator[Injection]:
    yield from _discarded(scope)
    yield from _planted(scope)
    yield from _diagonals(scope)


# --- MHA114: ``x = x.op(…)`` without the assignment


def _discarded(scope: Scope) -> Iterator[Injection]:
    for node in scope.nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Attribute(attr=method)) as call):
                form = _form(method)
                if form and _root(call) == name:
                    silent = "" if method not in _CASTS or _is_tensor(scope, name, call) else NOT_A_TENSOR
                    edit = scope.code.replaced(node, scope.code.text(call))
                    yield scope.injection("MHA114", form, node, edit, silent=silent)


def _form(method: str) -> str:
    if method in _FILLS:
        return "fill"
    return "layout" if method in _LAYS_OUT else "numbers" if method in _CHANGES else ""


def _root(call: ast.Call) -> str:
    """The name that a chain of methods begins with."""
    node: ast.expr = call
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        node = node.func.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_tensor(scope: Scope, name: str, but: ast.Call) -> bool:
    """The function does with the name what only a tensor allows, or the name says that it is a mask."""
    if "mask" in name.lower():
        return True
    inside = set(ast.walk(but))
    for node in scope.nodes:
        if node in inside:
            continue
        match node:
            case ast.Attribute(value=ast.Name(id=used), attr=attr) if used == name:
                if attr == "shape" or attr in _LAYS_OUT | _FILLS | {"size"}:
                    return True
            case ast.BinOp(op=ast.MatMult(), left=left, right=right):
                if name in (name_of(left), name_of(right)):
                    return True
    return False


# --- planted: a causal mask that is thrown away, a mask of entries that lacks the heads


def _planted(scope: Scope) -> Iterator[Injection]:
    for call in scope.weights:
        statement, of = scope.statement(call), scope.softmaxed(call)
        if not isinstance(of, ast.Name) or not scope.takes_masks or not _alone(scope, statement):
            continue
        a = of.id
        sizes = f"{a}.shape[-2], {a}.shape[-1]"
        future = f"future = torch.ones({sizes}, dtype=torch.bool, device={a}.device).triu(1)"
        fill = f'{a}.masked_fill(future, float("-inf"))'
        right = (scope.code.lines_before(statement, future, f"{a} = {fill}"),)
        wrong = scope.code.lines_before(statement, future, fill)
        yield scope.injection("MHA114", "planted, fill", statement, wrong, base=right)
        if _of_four_dims(scope):
            yield from _lacking(scope, statement, a)
    for call in scope.sdpa:
        query, key = call.args[:2]
        has_mask = len(call.args) > 3 or keyword(call, "attn_mask") or keyword(call, "is_causal")
        if has_mask or not isinstance(query, ast.Name) or not isinstance(key, ast.Name) or not scope.takes_masks:
            continue
        made = f"device={query.id}.device, dtype={query.id}.dtype"
        entries, keys = f"{query.id}.shape[0]", f"{key.id}.shape[-2]"
        right = (scope.code.with_argument(call, f"attn_mask=torch.zeros({entries}, 1, 1, {keys}, {made})"),)
        wrong = scope.code.with_argument(call, f"attn_mask=torch.zeros({entries}, {keys}, {made})")
        silent = _silent(scope)
        yield scope.injection("MHA124", "planted, fused", call, wrong, base=right, silent=silent)


def _lacking(scope: Scope, statement: ast.stmt, a: str) -> Iterator[Injection]:
    made, keys = f"device={a}.device, dtype={a}.dtype", f"{a}.shape[-1]"
    right = (scope.code.lines_before(statement, f"{a} = {a} + torch.zeros({a}.shape[0], 1, 1, {keys}, {made})"),)
    for form, shape in (("rows", f"{a}.shape[0], {keys}"), ("pairs", f"{a}.shape[0], {a}.shape[-2], {keys}")):
        wrong = scope.code.lines_before(statement, f"{a} = {a} + torch.zeros({shape}, {made})")
        silent = _silent(scope, a)
        yield scope.injection("MHA124", f"planted, {form}", statement, wrong, base=right, silent=silent)


def _silent(scope: Scope, scores: str = "") -> str:
    """The function is handed queries of which it does not say how many dimensions they have, or scores are changed.

    Or there is one query alone, that of a class token.
    """
    handed = any(_QUERY.match(name) for name in scope.parameters)
    changed = any(name == scores and _is_of_own_module(value) for name, value, _ in scope.assignments)
    if changed or (handed and not _splits(scope)):
        return SHAPE_UNKNOWN
    return ONE_IS_BROADCAST if _ONE_QUERY.search(scope.code.text(scope.function)) else ""


def _is_of_own_module(value: ast.expr) -> bool:
    """A module of the class gives it, which is no dropout and no softmax."""
    name = name_of(value.func) if isinstance(value, ast.Call) else ""
    return name.startswith("self.") and not re.search("drop|softmax", name)


def _splits(scope: Scope) -> bool:
    """The function itself lays out four dimensions of what is no mask."""
    laid_out = [call for call in scope.calls if last(call) in ("view", "reshape") and len(call.args) > 3]
    return any("mask" not in scope.code.text(call.func).lower() for call in laid_out)


def _of_four_dims(scope: Scope) -> bool:
    """The scores have dimensions for entries and heads: four sizes are laid out, and none is a product."""
    text = scope.code.text(scope.function)
    sizes = max((len(call.args) for call in scope.calls if last(call) in ("view", "reshape")), default=0)
    return (
        _splits(scope)
        and sizes < 6
        and "head" in text
        and "(b h)" not in text
        and not re.search(r"(?:view|reshape)\(\w+ \* ", text)
    )


def _alone(scope: Scope, statement: ast.stmt) -> bool:
    """The statement has its lines for itself."""
    before = scope.code.data[scope.code.starts[statement.lineno - 1] : scope.code.start(statement)]
    return not before.strip()


# --- MHA123: a letter for two dimensions


def _diagonals(scope: Scope) -> Iterator[Injection]:
    for call in scope.calls:
        if last(call) != "einsum" or len(operands(call)) != 2:
            continue
        equation = next((each for each in call.args if _is_equation(each)), None)
        if equation is None:
            continue
        assert isinstance(equation, ast.Constant)
        text = str(equation.value)
        first, second = operands(call)
        for index, operand in enumerate((first, second)):
            is_weights, is_map = scope.leads(operand, scope.is_weights), _is_map(operand)
            renamed = _renamed(text, index) if is_weights or is_map else None
            if renamed is not None:
                form = "weights" if is_weights else "map"
                edit = scope.code.replaced(equation, repr(renamed).replace("'", '"'))
                yield scope.injection("MHA123", form, call, edit)


def _is_equation(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and "->" in node.value


def _is_map(node: ast.expr) -> bool:
    """A parameter of the class, or the weight of one of its layers."""
    name = name_of(node)
    return name.startswith("self.") or (isinstance(node, ast.Attribute) and node.attr == "weight")


def _renamed(text: str, index: int) -> str | None:
    """The equation in which that operand's own letter is called as the one that is summed; None if there is none."""
    left, _, output = text.partition("->")
    sides = [_letters(side) for side in left.split(",")]
    if len(sides) != 2 or "(" in text:
        return None
    mine, other = sides[index], sides[1 - index]
    written = _letters(output)
    summed = [each for each in mine if each in other and each not in written]
    own = [each for each in mine if each not in other and each in written]
    if len(summed) != 1 or len(own) != 1:
        return None
    if any(" " in side.strip() for side in (left, output)):
        return re.sub(rf"\b{own[0]}\b", summed[0], text)
    return text.replace(own[0], summed[0])


def _letters(side: str) -> list[str]:
    named = side.split() if " " in side.strip() else list(side.strip())
    return [each for each in named if each.isidentifier()]
