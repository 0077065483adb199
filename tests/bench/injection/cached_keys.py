"""MHA119 where keys are kept: positions that begin at 0 behind a cache, and cached keys that are rotated again."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.injection.code import Injection, last, name_of
from tests.bench.injection.scope import Scope
from tests.bench.injection.silence import POSITIONS_HANDED_IN

_ROTATES = re.compile(r"rotary|rope|rotate|rot_emb|rotated", re.IGNORECASE)
_EARLIER = re.compile(r"cache|past|prev", re.IGNORECASE)
_OFFSET = re.compile(r"^(?:past_\w*len\w*|\w*offset\w*|cache_\w*len\w*|past_length|start_?pos|start)$")
_OF_POSITIONS = re.compile(r"pos|cos|sin|freq|rot|rope|offset|start|cache|past|angle|theta|pe$")
_KEYS = re.compile(r"^(?:k|key|keys|key_states?|key_layer|xk)$")
_VALUES = re.compile(r"^(?:v|value|values|value_states?|value_layer|xv)$")


def injections(scope: Scope) -> Iterator[Injection]:
    """The mistakes that a function has room for: one that rotates keys, and joins them to cached ones or may do so."""
    yield from _rotated_later(scope)
    yield from _counted_from_zero(scope)
    yield from _kept_later(scope)


# --- what code with a cache of its own may get wrong


def _rotated_later(scope: Scope) -> Iterator[Injection]:
    """The statement that rotates the new keys moves behind the one that joins them to the cached ones."""
    for block in _blocks(scope):
        for index, rotation in enumerate(block):
            if not _keys_turned(rotation):
                continue
            join = next((each for each in block[index + 1 :] if _joins(each)), None)
            if join is None:
                continue
            text = scope.code.text(rotation)
            edits = (scope.code.line_deleted(rotation), scope.code.lines_after(join, *text.split("\n")))
            if "\n" not in text:
                yield scope.injection("MHA119", "cached keys rotated again", rotation, *edits)


def _counted_from_zero(scope: Scope) -> Iterator[Injection]:
    """The length of the cache is left out where positions are counted: it is taken for 0."""
    if not any(_joins(each) for each in scope.nodes if isinstance(each, ast.stmt)):
        return
    for node in scope.nodes:
        silent = "" if _own_positions(scope) else POSITIONS_HANDED_IN
        match node:
            case ast.AugAssign(target=ast.Name(), op=ast.Add(), value=value) if _is_length_of_cache(value):
                edit = scope.code.replaced(value, "0")
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if _OFFSET.match(name) and _is_length_of_cache(
                value
            ):
                edit = scope.code.replaced(value, "0")
            case ast.keyword(arg=name, value=value) if name and _OFFSET.match(name) and _is_length_of_cache(value):
                edit = scope.code.replaced(value, "0")
            case _:
                continue
        yield scope.injection(
            "MHA119", "positions from 0", node if isinstance(node, ast.stmt) else value, edit, silent=silent
        )


def _is_length_of_cache(value: ast.expr) -> bool:
    """``past[0].shape[-2]``, ``past_k.size(2) if past_k is not None else 0``."""
    text = ast.unparse(value)
    return bool(_EARLIER.search(text)) and bool(re.search(r"\.shape\[|\.size\(", text))


def _own_positions(scope: Scope) -> bool:
    """The file counts positions itself: it says ``arange``, and makes angles of powers of a base."""
    return b"arange" in scope.code.data and bool(re.search(rb"\*\* ?\(?-?|torch\.pow|exp\(", scope.code.data))


# --- what code without a cache gets wrong once it has one


def _kept_later(scope: Scope) -> Iterator[Injection]:
    """A cache is planted: rightly, it keeps the keys before they are rotated, and wrongly behind.

    Where the code counts the positions itself, it is wrong to plant one behind the rotation: new tokens begin at 0.
    """
    if not scope.takes_masks or any(_joins(each) for each in scope.nodes if isinstance(each, ast.stmt)):
        return
    for block in _blocks(scope):
        for rotation in block:
            names = _keys_and_values(scope, rotation)
            if names is None or "\n" in scope.code.text(rotation):
                continue
            key, value = names
            dim = _tokens_at(scope, key, rotation)
            if dim is None:
                continue
            joined = (
                'past_kv = getattr(self, "past_kv", None)',
                "if past_kv is not None:",
                f"    {key} = torch.cat((past_kv[0], {key}), dim={dim})",
                f"    {value} = torch.cat((past_kv[1], {value}), dim={dim})",
            )
            kept = f"self.past_kv = ({key}, {value})"
            if _counts_itself(scope, rotation):
                behind = scope.code.lines_after(rotation, *joined, kept)
                yield scope.injection("MHA119", "planted cache without offset", rotation, behind)
            else:
                right = scope.code.lines_before(rotation, *joined, kept)
                wrong = (scope.code.lines_before(rotation, *joined), scope.code.lines_after(rotation, kept))
                yield scope.injection("MHA119", "planted cache kept after rotation", rotation, *wrong, base=(right,))
            break


def _counts_itself(scope: Scope, rotation: ast.stmt) -> bool:
    """The keys turn by what comes from a layer of the object and from the tokens, not from what tells positions."""
    todo: list[ast.AST] = [rotation]
    seen: set[str] = set()
    while todo:
        for name in {each.id for each in ast.walk(todo.pop()) if isinstance(each, ast.Name)} - seen:
            if name in scope.parameters and _OF_POSITIONS.search(name):
                return False
            seen.add(name)
            todo += [value for value, _ in scope.values(name, rotation)]
    return True


def _keys_and_values(scope: Scope, rotation: ast.stmt) -> tuple[str, str] | None:
    """The names of the keys that a statement rotates, and of the values, which were given before."""
    key = _keys_turned(rotation)
    if not key or not isinstance(scope.unit, ast.ClassDef) or "self" not in scope.parameters:
        return None
    before = [
        name for name, _, statement in scope.assignments if scope.code.start(statement) < scope.code.start(rotation)
    ]
    value = next((name for name in before if _VALUES.match(name)), None)
    return (key, value) if value is not None and key in before else None


def _tokens_at(scope: Scope, key: str, before: ast.stmt) -> int | None:
    """The dimension of the tokens: -2 behind a ``transpose(1, 2)``, 1 behind a view into heads; None if unknown."""
    texts = [ast.unparse(value) for value, _ in scope.values(key, before)]
    if any(re.search(r"transpose\(1, 2\)|permute\((?:2, )?0, 2, 1|b h n d|b h t d", each) for each in texts):
        return -2
    return 1 if any(re.search(r"\.view\(|\.reshape\(|unflatten\(", each) for each in texts) else None


# --- statements


def _blocks(scope: Scope) -> Iterator[list[ast.stmt]]:
    for node in (scope.function, *(each for each in scope.nodes if isinstance(each, (ast.If, ast.For, ast.With)))):
        yield node.body


def _keys_turned(statement: ast.stmt) -> str:
    """The name of the keys that a statement rotates by a call that is named so; "" where it does something else."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return ""
    calls = [node for node in ast.walk(statement.value) if isinstance(node, ast.Call)]
    named = [call for call in calls if _ROTATES.search(ast.unparse(call.func))]
    target = statement.targets[0]
    names = [name_of(each) for each in (target.elts if isinstance(target, ast.Tuple) else [target])]
    keys = [name for name in names if _KEYS.match(name)]
    given = {name_of(node) for call in named for arg in call.args for node in ast.walk(arg)}
    given |= {name_of(node) for call in named for each in call.keywords for node in ast.walk(each.value)}
    return keys[0] if len(keys) == 1 and keys[0] in given else ""


def _joins(statement: ast.stmt) -> bool:
    """The statement joins keys to those of a cache."""
    for node in ast.walk(statement):
        match node:
            case ast.Assign(targets=[target], value=value):
                pass
            case _:
                continue
        names = [name_of(each) for each in (target.elts if isinstance(target, ast.Tuple) else [target])]
        joins = [call for call in ast.walk(value) if isinstance(call, ast.Call) and last(call) in ("cat", "concat")]
        if any(_KEYS.match(name) for name in names) and any(_EARLIER.search(ast.unparse(call)) for call in joins):
            return True
    return False
