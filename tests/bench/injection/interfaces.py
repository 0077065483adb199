"""MHA106, 109, 113 where attention lies behind a call: an ``attention_interface``, an ``nn.MultiheadAttention``."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.bench.injection.code import Edit, Injection, keyword, name_of, named
from tests.bench.injection.scope import Scope


def injections(scope: Scope) -> Iterator[Injection]:
    """The mistakes that a method which hands its attention on has room for; the right text is planted as well."""
    if not isinstance(scope.unit, ast.ClassDef) or "torch" not in scope.code.module_names:
        return
    for call in scope.calls:
        yield from _interface(scope, call)
        yield from _layer(scope, call)


def _interface(scope: Scope, call: ast.Call) -> Iterator[Injection]:
    """``attention_interface(self, q, k, v, …)`` written out as fused attention.

    Behind a cache, with the bare flag; elsewhere, with a causal mask of numbers.
    """
    code = scope.code
    statement = scope.statement(call)
    match statement, call:
        case (
            ast.Assign(targets=[ast.Tuple(elts=[ast.Name(id=out), ast.Name(id=weights)])], value=value),
            ast.Call(
                func=ast.Name("attention_interface"),
                args=[ast.Name("self"), ast.Name(id=q), ast.Name(id=k), ast.Name(id=v), *_],
            ),
        ) if value is call:
            pass
        case _:
            return
    gqa = ", enable_gqa=True" if "num_key_value_groups" in code.text(scope.unit) else ""
    scale = keyword(call, "scaling")
    scaled = f", scale={code.text(scale)}" if scale is not None else ""

    def written(given: str) -> tuple[Edit, ...]:
        made = f"torch.nn.functional.scaled_dot_product_attention({q}, {k}, {v}, {given}{scaled}{gqa})"
        return (code.replaced(statement, f"{out}, {weights} = {made}.transpose(1, 2), None"),)

    form = "planted, interface written out"
    if scope.leads(call.args[2], _from_cache):
        right = written(f"is_causal={q}.shape[2] == {k}.shape[2]")
        yield scope.injection("MHA109", form, call, *written("is_causal=True"), base=right)
    elif scope.takes_masks:
        ones = f"torch.ones({q}.shape[2], {k}.shape[2], device={q}.device)"
        right = written(f"attn_mask=torch.tril({ones}).bool()")
        yield scope.injection("MHA113", form, call, *written(f"attn_mask=torch.tril({ones})"), base=right)


def _from_cache(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "update"


def _layer(scope: Scope, call: ast.Call) -> Iterator[Injection]:
    """``self.attn(x, x, x)`` of an ``nn.MultiheadAttention``, where no mask is given."""
    match call:
        case ast.Call(
            func=ast.Attribute(value=ast.Name("self"), attr=layer),
            args=[ast.Name(id=x), ast.Name(id=keys), ast.expr()],
        ) if x == keys:
            pass
        case _:
            return
    first = _batch_first(scope.unit, layer)
    if first is None or named(call, "attn_mask") is not None or named(call, "is_causal") is not None:
        return
    tokens = f"{x}.shape[{1 if first else 0}]"
    ones = f"torch.ones({tokens}, {tokens}, device={x}.device)"
    boolean = f"torch.ones({tokens}, {tokens}, dtype=torch.bool, device={x}.device)"

    def given(mask: str) -> tuple[Edit, ...]:
        return (scope.code.with_argument(call, f"attn_mask={mask}"),)

    def planted(rule: str, form: str, wrong: str, right: str) -> Injection:
        return scope.injection(rule, f"planted, {form}", call, *given(wrong), base=given(right))

    right, right_boolean = f"torch.triu({ones}, diagonal=1).bool()", f"{boolean}.triu(1)"
    yield planted("MHA106", "layer", f"torch.tril({ones}).bool()", right)
    yield planted("MHA106", "layer, inverted", f"~{boolean}.triu(1)", right_boolean)
    yield planted("MHA113", "layer", f"torch.triu({ones}, diagonal=1)", right)
    yield planted("MHA113", "layer, to its type", f"{boolean}.triu(1).to({x}.dtype)", right_boolean)


def _batch_first(unit: ast.AST, layer: str) -> bool | None:
    """Whether the class makes that layer an ``nn.MultiheadAttention`` with the batch first; None if another."""
    for node in ast.walk(unit):
        match node:
            case ast.Assign(targets=[target], value=ast.Call() as made) if name_of(target) == f"self.{layer}":
                if ast.unparse(made.func) not in ("nn.MultiheadAttention", "torch.nn.MultiheadAttention"):
                    return None
                first = keyword(made, "batch_first")
                return isinstance(first, ast.Constant) and first.value is True
    return None
