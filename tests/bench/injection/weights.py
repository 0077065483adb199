"""MHA103 and MHA105: dropout of the weights that goes on in eval, and a softmax over the wrong dimension."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.injection.code import Injection, integer, is_library, keyword, last, name_of, named
from tests.bench.injection.scope import Scope


def injections(scope: Scope) -> Iterator[Injection]:
    """The mistakes about attention weights that a function has room for."""
    yield from _ungated_dropout(scope)
    yield from _wrong_softmax(scope)


# --- MHA103


def _ungated_dropout(scope: Scope) -> Iterator[Injection]:
    if not scope.attends:
        return
    for call in scope.sdpa:
        given = keyword(call, "dropout_p") or (call.args[4] if len(call.args) > 4 else None)
        if given is None:
            continue
        gated = given
        form = "sdpa"
        if isinstance(given, ast.Name):
            earlier = scope.values(given.id, call)
            if len(earlier) != 1:
                continue
            gated, form = earlier[0][0], "sdpa, statement before"
        open_ = _gate(gated)
        if open_ is not None:
            yield scope.injection("MHA103", form, gated, scope.code.replaced(gated, scope.code.text(open_)))
    for call in scope.calls:
        if last(call) != "dropout" or not (isinstance(call.func, ast.Attribute) and is_library(call.func.value)):
            continue
        if not call.args or not scope.leads(call.args[0], scope.is_weights):
            continue
        training = named(call, "training")
        if training is None or "training" not in ast.unparse(training.value):
            continue
        rate = keyword(call, "p") or (call.args[1] if len(call.args) > 1 else None)
        if isinstance(rate, ast.Name) and rate.id in scope.parameters:
            continue  # whoever calls the function may have gated it
        yield scope.injection("MHA103", "functional, no training", call, scope.code.without_argument(call, training))
        yield scope.injection("MHA103", "functional, True", call, scope.code.replaced(training.value, "True"))


def _gate(node: ast.expr) -> ast.expr | None:
    """``p`` of ``p if self.training else 0.0`` and of its mirror image."""
    if not isinstance(node, ast.IfExp):
        return None
    test = node.test
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        test = test.values[0]
    negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    asked = test.operand if isinstance(test, ast.UnaryOp) else test
    if not ast.unparse(asked).endswith("training"):
        return None
    kept, other = (node.orelse, node.body) if negated else (node.body, node.orelse)
    return kept if isinstance(other, ast.Constant) and other.value == 0 and not isinstance(kept, ast.Constant) else None


# --- MHA105


def _wrong_softmax(scope: Scope) -> Iterator[Injection]:
    for call in scope.weights:
        assert isinstance(call.func, ast.Attribute)
        if name_of(call.func).startswith("self."):
            continue
        of_library = is_library(call.func.value)
        positional = call.args[1:2] if of_library else call.args[:1]
        dim = keyword(call, "dim") or (positional[0] if positional else None)
        if dim is None or integer(dim) != -1:
            continue
        others = ["1", "-2", *(["2"] if _four_dims(scope, call) else [])]
        for other in others:
            yield scope.injection("MHA105", f"dim {other}", call, scope.code.replaced(dim, other))
        if of_library and named(call, "dim") is not None:
            without = scope.code.without_argument(call, next(each for each in call.keywords if each.arg == "dim"))
            yield scope.injection("MHA105", "no dim", call, without)
    yield from _wrong_softmax_layer(scope)


def _four_dims(scope: Scope, call: ast.Call) -> bool:
    """Whether the scores are a product with ``k.transpose(2, 3)``, which only four dimensions have."""

    def moved(node: ast.AST) -> bool:
        return scope.is_scores(node) and bool(re.search(r"\b(transpose|swapaxes)\((2, 3|3, 2)\)", ast.unparse(node)))

    of = scope.softmaxed(call)
    return of is not None and scope.leads(of, moved)


def _wrong_softmax_layer(scope: Scope) -> Iterator[Injection]:
    """``self.softmax = nn.Softmax(dim=-1)`` where another method of the class takes it of scores."""
    if scope.function.name != "__init__" or not isinstance(scope.unit, ast.ClassDef):
        return
    weighing = {name_of(call.func) for each in scope.others for call in each.weights}
    for name, value, _ in scope.assignments:
        if name not in weighing or not isinstance(value, ast.Call) or last(value) != "Softmax":
            continue
        dim = keyword(value, "dim") or (value.args[0] if value.args else None)
        if dim is None or integer(dim) != -1:
            continue
        for other in ("1", "-2"):
            yield scope.injection(
                "MHA105", f"layer, dim {other}", value, scope.code.replaced(dim, other), reads=(name,)
            )
