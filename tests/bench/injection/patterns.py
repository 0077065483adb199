"""MHA101 and MHA102 where einops merges and splits the heads: a reshape written in its place, which moves nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.injection.code import Injection, keyword, last
from tests.bench.injection.layouts import is_query_key_value
from tests.bench.injection.scope import Scope

_MERGE = re.compile(r"^\s*(\w+) +(\w+) +(\w+) +(\w+) *-> *\1 +\3 +\(\2 +\4\)\s*$")
_SPLIT = re.compile(r"^\s*(\w+) +(\w+) +\((\w+) +(\w+)\) *-> *\1 +\3 +\2 +\4\s*$")


def injections(scope: Scope) -> Iterator[Injection]:
    """``rearrange`` of what has a name, as a reshape of the same sizes."""
    for call in scope.calls:
        match call:
            case ast.Call(func=ast.Name("rearrange"), args=[ast.Name() as tensor, ast.Constant(value=str(pattern))]):
                yield from _merge(scope, call, tensor, pattern)
                yield from _split(scope, call, tensor, pattern)


def _merge(scope: Scope, call: ast.Call, tensor: ast.Name, pattern: str) -> Iterator[Injection]:
    """MHA101: ``b h n d -> b n (h d)`` of the context."""
    if _MERGE.match(pattern) and scope.leads(tensor, scope.is_context):
        x = tensor.id
        edit = scope.code.replaced(call, f"{x}.reshape({x}.shape[0], {x}.shape[2], -1)")
        yield scope.injection("MHA101", "einops", call, edit)


def _split(scope: Scope, call: ast.Call, tensor: ast.Name, pattern: str) -> Iterator[Injection]:
    """MHA102: ``b n (h d) -> b h n d`` of queries, keys or values."""
    found = _SPLIT.match(pattern)
    heads = None if found is None else keyword(call, found[3])
    if heads is None or not scope.attends:
        return
    statement = scope.statement(call)
    names = [name for name, _, at in scope.assignments if at is statement]
    if not names or not all(map(is_query_key_value, names)):
        return  # no attention: what is split is not known to be queries, keys or values
    x = tensor.id
    edit = scope.code.replaced(call, f"{x}.reshape({x}.shape[0], {scope.code.text(heads)}, {x}.shape[1], -1)")
    mapped = any(isinstance(each, ast.Call) and last(each) == "map" for each in scope.around(call))
    yield scope.injection("MHA102", "einops, mapped" if mapped else "einops", call, edit)
