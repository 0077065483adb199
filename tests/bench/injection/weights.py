"""MHA103 and MHA105: dropout of the weights that goes on in eval, and a softmax over the wrong dimension."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.injection.code import (
    Injection,
    integer,
    is_library,
    is_product,
    keyword,
    last,
    name_of,
    named,
    operands,
)
from tests.bench.injection.scope import Scope
from tests.bench.injection.silence import KEYS_UNKNOWN, NORMALISED_AGAIN, RATE_IS_GIVEN, RATE_IS_ZERO


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
            edit = scope.code.replaced(gated, scope.code.text(open_))
            yield scope.injection("MHA103", form, gated, edit, silent=_silent_about(scope, open_))
    for call in scope.calls:
        if last(call) != "dropout" or not (isinstance(call.func, ast.Attribute) and is_library(call.func.value)):
            continue
        if not call.args or not scope.leads(call.args[0], scope.is_weights):
            continue
        training = named(call, "training")
        if training is None or "training" not in ast.unparse(training.value):
            continue
        rate = keyword(call, "p") or (call.args[1] if len(call.args) > 1 else None)
        silent = _silent_about(scope, rate)
        without, always = scope.code.without_argument(call, training), scope.code.replaced(training.value, "True")
        yield scope.injection("MHA103", "functional, no training", call, without, silent=silent)
        yield scope.injection("MHA103", "functional, True", call, always, silent=silent)


def _silent_about(scope: Scope, rate: ast.expr | None) -> str:
    """The reason for which the page says nothing of a rate."""
    if isinstance(rate, ast.Name) and rate.id in scope.parameters:
        return "" if _is_handed_a_rate(scope, rate.id) else RATE_IS_GIVEN
    name = "" if rate is None else name_of(rate)
    if not name.startswith("self."):
        return ""
    values = [
        node.value
        for node in ast.walk(scope.unit)
        if isinstance(node, ast.Assign) and any(name_of(target) == name for target in node.targets)
    ]
    zero = [isinstance(value, ast.Constant) and value.value == 0 for value in values]
    return RATE_IS_ZERO if zero and all(zero) else ""


def _is_handed_a_rate(scope: Scope, parameter: str) -> bool:
    """A call in the file gives the parameter an attribute of a class, which nothing gates."""
    spec = scope.function.args
    names = [each.arg for each in (*spec.posonlyargs, *spec.args)]
    if names[:1] == ["self"]:
        names = names[1:]
    for call in ast.walk(scope.code.tree):
        if not isinstance(call, ast.Call) or last(call) != scope.function.name:
            continue
        given = keyword(call, parameter)
        if given is None and parameter in names and names.index(parameter) < len(call.args):
            given = call.args[names.index(parameter)]
        if given is not None and name_of(given).startswith("self."):
            return True
    return False


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
    if not isinstance(other, ast.Constant) or other.value != 0:
        return None
    if isinstance(kept, ast.Constant) and kept.value == 0:
        return None  # the mistake is none: a rate of 0 drops nothing
    return kept


# --- MHA105


def _wrong_softmax(scope: Scope) -> Iterator[Injection]:
    for call in scope.weights:
        if name_of(call.func).startswith("self."):
            continue  # it is written into the constructor
        of_library = isinstance(call.func, ast.Name) or (
            isinstance(call.func, ast.Attribute) and is_library(call.func.value)
        )
        positional = call.args[1:2] if of_library else call.args[:1]
        dim = keyword(call, "dim") or (positional[0] if positional else None)
        if dim is None or integer(dim) not in (-1, 3):
            continue
        silent = _silent_about_dim(scope, call)
        others = ["1", "-2", *(["2"] if integer(dim) == 3 or _four_dims(scope, call) else [])]
        for other in others:
            yield scope.injection("MHA105", f"dim {other}", call, scope.code.replaced(dim, other), silent=silent)
        if isinstance(call.func, ast.Attribute) and of_library and named(call, "dim") is not None:
            without = scope.code.without_argument(call, next(each for each in call.keywords if each.arg == "dim"))
            yield scope.injection("MHA105", "no dim", call, without, silent=silent)
    yield from _wrong_softmax_layer(scope)


def _silent_about_dim(scope: Scope, softmax: ast.Call) -> str:
    """The reason for which the page says nothing of the dimension that these weights are along."""

    def is_this(node: ast.AST) -> bool:
        return node is softmax

    for node in scope.nodes:
        is_quotient = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
        if is_quotient and scope.leads(node.left, is_this) and ".sum(" in ast.unparse(node.right):
            return NORMALISED_AGAIN
    products = [node for node in scope.nodes if is_product(node)]
    summed = any(scope.leads(each, is_this) for product in products for each in operands(product))
    return "" if summed or scope.is_called else KEYS_UNKNOWN


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
        if dim is None or integer(dim) not in (-1, 3):
            continue
        for other in ("1", "-2"):
            yield scope.injection(
                "MHA105", f"layer, dim {other}", value, scope.code.replaced(dim, other), reads=(name,)
            )
