"""Tables of functions: one of them is called, which a setting tells that is not known.

``ATTENTION[config.attn_implementation](q, k, v)`` takes a path for each function. What a path has taken is remembered
with the key: the same setting is looked up, and compared with strings, the same way from there on.
"""

from __future__ import annotations

import ast

from mha_lint.model.cached import Joined, Rotated
from mha_lint.model.conditions import Question, Relation
from mha_lint.model.fuel import MAX_ENTRIES
from mha_lint.model.keys import Key
from mha_lint.model.run import Run
from mha_lint.model.values import NOTHING, Const, Function, State, Table, Tensor, Unknown, Value
from mha_lint.syntax.nodes import text_of


def is_table(node: ast.expr) -> bool:
    """Tell whether a display is that of a table: strings, and names for what they stand for."""
    if not isinstance(node, ast.Dict) or not node.keys:
        return False
    named = all(isinstance(value, (ast.Name, ast.Attribute, ast.Lambda)) for value in node.values)
    return named and all(text_of(key) is not None for key in node.keys)


def table(run: Run, node: ast.Dict, state: State) -> Value:
    """The value of a display of a dictionary; unknown where it holds no function of the project, and no keys."""
    if not is_table(node):
        return Unknown(run.key(node))
    entries = []
    for key, value in zip(node.keys, node.values, strict=True):
        name = text_of(key)
        assert name is not None
        entries.append((name, run.evaluate(value, state)))
    known = any(isinstance(value, Function) or _is_kept(value) for _, value in entries)
    return Table(tuple(entries)) if known else Unknown(run.key(node))


def _is_kept(value: Value) -> bool:
    """Keys that were rotated, or joined to earlier ones: the dictionary may be a cache."""
    return isinstance(value, Tensor) and isinstance(value.rotary, (Rotated, Joined))


def looked_up(run: Run, of: Table, key: Value, node: ast.AST, state: State, *defaults: Value) -> Value:
    """What a table has under a key: each of its values, on a path of its own, where the key is not known.

    ``defaults`` is what else the lookup may give.
    """
    if isinstance(key, Const):
        return next((value for name, value in of.entries if name == key.value), *defaults or (NOTHING,))
    named = key.key if isinstance(key, Unknown) and key.key is not None and not key.key.of_result else None
    known = [(name, value, None if named is None else state.facts.get(_is(named, name))) for name, value in of.entries]
    told = next((value for _, value, taken in known if taken), None)
    if told is not None:
        return told
    possible = list(dict.fromkeys([value for _, value, taken in known if taken is None]))
    possible += [value for value in defaults if value not in possible]
    if not possible or len(possible) > MAX_ENTRIES:
        return Unknown(run.key(node))
    chosen = possible[run.choose(len(possible))]
    if named is not None:
        _remember(named, of, chosen, state)
    return chosen


def _remember(named: Key, of: Table, chosen: Value, state: State) -> None:
    """Note which strings the key is not, and which it is, where only one of them stands for what was chosen."""
    same = [name for name, value in of.entries if value == chosen]
    for name, value in of.entries:
        if value != chosen:
            state.facts[_is(named, name)] = False
        elif len(same) == 1:
            state.facts[_is(named, name)] = True


def _is(key: Key, name: str) -> tuple[Key, Question]:
    return key, Question(Relation.EQUALS, ((str, name),))
