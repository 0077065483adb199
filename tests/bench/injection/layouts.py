"""MHA101 and MHA102: heads merged, or split, without the transpose that belongs to it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.injection.code import Edit, Injection, integer, last, name_of
from tests.bench.injection.scope import Scope
from tests.bench.injection.silence import NO_ATTENTION, ONE_TOKEN_OR_HEAD

_SPLITS = re.compile(r"_shape|shape_?heads|transpose_for_scores|split_heads|reshape_for|separate_heads|to_batch_dim")
_QKV = re.compile(
    r"^(self\.)?((new_|mixed_)?(q|k|v|qs|ks|vs)\d?|.*(query|key|value|quer(y|ies)|[qkv]_proj|[qkv])s?(_.*)?)$"
)

_HANDS_ON = re.compile(r"attention_interface|attention_function|attn_fn|attention\(|attn\(|apply_")


def injections(scope: Scope) -> Iterator[Injection]:
    """The mistakes of layout that a function has room for."""
    for call in scope.calls:
        if view(call):
            yield from _unmoved_merge(scope, call)
            yield from _late_batch_split(scope, call)
        if moves_heads(call):
            yield from _direct_split(scope, call)
        yield from _direct_packed_split(scope, call)


# --- MHA101


def _unmoved_merge(scope: Scope, merge: ast.Call) -> Iterator[Injection]:
    """``context.transpose(1, 2).reshape(b, t, c)``, in a chain or over two statements, without the transpose."""
    assert isinstance(merge.func, ast.Attribute)
    sizes = dims(merge)
    if _rank(sizes) != 3 or not _three_dims(sizes):
        return
    if any(integer(each) == 1 for each in sizes):
        return  # the mistake is none: one query computes the same
    silent = "" if "head" in scope.code.text(scope.unit).lower() else ONE_TOKEN_OR_HEAD
    receiver, dense = _without_contiguous(merge.func.value)
    across: ast.stmt | None = None
    if isinstance(receiver, ast.Name):
        earlier = scope.values(receiver.id, merge)
        if len(earlier) != 1:
            return
        value, across = earlier[0]
        receiver, more = _without_contiguous(value)
        dense += more
    if not (isinstance(receiver, ast.Call) and moves_heads(receiver)):
        return
    assert isinstance(receiver.func, ast.Attribute)
    moved = receiver.func.value
    if not scope.leads(moved, scope.is_context):
        return  # no attention: what is merged does not come from weights and values
    target = scope.statement(merge)
    if across is None:
        yield scope.injection("MHA101", "in one chain", merge, scope.code.link(receiver), silent=silent)
        if dense:
            links = [scope.code.link(each) for each in dense]
            unmoved = scope.code.link(receiver)
            yield scope.injection("MHA101", "with its contiguous", merge, unmoved, *links, silent=silent)
    elif isinstance(across, ast.Assign) and name_of(across.targets[0]) == name_of(moved):
        deleted = scope.code.line_deleted(across)
        yield scope.injection("MHA101", "statement left out", target, deleted, silent=silent)
    else:
        yield scope.injection("MHA101", "over two statements", target, scope.code.link(receiver), silent=silent)


def _rank(sizes: list[ast.expr]) -> int:
    """Of a view: ``*input_shape`` stands for batch and tokens."""
    return sum(2 if isinstance(each, ast.Starred) else 1 for each in sizes)


def _three_dims(sizes: list[ast.expr]) -> bool:
    return len(sizes) == 3 or (
        len(sizes) == 2 and isinstance(sizes[0], ast.Starred) and ast.unparse(sizes[0].value).endswith("shape")
    )


def _without_contiguous(node: ast.expr) -> tuple[ast.expr, list[ast.Call]]:
    """What ``.contiguous()`` is called on, and those calls."""
    calls: list[ast.Call] = []
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "contiguous":
        calls.append(node)
        node = node.func.value
    return node, calls


# --- MHA102


def _direct_split(scope: Scope, move: ast.Call) -> Iterator[Injection]:
    """``x.view(b, t, h, d).transpose(1, 2)`` written ``x.view(b, h, t, d)``."""
    assert isinstance(move.func, ast.Attribute)
    split, _ = _without_contiguous(move.func.value)
    across: ast.stmt | None = None
    if isinstance(split, ast.Name):
        earlier = scope.values(split.id, move)
        if len(earlier) != 1:
            return
        split, across = earlier[0]
    if not (isinstance(split, ast.Call) and view(split)) or not _makes_heads(scope, move):
        return
    swapped = _swapped(scope, split)
    if not swapped:
        return
    form = "helper" if _SPLITS.search(scope.function.name) else "in one chain"
    # a helper that nobody calls is left over from what the class was copied from
    silent = NO_ATTENTION if form == "helper" and not scope.is_called else ""
    if across is not None:
        form = f"over two statements{', helper' * (form == 'helper')}"
    statement = scope.statement(move)
    match statement:
        case ast.Assign(targets=[target], value=ast.Call(func=ast.Attribute(value=moved))) if (
            across is not None and statement.value is move and name_of(target) == name_of(moved)
        ):
            unmoved = scope.code.line_deleted(statement)
        case _:
            unmoved = scope.code.link(move)
    yield scope.injection("MHA102", form, split, *swapped, unmoved, silent=silent)


def _makes_heads(scope: Scope, move: ast.Call) -> bool:
    if _SPLITS.search(scope.function.name):
        return True
    statement = scope.statement(move)
    names = [name for name, _, at in scope.assignments if at is statement]
    return bool(names) and all(map(is_query_key_value, names)) and _attends_somewhere(scope)


def is_query_key_value(name: str) -> bool:
    return bool(_QKV.match(name.lower()))


def _attends_somewhere(scope: Scope) -> bool:
    return scope.attends or bool(_HANDS_ON.search(scope.code.text(scope.function)))


def _swapped(scope: Scope, split: ast.Call) -> tuple[Edit, ...]:
    """The edits that make (b, h, t, d) of the sizes (b, t, h, d); none where they are of another kind."""
    code, sizes = scope.code, dims(split)
    text = [code.text(each) for each in sizes]
    if len(sizes) == 4 and not any(isinstance(each, ast.Starred) for each in sizes):
        if any(integer(each) in (1, 2, 3) for each in sizes):
            # the mistake is none for one query; halves of a rotation and packed projections are no split into heads
            return ()
        return (code.replaced(sizes[1], text[2]), code.replaced(sizes[2], text[1]))
    shape, heads = _shape_name(scope, split)
    if shape is None or any(integer(each) in (1, 2, 3) for each in heads):
        return ()
    assert isinstance(split.func, ast.Attribute)
    first = min(code.start(each) for each in split.args)
    end = max(code.end(each) for each in split.args)
    head, width = (code.text(each) for each in heads)
    tokens = f"{shape}[1]" if head == "-1" or width == "-1" else "-1"
    return (Edit(first, end, f"{shape}[0], {head}, {tokens}, {width}"),)


def _shape_name(scope: Scope, split: ast.Call) -> tuple[str | None, list[ast.expr]]:
    """``(*input_shape, h, d)`` or ``x.size()[:-1] + (h, d)``, in place or by a name: the shape's text, and h and d."""
    node: ast.expr = split.args[0] if split.args else split
    if len(split.args) == 1 and isinstance(node, ast.Starred):
        node = node.value
    if len(split.args) == 1 and isinstance(node, ast.Name):
        earlier = scope.values(node.id, split)
        if len(earlier) != 1:
            return None, []
        node = earlier[0][0]
    elts = list(split.args) if len(split.args) > 1 else node.elts if isinstance(node, ast.Tuple) else []
    if len(elts) == 3 and isinstance(elts[0], ast.Starred) and not isinstance(elts[2], ast.Starred):
        text = scope.code.text(elts[0].value)
        return (text if re.fullmatch(r"\w*shape", text) else None), elts[1:]
    match node:
        case ast.BinOp(
            left=ast.Subscript(value=size, slice=ast.Slice(lower=None, upper=upper)), right=ast.Tuple(elts=[h, d])
        ):
            return (scope.code.text(size) if integer(upper) == -1 else None), [h, d]
    return None, []


def _late_batch_split(scope: Scope, split: ast.Call) -> Iterator[Injection]:
    """Time first: ``x.view(t, b * h, d).transpose(0, 1)`` written ``x.view(b * h, t, d)``."""
    sizes = dims(split)
    if len(sizes) != 3 or not isinstance(sizes[1], ast.BinOp) or not isinstance(sizes[1].op, ast.Mult):
        return
    move = _next_link(scope, split)
    if move is None or last(move) != "transpose" or {integer(each) for each in move.args} != {0, 1}:
        return
    if not scope.attends:
        return
    code = scope.code
    swaps = (code.replaced(sizes[0], code.text(sizes[1])), code.replaced(sizes[1], code.text(sizes[0])))
    yield scope.injection("MHA102", "heads in the batch", split, *swaps, code.link(move))


def _next_link(scope: Scope, call: ast.Call) -> ast.Call | None:
    """The method that is called on the result."""
    attribute = scope.parents.get(call)
    after = scope.parents.get(attribute) if isinstance(attribute, ast.Attribute) else None
    return after if isinstance(after, ast.Call) and after.func is attribute else None


def _direct_packed_split(scope: Scope, move: ast.Call) -> Iterator[Injection]:
    """``.reshape(b, t, 3, h, d).permute(2, 0, 3, 1, 4)`` written ``.reshape(b, 3, h, t, d).permute(1, 0, 2, 3, 4)``."""
    match move.func:
        case ast.Attribute(value=ast.Call() as split, attr="permute"):
            pass
        case _:
            return
    sizes = dims(split)
    if not view(split) or len(sizes) != 5 or integer(sizes[2]) not in (2, 3):
        return
    if any(isinstance(each, ast.Starred) for each in sizes):
        return
    order = move.args[0].elts if len(move.args) == 1 and isinstance(move.args[0], ast.Tuple) else move.args
    if [integer(each) for each in order] != [2, 0, 3, 1, 4]:
        return
    code = scope.code
    texts = [code.text(each) for each in sizes]
    moved = [code.replaced(sizes[i], texts[j]) for i, j in ((1, 2), (2, 3), (3, 1))]
    new_order = [code.replaced(each, text) for each, text in zip(order, "10234", strict=True)]
    yield scope.injection("MHA102", "packed", split, *moved, *new_order)


# --- calls of layout


def view(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr in ("view", "reshape")


def dims(call: ast.Call) -> list[ast.expr]:
    """The sizes that a view is given, one by one or in a tuple."""
    if len(call.args) == 1 and isinstance(call.args[0], (ast.Tuple, ast.List)):
        return call.args[0].elts
    return call.args


def moves_heads(call: ast.Call) -> bool:
    """``.transpose(1, 2)`` and ``.permute(0, 2, 1, 3)``, in any spelling."""
    if not isinstance(call.func, ast.Attribute):
        return False
    order = [integer(each) for each in dims(call)]
    if call.func.attr in ("transpose", "swapaxes"):
        return set(order) in ({1, 2}, {-3, -2}, {1, -2})
    return call.func.attr == "permute" and order == [0, 2, 1, 3]
