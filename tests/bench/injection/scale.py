"""MHA104: scores of the wrong scale."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace

from tests.bench.injection.code import (
    Edit,
    Injection,
    is_product,
    keyword,
    last,
    name_of,
    operands,
)
from tests.bench.injection.scope import Scope
from tests.bench.injection.silence import BIASED, CONFIGURED, NORMALISED, NOT_LINEAR, ONE_HEAD

_HEAD_WIDTH = re.compile(
    r"(^|[._])(head_dims?|dim_heads?|d_head|head_size|attention_head_size|d_k|d_kv|dk|head_width|dim_per_head|key_dim|kv_dim"
    r"|d_keys|hidden_size_per_attention_head|qk_head_dim|head_channels|head_features|per_head_dim)$"
    r"|^\(?(q|k|query|key|queries|keys)\w*\.(size\(-1\)|shape\[-1\])\)?$"
    r"|^[\w.]+ *// *[\w.]*heads?$"
)
_MODEL_WIDTHS = (
    "embed_dim embed_dims hidden_size d_model n_embd dim hidden_dim inner_dim query_dim all_head_size all_head_dim"
    " emb_dim n_feat in_channels channels model_dim embedding_dim attn_dim attention_dim n_state"
).split()
_HEADS = "num_heads n_heads heads num_attention_heads n_head nhead num_head".split()
_SCALE = re.compile(r"(scal(e|ing)|norm_factor|norm_fact|temperature|softmax_scale|inv_sqrt\w*|factor)$")
_NORM_OF_QUERIES = re.compile(
    r"q_norm|k_norm|query_norm|key_norm|norm_q|norm_k|qk_norm|norm_query|cosine|WithBN|BatchNorm"
)
_NORM = re.compile(r"norm(alize)?\w*\(|l2norm|rsqrt", re.IGNORECASE)
_QUERY = re.compile(r"(q|k|query|key|queries|keys)(_\w+)?$")
_CAST = re.compile(r"\b(q|k|query|key|queries|keys)(_\w+)?\.(float\(\)|to\(torch\.float32\))")
_SCALED_ANEW = re.compile(r"logit_scale|mscale|temperature|softcap")  # learned scales, YaRN


def injections(scope: Scope) -> Iterator[Injection]:
    """The wrong scales that a function has room for."""
    silent = _silent_about_class(scope)
    for injection in (*_wrong_scale(scope), *_scaled_twice(scope)):
        yield replace(injection, silent=silent or injection.silent)


def _silent_about_class(scope: Scope) -> str:
    """The reason for which the page says nothing of any scale in the class."""
    text = scope.code.text(scope.unit)
    if _NORM_OF_QUERIES.search(text) or _CAST.search(text) or _normalises_queries(scope):
        return NORMALISED
    return CONFIGURED if _SCALED_ANEW.search(text) else ""


def _normalises_queries(scope: Scope) -> bool:
    for node in ast.walk(scope.unit):
        if not isinstance(node, ast.Assign) or not _NORM.search(ast.unparse(node.value)):
            continue
        for target in node.targets:
            names = [name_of(each) for each in ast.walk(target)]
            # in ``q, k = map(l2norm, (q, k))``, not in ``q = self.to_q(norm(x))``
            given = {name_of(each) for each in ast.walk(node.value)}
            if any(_QUERY.match(name) and name in given for name in names if name):
                return True
    return False


# --- MHA104


def _wrong_scale(scope: Scope) -> Iterator[Injection]:
    for node in scope.nodes:
        found = _inverse_root(scope, node)
        if found is not None:
            assert isinstance(node, ast.BinOp)
            told = _scales_scores(scope, node)
            if told is None:
                continue  # no attention: it is not known to scale scores
            reads, silent = told
            width, inverse = found
            how = "" if not reads or any(_multiplies(method, reads[0]) for method in scope.others) else ", handed on"
            for kind, other in (
                ("model width", _at_hand(scope, node, _MODEL_WIDTHS)),
                ("heads", _at_hand(scope, node, _HEADS)),
            ):
                if other and other != scope.code.text(width) and not _is(scope, width, other, node):
                    edit = scope.code.replaced(width, other)
                    yield scope.injection("MHA104", f"{kind}{how}", node, edit, reads=reads, silent=silent)
            yield scope.injection("MHA104", f"inverted{how}", node, inverse, reads=reads, silent=silent)
        if isinstance(node, ast.BinOp):
            yield from _division(scope, node)
            yield from _left_out(scope, node)


def _inverse_root(scope: Scope, node: ast.AST) -> tuple[ast.expr, Edit] | None:
    """The width in ``d ** -0.5`` or ``1 / sqrt(d)``, and the edit that makes ``d ** 0.5`` or ``sqrt(d)`` of it."""
    code = scope.code
    match node:
        case ast.BinOp(left=width, op=ast.Pow(), right=power) if _number(power) == -0.5:
            inverse = code.replaced(power, "0.5")
        case ast.BinOp(left=one, op=ast.Div(), right=ast.Call(args=[width]) as root) if (
            _number(one) == 1 and last(root) == "sqrt"
        ):
            inverse = code.replaced(node, code.text(root))
        case _:
            return None
    return (width, inverse) if _HEAD_WIDTH.search(code.text(width)) else None


def _scales_scores(scope: Scope, node: ast.BinOp) -> tuple[tuple[str, ...], str] | None:
    """The attribute that an inverse root is put into, () for a name, and the reason for which the rule is silent.

    None where it is not known to scale scores.
    """
    product = scope.parents[node]
    if isinstance(product, ast.BinOp) and isinstance(product.op, ast.Mult) and product.right is node:
        return ((), "") if _scaled(scope, product, product.left) else None
    statement = scope.statement(node)
    if not isinstance(statement, ast.Assign):
        return None
    around = {type(each) for each in scope.around(node)}
    chosen = around & {ast.IfExp, ast.BoolOp, ast.Compare, ast.Call, ast.If}  # a configured scale may come first
    if statement.value is not node and not chosen:
        return None
    silent = CONFIGURED if chosen else ""
    name = name_of(statement.targets[0])
    if not _SCALE.search(name):
        return None
    if name.startswith("self."):
        used = any(_multiplies(method, name) or _hands_on(method, name) for method in scope.others)
        return ((name,), silent) if used else None
    return ((), silent) if scope.attends else None


def _multiplies(scope: Scope, name: str) -> bool:
    """Whether a method that computes weights multiplies by the attribute."""
    return bool(scope.weights) and any(
        isinstance(up, (ast.BinOp, ast.AugAssign)) and isinstance(up.op, ast.Mult)
        for read in _reads(scope, name)
        for up in _up(scope, read)
    )


def _hands_on(scope: Scope, name: str) -> bool:
    """Whether a method gives the attribute to what it calls, as the scale."""
    return any(
        isinstance(up, ast.keyword) and up.arg in ("scale", "scaling", "alpha", "softmax_scale")
        for read in _reads(scope, name)
        for up in _up(scope, read)
    )


def _reads(scope: Scope, name: str) -> list[ast.Attribute]:
    return [
        each
        for each in scope.nodes
        if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Load) and name_of(each) == name
    ]


def _up(scope: Scope, node: ast.AST) -> Iterator[ast.AST]:
    while node in scope.parents and not isinstance(node, ast.stmt):
        node = scope.parents[node]
        yield node


def _number(node: ast.AST) -> float | None:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
    return float(value) if isinstance(value, (int, float)) else None


def _at_hand(scope: Scope, at: ast.expr, names: list[str]) -> str:
    """The first of the names that is bound here: an argument, a name of before, or an attribute of self."""
    for name in names:
        if name in scope.parameters or scope.values(name, at):
            return name
        if scope.function.name == "__init__" and scope.values(f"self.{name}", at):
            return f"self.{name}"
        if scope.function.name != "__init__" and _set_in_init(scope, name):
            return f"self.{name}"
    return ""


def _set_in_init(scope: Scope, name: str) -> bool:
    for method in scope.unit.body if isinstance(scope.unit, ast.ClassDef) else []:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            return any(
                name_of(t) == f"self.{name}" for n in ast.walk(method) if isinstance(n, ast.Assign) for t in n.targets
            )
    return False


def _is(scope: Scope, width: ast.expr, other: str, at: ast.expr) -> bool:
    """Whether the head's width was set to that very name, as in single-head attention."""
    return any(scope.code.text(value) == other for value, _ in scope.values(name_of(width), at))


def _division(scope: Scope, node: ast.BinOp) -> Iterator[Injection]:
    """``scores / math.sqrt(d)``: of another width, inverted, or left out."""
    code = scope.code
    match node:
        case ast.BinOp(left=scaled, op=ast.Div(), right=ast.Call(args=[width]) as root) if last(root) == "sqrt":
            pass
        case ast.BinOp(left=scaled, op=ast.Div(), right=ast.BinOp(left=width, op=ast.Pow(), right=power) as root) if (
            _number(power) == 0.5
        ):
            pass
        case _:
            return
    if not _HEAD_WIDTH.search(code.text(width)) or not _scaled(scope, node, scaled):
        return
    for kind, names in (("model width", _MODEL_WIDTHS), ("heads", _HEADS)):
        other = _at_hand(scope, node, names)
        if other and other != code.text(width) and not _is(scope, width, other, node):
            yield scope.injection("MHA104", kind, node, code.replaced(width, other))
    slash = code.data.index(b"/", _closed(scope, scaled))
    yield scope.injection("MHA104", "inverted", node, Edit(slash, slash + 1, "*"))
    yield scope.injection("MHA104", "left out", node, _unscaled(scope, node, scaled), silent=_silent_unscaled(scope))


def _silent_unscaled(scope: Scope) -> str:
    """The reason for which the page says nothing of scores that are not scaled at all."""
    text = scope.code.text(scope.unit)
    if not re.search(r"head", text, re.IGNORECASE):
        return ONE_HEAD
    if any("mask" not in scope.code.text(added) for _, added in scope.added_to_scores()):
        return BIASED
    if re.search(r"relative_position_bias|compute_bias", text):
        return BIASED
    is_given = scope.unit is scope.function and any(_QUERY.match(each) for each in scope.parameters)
    no_layer = isinstance(scope.unit, ast.ClassDef) and not re.search(r"Linear|_proj|Dense", text)
    return NOT_LINEAR if is_given or no_layer else ""


def _closed(scope: Scope, node: ast.expr) -> int:
    """The end of an operand, with the brackets around it."""
    data, at = scope.code.data, scope.code.end(node)
    while data[at : at + 1] in (b")", b" ", b"\n"):
        at += 1
    while data[at - 1 : at] in (b" ", b"\n"):
        at -= 1
    return at


def _scaled(scope: Scope, node: ast.expr, scaled: ast.expr) -> bool:
    """Whether it is scores that are scaled, or a query on its way to them."""
    if not scope.weights:
        return False
    return scope.leads(scaled, scope.is_scores) or _query(scope, node)


def _query(scope: Scope, node: ast.expr) -> bool:
    """Whether the value goes straight into a product as its first factor, or by the name of a query."""
    parent = scope.parents[node]
    if is_product(parent) and operands(parent)[:1] == [node]:
        return True
    statement = scope.statement(node)
    named_query = isinstance(statement, ast.Assign) and bool(
        re.match(r"q(uery)?(_\w+)?$", name_of(statement.targets[0]))
    )
    return named_query and parent is statement


def _left_out(scope: Scope, node: ast.BinOp) -> Iterator[Injection]:
    """``(q @ k.transpose(-2, -1)) * self.scale`` and ``q = q * self.scale`` without the scale."""
    code = scope.code
    match node:
        case ast.BinOp(left=scaled, op=ast.Mult(), right=(ast.Name() | ast.Attribute()) as scale) if _SCALE.search(
            code.text(scale)
        ):
            if _scaled(scope, node, scaled) and not _is_one(scope, scale):
                silent = _silent_unscaled(scope)
                yield scope.injection("MHA104", "left out", node, _unscaled(scope, node, scaled), silent=silent)


def _unscaled(scope: Scope, node: ast.BinOp, scaled: ast.expr) -> Edit:
    """Leaves out ``q = q * self.scale`` altogether, and the factor elsewhere."""
    statement = scope.statement(node)
    if (
        isinstance(statement, ast.Assign)
        and statement.value is node
        and name_of(statement.targets[0]) == name_of(scaled) != ""
    ):
        return scope.code.line_deleted(statement)
    return Edit(_closed(scope, scaled), scope.code.end(node), "")


def _is_one(scope: Scope, scale: ast.expr) -> bool:
    """The class sets the scale to 1 and to nothing else, so that the mistake is none."""
    name = name_of(scale)
    values = [
        node.value
        for node in ast.walk(scope.unit)
        if isinstance(node, ast.Assign) and any(name_of(target) == name for target in node.targets)
    ]
    return bool(values) and all(_number(value) == 1 for value in values)


# --- the root of a head's width at two places


def _scaled_twice(scope: Scope) -> Iterator[Injection]:
    """Queries are scaled for fused attention, which scales too; or a product that is scaled is scaled again."""
    code = scope.code
    for call in scope.sdpa:
        query = call.args[0]
        if isinstance(query, ast.Name) and keyword(call, "scale") is None and not _is_scaled(scope, query):
            edit = code.replaced(query, f"{query.id} * {query.id}.shape[-1] ** -0.5")
            yield scope.injection("MHA104", "scaled twice, fused", call, edit)
    for node in scope.nodes:
        scaled = _scaled_by_a_root(scope, node)
        product = None if scaled is None else _product_behind(scope, scaled)
        query = None if product is None else _query_of(product)
        if query:
            end = code.end(node) if isinstance(node, ast.expr) else 0
            edit = Edit(end, end, f" * {query}.shape[-1] ** -0.5")
            assert isinstance(node, ast.expr)
            yield scope.injection("MHA104", "scaled twice", node, edit)


def _is_scaled(scope: Scope, query: ast.Name) -> bool:
    """A factor of the queries is called a scale already."""
    made = [value for value, _ in scope.values(query.id, query)]
    return any(re.search(r"scal|sqrt|\*\* ?-?0?\.", scope.code.text(value)) for value in made)


def _scaled_by_a_root(scope: Scope, node: ast.AST) -> ast.expr | None:
    """What is scaled by the root of a head's width, in ``scores / math.sqrt(d)`` or ``scores * self.scale``."""
    match node:
        case ast.BinOp(left=scaled, op=ast.Div(), right=ast.Call(args=[width]) as root) if last(root) == "sqrt":
            return scaled if _HEAD_WIDTH.search(scope.code.text(width)) else None
        case ast.BinOp(left=scaled, op=ast.Mult(), right=ast.Attribute() as scale):
            name = name_of(scale)
            return scaled if _SCALE.search(name) and _is_a_root(scope, name) else None
    return None


def _is_a_root(scope: Scope, name: str) -> bool:
    """The class sets the attribute once, to the inverse root of a head's width."""
    made = [value for other in scope.others for named, value, _ in other.assignments if named == name]
    owners = [other for other in scope.others if any(named == name for named, _, _ in other.assignments)]
    return len(made) == 1 and _inverse_root(owners[0], made[0]) is not None


def _product_behind(scope: Scope, scaled: ast.expr) -> ast.expr | None:
    """The product of queries and keys that is scaled, written there or a line before."""
    if scope.is_scores(scaled):
        return scaled
    made = [value for value, _ in scope.values(name_of(scaled), scaled)] if name_of(scaled) else []
    return made[0] if len(made) == 1 and scope.is_scores(made[0]) else None


def _query_of(product: ast.expr) -> str:
    """The name of the queries, where a head's width is their last dimension."""
    query = operands(product)[0]
    if isinstance(product, ast.Call) and last(product) == "einsum":
        equation = next((each.value for each in product.args if isinstance(each, ast.Constant)), "")
        sides = re.fullmatch(r"(.*),(.*)->(.*)", str(equation).strip())
        letter = sides[1].strip()[-1:] if sides else ""
        if not sides or letter not in sides[2] or letter in sides[3]:
            return ""
    return query.id if isinstance(query, ast.Name) else ""
