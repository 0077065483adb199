"""Tests: decided by what is known, as before on the same path, or one way now and the other way on another path."""

from __future__ import annotations

import ast
from functools import lru_cache
from itertools import pairwise

from mha_lint.model.conditions import Condition, Question, Relation, negates
from mha_lint.model.keys import Key, named
from mha_lint.model.run import Run, normal
from mha_lint.model.sizes import ONE, Size, equate
from mha_lint.model.values import (
    NONE,
    Const,
    Sequence,
    ShapeOf,
    State,
    Tensor,
    Unknown,
    Value,
    as_int,
    as_size,
    as_tensor,
    truth,
)
from mha_lint.vocabulary import MASKS, OTHER_STRIDES

# Tensors in channels-last format have other strides: nothing is said of code for them alone.
_CHANNELS_LAST = frozenset({("channels_last",), ("self", "channels_last")})


def decide(run: Run, test: ast.expr, state: State) -> bool:
    """Decide a test: its value is known, was decided before on this path, or is chosen now."""
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return not decide(run, inner, state)
        case ast.BoolOp():
            return _decide_several(run, test, state)
        case ast.Compare() if negates(test):
            return not _decide_atom(run, test, state, negated=True)
        case _:
            return _decide_atom(run, test, state)


def _decide_several(run: Run, test: ast.BoolOp, state: State) -> bool:
    """Decide ``a and b``, one after the other.

    The whole is kept too: once the paths for ``not a`` and for ``a and not b`` are one, it is all that they agree on.
    """
    whole = run.condition(test)
    if whole in state.conditions:
        return state.conditions[whole]
    stops = isinstance(test.op, ast.Or)
    taken = not stops
    for value in test.values:
        if decide(run, value, state) == stops:
            taken = stops
            break
    state.conditions[whole] = taken
    return taken


def _decide_atom(run: Run, test: ast.expr, state: State, *, negated: bool = False) -> bool:
    """Decide the condition of a test, which is ``negated`` where it holds when the test does not."""
    value = run.evaluate(test, state)
    known = truth(value)
    if known is not None:
        return known != negated
    if isinstance(test, ast.Name):
        asked = _asked_before(run, value, state)
        if asked is not None:
            return decide(run, asked, state)
    condition = run.condition(test)
    if _asks_for_other_strides(condition):
        return False
    if condition in state.conditions:
        return state.conditions[condition]
    fact = _fact(run, test, condition, state)
    if fact in state.facts:
        assert fact is not None
        state.conditions[condition] = taken = state.facts[fact]
        return taken
    taken = run.choose(2) == 0
    state.conditions[condition] = taken
    if fact is not None:
        state.facts[fact] = taken
    if isinstance(test, ast.Compare):
        _learn(run, test, taken != negated, state)
        if taken and condition.is_none and isinstance(test.left, ast.Name):
            state.variables[test.left.id] = NONE
    return taken


def _asked_before(run: Run, value: Value, state: State) -> ast.Compare | None:
    """The test that a name stands for: ``first = cache is None``, of a parameter that is still as it came."""
    node = run.node(value.key) if isinstance(value, Unknown) and value.key is not None else None
    match node:
        case ast.Compare(left=ast.Name(id=name), ops=[ast.Is() | ast.IsNot()]):
            held = state.variables.get(name)
            as_it_came = isinstance(held, Unknown) and held.key is named(name)
            return node if as_it_came or held == NONE else None
        case _:
            return None


def flag(run: Run, value: Value, state: State) -> Value:
    """The value of a flag that comparisons of what the call is given tell: true on one path, and false on another."""
    node = run.node(value.key) if isinstance(value, Unknown) and value.key is not None else None
    told = isinstance(node, (ast.Compare, ast.BoolOp, ast.UnaryOp)) and _is_of_comparisons(run, node, state)
    return Const(decide(run, node, state)) if told and isinstance(node, ast.expr) else value


def _is_of_comparisons(run: Run, test: ast.expr, state: State) -> bool:
    """A test asks about sizes, or whether something is None, but about no mask, and no setting of the object."""
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return _is_of_comparisons(run, inner, state)
        case ast.BoolOp(values=values):
            return all(_is_of_comparisons(run, value, state) for value in values)
        case ast.Compare():
            condition = run.condition(test)
            return not (condition.begins_with_self or condition.quotes or condition.says(MASKS))
        case ast.Name(id=name):
            held = state.variables.get(name)
            node = run.node(held.key) if isinstance(held, Unknown) and held.key is not None else None
            return isinstance(node, ast.Compare) and _is_of_comparisons(run, node, state)
        case _:
            return False


@lru_cache(maxsize=1024)
def _asks_for_other_strides(condition: Condition) -> bool:
    channels_last = condition.relation is Relation.TRUTH and condition.subject in _CHANNELS_LAST
    return channels_last or condition.says(OTHER_STRIDES)


def _fact(run: Run, test: ast.expr, condition: Condition, state: State) -> tuple[Key, Question] | None:
    """A condition on one value that was given, in terms of that value, which other functions know by other names.

    None where the condition is on anything else.
    """
    if condition.question is None:
        return None
    asked = test.left if isinstance(test, ast.Compare) else test
    if not isinstance(asked, (ast.Name, ast.Attribute)):
        return None
    value = run.evaluate(asked, state)
    if not isinstance(value, Unknown) or value.key is None or value.key.of_result:
        return None
    return value.key, condition.question


def _learn(run: Run, test: ast.Compare, holds: bool, state: State) -> None:
    """``t == n`` tells a size; ``not t > 1`` tells that it is 1, since sizes are at least that."""
    values = [run.evaluate(each, state) for each in (test.left, *test.comparators)]
    rank, of = as_int(values[-1]), _asked_for_rank(test.left)
    if of is not None and rank is not None and len(values) == 2 and isinstance(test.ops[0], ast.Eq) == holds:
        tensor = as_tensor(run.evaluate(of, state))
        if tensor is not None and isinstance(test.ops[0], (ast.Eq, ast.NotEq)):
            run.refine(state, normal(tensor, state), rank)
        return
    if all(isinstance(sign, ast.Eq) for sign in test.ops) and holds:
        for first, second in pairwise(values):
            _equal(run, first, second, state)
        return
    left, right = as_size(values[0]), as_size(values[1])
    if left is None or right is None or len(values) > 2:
        if isinstance(test.ops[0], ast.NotEq) and not holds and len(values) == 2:
            _equal(run, values[0], values[1], state)
        return
    match test.ops[0], right.constant:
        case (ast.NotEq(), _) if not holds:
            equate(left, right, state.definitions)
        case (ast.Gt(), 1) | (ast.GtE(), 2) if not holds:
            equate(left, ONE, state.definitions)
        case (ast.Lt(), 2) | (ast.LtE(), 1) if holds:
            equate(left, ONE, state.definitions)


def assume(run: Run, test: ast.expr, state: State) -> None:
    """Learn from a test that the code insists on: ``torch._assert(x.size(1) == t, "")``."""
    match test:
        case ast.BoolOp(op=ast.And(), values=values):
            for value in values:
                assume(run, value, state)
        case ast.Compare():
            _learn(run, test, True, state)


def _asked_for_rank(node: ast.expr) -> ast.expr | None:
    """``x`` in ``x.dim()``, ``x.ndim`` and ``len(x.shape)``."""
    match node:
        case ast.Call(func=ast.Attribute(value=of, attr="dim"), args=[]):
            return of
        case ast.Attribute(value=of, attr="ndim"):
            return of
        case ast.Call(func=ast.Name(id="len"), args=[ast.Attribute(value=of, attr="shape")]):
            return of
        case ast.Call(func=ast.Name(id="len"), args=[ast.Call(func=ast.Attribute(value=of, attr="size"), args=[])]):
            return of
        case _:
            return None


def _equal(run: Run, left: Value, right: Value, state: State) -> None:
    """Learn that two sizes, or the sizes in two shapes, are equal, and the rank of a tensor where it was not known."""
    first, second = as_size(left), as_size(right)
    if first is not None and second is not None:
        equate(first, second, state.definitions)
        return
    for one, other in ((left, right), (right, left)):
        if isinstance(one, ShapeOf) and isinstance(other, Sequence) and isinstance(one.tensor, (Tensor, Unknown)):
            run.refine(state, as_tensor(one.tensor) or Tensor(), len(other.items))
    dims = [_dims(value, state) for value in (left, right)]
    if len(dims[0]) == len(dims[1]):
        for first, second in zip(*dims, strict=True):
            if first is not None and second is not None:
                equate(first, second, state.definitions)


def _dims(value: Value, state: State) -> list[Size | None]:
    """The sizes in a shape; none of what is no shape, or is not known."""
    if isinstance(value, ShapeOf):
        shape = normal(as_tensor(value.tensor) or Tensor(), state).shape
        return list(shape or ())
    return [as_size(item) for item in value.items] if isinstance(value, Sequence) else []
