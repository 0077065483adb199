"""MHA106, 109, 110, 112, 113: the mask and the flag that ``scaled_dot_product_attention`` is given."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.injection.code import Edit, Injection, keyword, named
from tests.bench.injection.scope import Scope
from tests.bench.injection.silence import LENGTHS_ASKED, NUMBERS_UNKNOWN, QUERIES_CACHED

_CACHE = re.compile(r"past_key|past_value|cache|layer_past|kv_?cache")
_BOOLEAN = re.compile(r"^(bool\(\)|to\((dtype=)?torch\.bool\))$")


def injections(scope: Scope) -> Iterator[Injection]:
    """The mistakes about fused attention that a function has room for."""
    for call in scope.sdpa:
        if any(isinstance(each, ast.Starred) for each in call.args[:2]) or len(call.args) > 4:
            continue
        yield from _flag_with_cache(scope, call)
        yield from _flag_with_mask(scope, call)
        yield from _number_mask(scope, call)
        yield from _planted(scope, call)


def _mask(call: ast.Call) -> ast.expr | None:
    """The mask that may be set."""
    given = keyword(call, "attn_mask") or (call.args[3] if len(call.args) > 3 else None)
    return None if isinstance(given, ast.Constant) else given


def _flag(scope: Scope, call: ast.Call, value: str) -> Edit:
    """Sets ``is_causal``."""
    given = named(call, "is_causal")
    return (
        scope.code.with_argument(call, f"is_causal={value}")
        if given is None
        else scope.code.replaced(given.value, value)
    )


# --- MHA109


def _flag_with_cache(scope: Scope, call: ast.Call) -> Iterator[Injection]:
    """A guard on the lengths dropped; or the flag planted with its guard, where there is a cache in the function."""
    if not _grows(scope, call):
        return  # the mistake is none: there is no cache
    silent = LENGTHS_ASKED if _is_guarded(scope, call) else ""
    given = named(call, "is_causal")
    flag = None if given is None else given.value
    if isinstance(flag, ast.Name):
        earlier = scope.values(flag.id, call)
        flag = earlier[0][0] if len(earlier) == 1 else None
    if isinstance(flag, (ast.BoolOp, ast.IfExp, ast.Compare)) and re.search(
        r"len|shape|size|> 1|cache|past", ast.unparse(flag)
    ):
        yield scope.injection("MHA109", "guard dropped", flag, scope.code.replaced(flag, "True"), silent=silent)
        return
    if _mask(call) is not None:
        return
    q, k = (scope.code.text(each) for each in call.args[:2])
    if not (q.isidentifier() and k.isidentifier()) or (
        given is not None and ast.unparse(given.value) not in ("False", "True")
    ):
        return
    right = f"{q}.shape[-2] == {k}.shape[-2]"
    base = (_flag(scope, call, right),)
    yield scope.injection("MHA109", "planted, flag", call, _flag(scope, call, "True"), base=base, silent=silent)


def _is_guarded(scope: Scope, call: ast.Call) -> bool:
    """The path to the call depends on the cache or on lengths."""
    tests = [ast.unparse(each.test) for each in scope.around(call) if isinstance(each, (ast.If, ast.IfExp))]
    return any(_CACHE.search(test) or re.search(r"len|shape|size|> 1|prefill|decod", test) for test in tests)


def _grows(scope: Scope, call: ast.Call) -> bool:
    """Whether the keys come from a cache."""

    def cached(node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Call)
            and bool(re.search(r"\.update\(|cat\(", ast.unparse(node)))
            and bool(_CACHE.search(ast.unparse(node)))
        )

    return scope.leads(call.args[1], cached)


# --- MHA112


def _flag_with_mask(scope: Scope, call: ast.Call) -> Iterator[Injection]:
    mask = _mask(call)
    flag = keyword(call, "is_causal")
    if mask is not None and (flag is None or ast.unparse(flag) != "True"):
        yield scope.injection("MHA112", "flag added", call, _flag(scope, call, "True"))


# --- MHA113


def _number_mask(scope: Scope, call: ast.Call) -> Iterator[Injection]:
    """``.bool()`` of the mask left out, or another dtype in its place."""
    mask = _mask(call)
    if mask is None:
        return
    nodes: list[ast.AST] = [mask]
    if isinstance(mask, ast.Name):
        nodes += [value for value, _ in scope.values(mask.id, call)]
    q = scope.code.text(call.args[0])
    for node in nodes:
        for inner in ast.walk(node):
            if not isinstance(inner, ast.Call) or not isinstance(inner.func, ast.Attribute) or _asked(scope, inner):
                continue
            code = scope.code
            link = code.data[code.end(inner.func) - len(inner.func.attr.encode()) : code.end(inner)].decode()
            dtype = keyword(inner, "dtype")
            if _BOOLEAN.match(link):
                at = code.end(inner.func) - len(inner.func.attr.encode())
                silent = "" if _is_built(scope, inner.func.value) else NUMBERS_UNKNOWN
                edit = Edit(at, code.end(inner), "float()")
                yield scope.injection("MHA113", "to float", inner, edit, silent=silent)
            elif (
                dtype is not None
                and ast.unparse(dtype) == "torch.bool"
                and inner.func.attr in ("ones", "zeros", "full")
            ):
                yield scope.injection("MHA113", "made of numbers", inner, code.replaced(dtype, f"{q}.dtype"))


def _is_built(scope: Scope, mask: ast.expr) -> bool:
    """The code itself makes the zeros and ones."""
    for node in ast.walk(mask):
        if isinstance(node, ast.Call) and re.search(
            r"(^|\.)(ones|zeros|tril|triu|eye)(_like)?$", ast.unparse(node.func)
        ):
            return True
        if isinstance(node, ast.Compare):
            return True
        if isinstance(node, ast.Name) and any(_is_built(scope, value) for value, _ in scope.values(node.id, node)):
            return True
    return False


def _asked(scope: Scope, node: ast.AST) -> bool:
    """The value is only inverted or compared, so that it is a boolean again, and the mistake is none."""
    up: list[ast.AST] = []
    while not isinstance(node, ast.stmt):
        up.append(node := scope.parents[node])
    return any(
        isinstance(each, (ast.Compare, ast.UnaryOp))
        or (isinstance(each, ast.Call) and "logical" in ast.unparse(each.func))
        for each in up
    )


# --- a causal mask where there is none


def _planted(scope: Scope, call: ast.Call) -> Iterator[Injection]:
    """The causal mask, written out for the call, and the ways to get it wrong."""
    code, statement = scope.code, scope.statement(call)
    if _mask(call) is not None or not scope.takes_masks:
        return
    causal = keyword(call, "is_causal")
    if causal is not None and ast.unparse(causal) not in ("True", "False"):
        return
    q, k = (code.text(each) for each in call.args[:2])
    if not (q.isidentifier() and k.isidentifier()):
        return
    before = code.data[code.starts[statement.lineno - 1] : code.start(statement)]
    taken = {name for name, _, _ in scope.assignments} | scope.parameters
    if before.strip() or "causal_mask" in taken or isinstance(statement, (ast.If, ast.With, ast.For)):
        return
    ones = f"torch.ones({q}.shape[-2], {k}.shape[-2], device={q}.device)"
    boolean = f"torch.ones({q}.shape[-2], {k}.shape[-2], dtype=torch.bool, device={q}.device)"

    has_mask = named(call, "attn_mask") is not None or len(call.args) > 3

    def edits(made: str, given: str = "causal_mask", flag: str = "False") -> tuple[Edit, ...]:
        changes = [code.lines_before(statement, f"causal_mask = {made}")]
        if has_mask:
            old = keyword(call, "attn_mask") or call.args[3]
            changes.append(code.replaced(old, given))
        new = [] if has_mask else [f"attn_mask={given}"]
        if causal is not None:
            changes.append(code.replaced(causal, flag))
        elif flag != "False":
            new.append(f"is_causal={flag}")
        return (*changes, code.with_argument(call, ", ".join(new))) if new else tuple(changes)

    def planted(rule: str, form: str, wrong: tuple[Edit, ...], right: tuple[Edit, ...]) -> Injection:
        return scope.injection(rule, f"planted, {form}", call, *wrong, base=right)

    right, right_bool = edits(f"torch.tril({ones}).bool()"), edits(f"{boolean}.tril()")
    yield planted("MHA106", "triu given", edits(f"torch.triu({ones}, diagonal=1).bool()"), right)
    yield planted("MHA106", "inverted", edits(f"{boolean}.tril()", "~causal_mask"), right_bool)
    yield planted("MHA110", "no device", edits(f"{boolean}.tril()".replace(f", device={q}.device", "")), right_bool)
    window = f"{boolean}.triu(-2).tril(2)"  # with a causal one, the flag would only say it twice
    yield planted("MHA112", "flag added", edits(window, flag="True"), edits(window))
    yield planted("MHA113", "float ones", edits(f"torch.tril({ones})"), right)
    yield planted("MHA113", "to the query's type", edits(f"{boolean}.tril().to({q}.dtype)"), right_bool)
    if causal is not None and ast.unparse(causal) == "True":
        inverted = edits(f"torch.triu({ones}, diagonal=1).bool()")
        yield scope.injection("MHA106", "for the flag", call, *inverted)
    if not _grows(scope, call) and not _CACHE.search(code.text(scope.function)):
        yield from _planted_cache(scope, call, q, k)


def _planted_cache(scope: Scope, call: ast.Call, q: str, k: str) -> Iterator[Injection]:
    """A cache of keys and values as an optional argument, and ``is_causal=True`` with no look at the lengths."""
    code, statement, arguments = scope.code, scope.statement(call), scope.function.args
    v = code.text(call.args[2]) if len(call.args) > 2 else ""
    if (
        not v.isidentifier()
        or scope.function.name != "forward"
        or arguments.kwonlyargs
        or arguments.vararg
        or arguments.kwarg
    ):
        return
    last = arguments.args[-1]
    at = code.end(arguments.defaults[-1]) if arguments.defaults else code.end(last.annotation or _as_name(last))
    if arguments.defaults and code.end(arguments.defaults[-1]) < code.start(last.annotation or _as_name(last)):
        return
    cache = code.lines_before(
        statement,
        "if past_key_value is not None:",
        f"    {k} = torch.cat([past_key_value[0], {k}], dim=-2)",
        f"    {v} = torch.cat([past_key_value[1], {v}], dim=-2)",
    )
    parameter = Edit(at, at, ", past_key_value=None")
    guard = f"{q}.shape[-2] == {k}.shape[-2]"
    yield scope.injection(
        "MHA109", "planted, cache and flag", call, parameter, cache, _flag(scope, call, "True"),
        base=(parameter, cache, _flag(scope, call, guard)), silent=QUERIES_CACHED if q in (k, v) else "",
    )  # fmt: skip


def _as_name(argument: ast.arg) -> ast.expr:
    """The argument's own name as an expression at its place."""
    return ast.copy_location(ast.Name(argument.arg, ast.Load()), argument)
