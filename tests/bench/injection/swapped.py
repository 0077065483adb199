"""MHA115: tokens and heads in each other's place, since transposes are left out, or are too many.

All the shapes fit: queries, keys and values lose the same move of their dimensions, and the context loses the way back.
Where the move is needed for something else on the way, a rotary table or a cache, it would raise, and is no site.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.bench.injection.code import (
    Edit,
    Injection,
    integer,
    is_library,
    is_product,
    keyword,
    last,
    name_of,
    operands,
)
from tests.bench.injection.layouts import dims, moves_heads, view
from tests.bench.injection.scope import Scope
from tests.bench.injection.silence import HEADS_UNKNOWN

_TOKENS_FIRST = frozenset({"flash_attn_func", "memory_efficient_attention", "dispatch_attention_fn"})
_INTERFACES = frozenset({"attention_interface"})  # of transformers: a module, then (b, h, t, d)
_MASKS = ("attn_mask", "attn_bias", "block_mask", "score_mod")
_KEEPS = frozenset("contiguous to type_as float half bfloat16 clone mul div unbind chunk split".split())
_LAYERS = re.compile(r"norm|drop|ident|^ln_?\d?$|_ln$", re.IGNORECASE)
_PACKED = re.compile(r"^(2, 0, 3, 1, 4|0, 3, 2, 1, 4)$")
_OF_TENSORS = _KEEPS | {"unflatten", "view", "reshape", "transpose", "permute"}
_PAIRS = re.compile(r"^(\w)(\w)(\w)(\w),\1\2(\w)\4->\1\2\3\5$")
_GROUPS = re.compile(r"\([^()]*\)|\S+")


@dataclass(frozen=True, slots=True)
class _Attention:
    """Queries, keys and values meet: the call or the product that gives the context, and the three of them."""

    node: ast.expr
    given: tuple[ast.expr, ast.expr, ast.expr]
    fused: bool
    turns_back: bool = False  # it gives (b, t, h, d) of (b, h, t, d)


@dataclass(frozen=True, slots=True)
class _Moves:
    """The edits that take the moves away, and how those were written."""

    edits: frozenset[Edit]
    forms: frozenset[str]


def injections(scope: Scope) -> Iterator[Injection]:
    """The mistakes of this kind that a function has room for."""
    for attention in _heads_first(scope):
        yield from _unmoved(scope, attention)
    for call in scope.calls:
        if last(call) in _TOKENS_FIRST and not isinstance(scope.parents.get(call), ast.Attribute):
            yield from _moved(scope, call)


# --- (b, t, h, d) given to what takes (b, h, t, d)


def _heads_first(scope: Scope) -> Iterator[_Attention]:
    flexible = [call for call in scope.calls if last(call) == "flex_attention"]
    for call in (*scope.sdpa, *flexible):
        given = _given(call)
        if given is not None and not _is_masked(scope, call) and not _is_of_one_token(scope, given[0]):
            yield _Attention(call, given, fused=True)
    for call in scope.calls:
        if last(call) in _INTERFACES and 4 <= len(call.args) <= 5 and name_of(call.args[0]) in ("self", ""):
            _, query, key, value, *masks = call.args
            if all(_may_be_none(scope, mask) for mask in masks):
                yield _Attention(call, (query, key, value), fused=True, turns_back=True)
    for node in scope.nodes:
        if not is_product(node) or not scope.is_context(node):
            continue
        assert isinstance(node, ast.expr)
        found = _by_hand(scope, node)
        if found is not None:
            yield found


def _given(call: ast.Call) -> tuple[ast.expr, ast.expr, ast.expr] | None:
    """Queries, keys and values of a call, by place or by name."""
    if any(isinstance(each, ast.Starred) for each in call.args):
        return None
    found = [
        call.args[at] if len(call.args) > at else keyword(call, name) or keyword(call, name[0])
        for at, name in enumerate(("query", "key", "value"))
    ]
    query, key, value = found
    return None if query is None or key is None or value is None else (query, key, value)


def _is_masked(scope: Scope, call: ast.Call) -> bool:
    """A mask that is always given has the shape of the right scores, so that others would raise."""
    masks = [found for name in _MASKS if (found := keyword(call, name)) is not None]
    if last(call) not in ("flex_attention", "flash_attn_func"):
        masks += call.args[3:4]
    return any(not _may_be_none(scope, mask) for mask in masks)


def _is_of_one_token(scope: Scope, query: ast.expr) -> bool:
    """There is one query, that of a class token: the context of another layout has not its size, and it raises."""
    match query:
        case ast.Name():
            return any(_is_of_one_token(scope, each) for each in _values(scope, query))
        case ast.Call() if view(query):
            return any(integer(each) == 1 for each in dims(query)[1:2])
        case ast.Call(func=ast.Attribute(value=value)):
            return _is_of_one_token(scope, value)
        case ast.BinOp(left=left):
            return _is_of_one_token(scope, left)
    return False


def _may_be_none(scope: Scope, mask: ast.expr) -> bool:
    if isinstance(mask, ast.Constant):
        return True
    return isinstance(mask, ast.Name) and mask.id in _optional(scope) and not _is_set(scope, mask)


def _optional(scope: Scope) -> frozenset[str]:
    """The parameters that are None by default."""
    spec = scope.function.args
    places = [*spec.posonlyargs, *spec.args]
    pairs = list(zip(places[len(places) - len(spec.defaults) :], spec.defaults, strict=True))
    pairs += [(each, value) for each, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if value is not None]
    return frozenset(each.arg for each, value in pairs if isinstance(value, ast.Constant) and value.value is None)


def _is_set(scope: Scope, mask: ast.Name) -> bool:
    """The name is bound anew outside of any branch."""
    return any(scope.parents[statement] is scope.function for _, statement in scope.values(mask.id, mask))


def _by_hand(scope: Scope, context: ast.expr) -> _Attention | None:
    """``softmax(q @ k.transpose(-2, -1)) @ v``, whose scores nothing of the shape (t, s) is always added to."""
    given = operands(context)
    if len(given) < 2:
        return None
    weights, value = given[:2]
    softmax = _first(scope, weights, scope.is_weights)
    of = scope.softmaxed(softmax) if isinstance(softmax, ast.Call) else None
    scores = None if of is None else _first(scope, of, scope.is_scores)
    if scores is None:
        return None
    assert isinstance(scores, ast.expr)
    changed = [statement for statement, added in scope.added_to_scores() if not isinstance(added, ast.Constant)]
    changed += [scope.statement(call) for call in scope.calls if last(call) in ("masked_fill", "masked_fill_", "where")]
    if any(not isinstance(scope.parents[each], ast.If) for each in changed):
        return None
    pair = operands(scores)
    if len(pair) < 2:
        return None
    query, key = pair[:2]
    turned = key if _is_of_pairs(scores) else _key(scope, key)
    if turned is None or _is_of_one_token(scope, query):
        return None
    return _Attention(context, (query, turned, value), fused=False)


def _is_of_pairs(scores: ast.expr) -> bool:
    """``einsum("b h i d, b h j d -> b h i j", q, k)``, with any letters."""
    if not isinstance(scores, ast.Call) or last(scores) != "einsum":
        return False
    equation = next((each.value for each in scores.args if isinstance(each, ast.Constant)), None)
    if not isinstance(equation, str):
        return False
    return bool(_PAIRS.match(re.sub(r"\s+", "", equation)))


def _first(scope: Scope, node: ast.expr, test: Callable[[ast.AST], bool]) -> ast.AST | None:
    """The node that the value comes from and that passes the test."""
    found: list[ast.AST] = []

    def passes(each: ast.AST) -> bool:
        if not test(each):
            return False
        found.append(each)
        return True

    return found[0] if scope.leads(node, passes) else None


def _key(scope: Scope, key: ast.expr) -> ast.expr | None:
    """``k`` of ``k.transpose(-2, -1)``."""
    match key:
        case ast.Call(func=ast.Attribute(value=value, attr="transpose"), args=[one, other]):
            return value if {integer(one), integer(other)} in ({-1, -2}, {2, 3}) else None
        case ast.Attribute(value=value, attr="mT"):
            return value
        case ast.Name():
            earlier = scope.values(key.id, key)
            return _key(scope, earlier[0][0]) if len(earlier) == 1 else None
    return None


def _unmoved(scope: Scope, attention: _Attention) -> Iterator[Injection]:
    found = [_moves(scope, each) for each in attention.given]
    moves = [each for each in found if each is not None]
    back = [] if attention.turns_back else _way_back(scope, attention.node)
    if len(moves) < len(found) or back is None:
        return
    forms = sorted(frozenset().union(*(each.forms for each in moves)))
    edits = frozenset(back).union(*(each.edits for each in moves))
    how = "interface" if attention.turns_back else "fused" if attention.fused else "by hand"
    form = ", ".join([how, *forms])
    yield scope.injection("MHA115", form, attention.node, *sorted(edits, key=lambda each: each.start))


def _way_back(scope: Scope, context: ast.expr) -> list[Edit] | None:
    """The edits that leave out the moves of the context, (b, h, t, d) -> (b, t, h, d); None where there is none."""
    edits: list[Edit] = []
    for call in scope.calls:
        match call:
            case ast.Call(func=ast.Attribute(value=receiver)) if moves_heads(call):
                if _comes_from(scope, receiver, context):
                    edits.append(_left_out(scope, call))
            case ast.Call(func=ast.Name("rearrange"), args=[tensor, ast.Constant(value=str(text)) as pattern]):
                if _comes_from(scope, tensor, context):
                    turned = _merged_as_it_comes(text)
                    if turned is None:
                        return None
                    edits.append(scope.code.replaced(pattern, repr(turned)))
    return edits or None


def _comes_from(scope: Scope, node: ast.expr, context: ast.expr) -> bool:
    return scope.leads(node, lambda each: each is context)


def _left_out(scope: Scope, move: ast.Call) -> Edit:
    """The move without which the tensor stays as it is: a link of a chain, or the line ``q = q.transpose(1, 2)``."""
    statement = scope.statement(move)
    match statement:
        case ast.Assign(targets=[target], value=ast.Call(func=ast.Attribute(value=moved)) as value) if value is move:
            if name_of(target) and name_of(target) == name_of(moved):
                return scope.code.line_deleted(statement)
    return scope.code.link(move)


def _merged_as_it_comes(pattern: str) -> str | None:
    """``b h n d -> b n (h d)`` as ``b n h d -> b n (h d)``."""
    left, _, right = pattern.partition("->")
    names, groups = left.split(), _GROUPS.findall(right)
    if len(names) != 4 or len(groups) != 3:
        return None
    b, h, n, d = names
    if groups != [b, n, f"({h} {d})"]:
        return None
    return f"{b} {n} {h} {d} -> {right.strip()}"


# --- where queries, keys and values get their layout


def _moves(scope: Scope, node: ast.expr) -> _Moves | None:
    """The moves of heads before tokens on the way to a tensor, nothing else of which depends on them."""
    if moved := _move(scope, node):
        return moved
    return _joined([_moves(inner, each) for inner, each in _before(scope, node)])


def _joined(found: list[_Moves | None]) -> _Moves | None:
    moves = [each for each in found if each is not None]
    if not moves or len(moves) < len(found):
        return None
    edits = frozenset[Edit]().union(*(each.edits for each in moves))
    return _Moves(edits, frozenset[str]().union(*(each.forms for each in moves)))


def _before(scope: Scope, node: ast.expr) -> list[tuple[Scope, ast.expr]]:
    """Return what a value comes from, through what leaves its layout as it is; nothing where that is not known."""
    match node:
        case ast.Name():
            return [(scope, each) for each in _values(scope, node)]
        case ast.Subscript(value=value) | ast.Starred(value=value):
            return [(scope, value)]
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div()):
            return [(scope, left)]
        case ast.GeneratorExp(elt=elt) | ast.ListComp(elt=elt):
            return [(scope, elt)]
        case ast.Tuple(elts=elts):
            return [(scope, each) for each in elts]
        case ast.Call(func=ast.Name("map"), args=[ast.Lambda(body=body), _]):
            return [(scope, body)]
        case ast.Call(func=ast.Attribute(value=value, attr=attr)) if is_library(value):
            return [(scope, node.args[0])] if attr in _KEEPS and node.args else []
        case ast.Call(func=ast.Attribute(value=ast.Name("self"), attr=attr)):
            return _of_method(scope, node, attr)
        case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in _KEEPS:
            return [(scope, value)]
    return []


def _of_method(scope: Scope, call: ast.Call, name: str) -> list[tuple[Scope, ast.expr]]:
    """Return what a helper gives back, or what a layer that keeps the layout is given."""
    helper = next((other for other in scope.others if other.function.name == name), None)
    if helper is None:
        is_layer = _LAYERS.search(name) and call.args and not _is_of_heads(scope, name)
        return [(scope, call.args[0])] if is_layer else []
    given = [each.value for each in ast.walk(helper.function) if isinstance(each, ast.Return)]
    return [(helper, each) for each in given if each is not None] if len(given) == 1 else []


def _is_of_heads(scope: Scope, layer: str) -> bool:
    """The layer has numbers for each head, which stand where the heads are."""
    for node in ast.walk(scope.unit):
        if not isinstance(node, ast.Assign) or f"self.{layer}" not in map(name_of, node.targets):
            continue
        if re.search(r"\b(num_|n_)?heads\b", ast.unparse(node.value)):
            return True
    return False


def _values(scope: Scope, name: ast.Name) -> list[ast.expr]:
    """All that a name was bound to before; the element of its own, where that was a tuple written out."""
    found: list[ast.expr] = []
    for value, statement in scope.values(name.id, name):
        if isinstance(statement, ast.AugAssign):
            continue
        found.append(value)
    return found


def _move(scope: Scope, node: ast.expr) -> _Moves | None:
    """The move itself, and the edits that leave it out."""
    if not isinstance(node, ast.Call):
        return None
    if last(node) == "rearrange" and len(node.args) > 1:
        return _by_einops(scope, node)
    if not isinstance(node.func, ast.Attribute):
        return None
    helper = scope.function.name != "forward" and not scope.attends
    if moves_heads(node) and _is_split(scope, node.func.value):
        return _Moves(frozenset({_left_out(scope, node)}), frozenset({"helper" if helper else "views"}))
    order = [integer(each) for each in dims(node)]
    text = ", ".join(map(str, order))
    if node.func.attr == "permute" and _PACKED.match(text) and _is_packed(scope, node.func.value):
        first, *_ = dims(node)
        end = dims(node)[-1]
        new = "2, 0, 1, 3, 4" if order[0] == 2 else "0, 1, 2, 3, 4"
        edit = Edit(scope.code.start(first), scope.code.end(end), new)
        return _Moves(frozenset({edit}), frozenset({"packed"}))
    if node.func.attr == "transpose" and set(order) == {1, 3} and _is_packed(scope, node.func.value):
        return _Moves(frozenset({_left_out(scope, node)}), frozenset({"packed"}))
    return None


def _by_einops(scope: Scope, call: ast.Call) -> _Moves | None:
    """``b n (h d) -> b h n d``: the names after the arrow that change places."""
    pattern = call.args[1]
    if not isinstance(pattern, ast.Constant) or not isinstance(pattern.value, str):
        return None
    left, _, right = pattern.value.partition("->")
    sides = _GROUPS.findall(left), right.split()
    if len(sides[0]) != 3 or not sides[0][2].startswith("(") or "(" in right:
        return None
    tokens, heads = sides[0][1], sides[0][2].strip("()").split()[-2]
    if (heads, tokens) not in pairwise(sides[1]) or any(not each.isidentifier() for each in (tokens, heads)):
        return None
    at = sides[1].index(heads)
    names = [*sides[1][:at], tokens, heads, *sides[1][at + 2 :]]
    edit = scope.code.replaced(pattern, repr(f"{left.strip()} -> {' '.join(names)}"))
    return _Moves(frozenset({edit}), frozenset({"einops"}))


def _is_split(scope: Scope, node: ast.expr) -> bool:
    """A view of four dimensions, or one that takes the last apart, here or where the name was bound."""
    if isinstance(node, ast.Name):
        values = _values(scope, node)
        return bool(values) and all(_is_split(scope, each) for each in values)
    if not isinstance(node, ast.Call):
        return False
    if view(node):
        sizes = dims(node)
        return len(sizes) == 4 or any(isinstance(each, ast.Starred) for each in sizes) or len(node.args) == 1
    if last(node) == "unflatten":
        return True
    inner = [each for _, each in _before(scope, node)]
    return len(inner) == 1 and _is_split(scope, inner[0])


def _is_packed(scope: Scope, node: ast.expr) -> bool:
    """A view of five dimensions, the middle one of which holds queries, keys and values."""
    if isinstance(node, ast.Name):
        values = _values(scope, node)
        return len(values) == 1 and _is_packed(scope, values[0])
    return isinstance(node, ast.Call) and view(node) and len(dims(node)) == 5 and integer(dims(node)[2]) in (2, 3)


# --- (b, h, t, d) given to what takes (b, t, h, d)


def _moved(scope: Scope, call: ast.Call) -> Iterator[Injection]:
    """The call as it was written for ``scaled_dot_product_attention``: with the transposes, and the way back."""
    given = _given(call)
    if given is None or _is_masked(scope, call):
        return
    names = [name_of(each) for each in given]
    if not all(names):
        return
    edits = [scope.code.replaced(each, f"{name}.transpose(1, 2)") for each, name in zip(given, names, strict=True)]
    at = scope.code.end(call)
    silent = HEADS_UNKNOWN if any(_is_of_other_code(scope, each) for each in given) else ""
    back = Edit(at, at, ".transpose(1, 2)")
    yield scope.injection("MHA115", "tokens first", call, *edits, back, silent=silent)


def _is_of_other_code(scope: Scope, node: ast.expr) -> bool:
    """The value comes from an object that the function is handed, such as ``attn.norm_q(query)``."""
    todo, seen = [node], set[ast.expr]()
    while todo:
        here = todo.pop()
        if here in seen:
            continue
        seen.add(here)
        match here:
            case ast.Name():
                todo += _values(scope, here)
            case ast.Call(func=func, args=args):
                if isinstance(func, ast.Attribute):
                    owner = name_of(func.value)
                    if owner in scope.parameters - {"self"} and "." not in owner and func.attr not in _OF_TENSORS:
                        return True
                    todo.append(func.value)
                todo += args[:1]
            case ast.Subscript(value=value):
                todo.append(value)
    return False
