"""MHA106, 107, 108, 111: masks of hand-written attention that mask the wrong, too late, too much, or nothing.

A mask that is planted may also lie on the wrong device (MHA110).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.injection.code import Injection, last, name_of
from tests.bench.injection.scope import Scope
from tests.bench.injection.silence import (
    GOES_ELSEWHERE,
    MASKED_BEFORE,
    MASKED_OTHERWISE,
    REGION_UNKNOWN,
    ROUNDED,
    SCORES_CAST,
)

_HUGE = re.compile(
    r"^-?(float\(['\"]-?inf(inity)?['\"]\)|(torch|np|math)\.inf|torch\.finfo\(.*\)\.(min|max)|max_neg_value\(.*\)"
    r"|1e\+?\d+|\d{4,}(\.0)?)$"
)
_TRIANGLE = frozenset({"tril", "triu"})


def injections(scope: Scope) -> Iterator[Injection]:
    """The mistakes about masks that a function has room for, in what it has, and with a causal mask planted first."""
    yield from _inverted(scope)
    yield from _values(scope)
    yield from _moved_behind(scope)
    yield from _planted(scope)


# --- what is there: masked_fill and where on scores


def _fills(scope: Scope) -> Iterator[tuple[ast.Call, ast.expr, ast.expr]]:
    """``scores.masked_fill(mask, value)`` before a softmax: call, mask, value."""
    if not scope.weights:
        return
    for call in scope.calls:
        if last(call) not in ("masked_fill", "masked_fill_") or len(call.args) != 2:
            continue
        assert isinstance(call.func, ast.Attribute)
        if scope.leads(call.func.value, scope.is_scores) and not scope.leads(call.func.value, scope.is_weights):
            yield call, call.args[0], call.args[1]


def _huge(scope: Scope, value: ast.expr) -> ast.expr | None:
    """The huge negative value itself, through the name that it was given before."""
    if isinstance(value, ast.Name):
        earlier = scope.values(value.id, value)
        if len(earlier) != 1 or value.id in scope.parameters:
            return None
        value = earlier[0][0]
        if isinstance(value, ast.Call) and last(value) in ("full", "tensor"):
            return None
    return value if _HUGE.match(ast.unparse(value)) else None


def _values(scope: Scope) -> Iterator[Injection]:
    """MHA108 and MHA111: the value that scores are filled with."""
    for call, _, value in _fills(scope):
        huge = _huge(scope, value)
        if huge is None:
            continue  # the mistake is none: it is not known that the fill masks anything
        assert isinstance(call.func, ast.Attribute)
        if not _is_large(huge) and not _runs_in_float(scope):
            cast = SCORES_CAST if _is_cast(scope, call.func.value) else ""
            yield scope.injection("MHA108", "fill", call, scope.code.replaced(huge, "-1e9"), silent=cast)
        yield scope.injection("MHA111", "tiny", call, scope.code.replaced(huge, "-1e-9"))
        otherwise = MASKED_OTHERWISE if _masked_otherwise(scope, _last_softmax(scope), scope.statement(call)) else ""
        yield scope.injection("MHA111", "zero", call, scope.code.replaced(huge, "0"), silent=otherwise)
    for call in scope.calls:  # torch.where(mask, scores, value)
        if last(call) != "where" or len(call.args) != 3 or not scope.weights:
            continue
        if not scope.leads(call.args[1], scope.is_scores) or scope.leads(call.args[1], scope.is_weights):
            continue
        huge = _huge(scope, call.args[2])
        if huge is not None and not _is_large(huge):
            yield scope.injection("MHA108", "where", call, scope.code.replaced(huge, "-1e9"), silent=ROUNDED)


def _is_large(value: ast.expr) -> bool:
    """The code has the finite number already, so that the mistake is none."""
    return bool(re.match(r"^-?1e\+?\d+$", ast.unparse(value)))


def _runs_in_float(scope: Scope) -> bool:
    """Autocast is switched off, so that the mistake is none where queries and keys are cast before the product."""
    return "enabled=False" in scope.code.text(scope.function)


def _is_cast(scope: Scope, scores: ast.expr) -> bool:
    """The scores were cast to float32 on their way here."""

    def casts(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return False
        to_float = node.func.attr == "float" or "torch.float32" in [ast.unparse(each) for each in node.args]
        return to_float and scope.leads(node.func.value, scope.is_scores)

    return scope.leads(scores, casts)


def _inverted(scope: Scope) -> Iterator[Injection]:
    """MHA106. The rule must speak where the mask is made of a triangle here, or in ``__init__`` as a buffer."""
    for call, mask, _ in _fills(scope):
        silent = "" if _triangular(scope, mask) else REGION_UNKNOWN
        match mask:
            case ast.UnaryOp(op=ast.Invert(), operand=inner):
                edit = scope.code.replaced(mask, scope.code.text(inner))
            case ast.Compare(ops=[ast.Eq()], left=left, comparators=[ast.Constant(value=0)]):
                edit = scope.code.replaced(mask, f"{scope.code.text(left)} != 0")
            case ast.Name() | ast.Attribute() | ast.Call() | ast.Subscript():
                inner = scope.code.text(mask)
                edit = scope.code.replaced(mask, f"~{inner}.bool()" if not isinstance(mask, ast.Name) else f"~{inner}")
            case _:
                edit = scope.code.replaced(mask, f"torch.logical_not({scope.code.text(mask)})")
        yield scope.injection("MHA106", "fill", call, edit, silent=silent)


def _triangular(scope: Scope, mask: ast.expr) -> bool:
    """Whether the mask is made by ``tril`` or ``triu``, and by nothing else."""
    for node in ast.walk(mask):
        if isinstance(node, ast.Call) and last(node) in _TRIANGLE:
            return True
        name = name_of(node)
        if isinstance(node, ast.Name) and any(_triangular(scope, value) for value, _ in scope.values(name, node)):
            return True
        if name.startswith("self.") and _buffer(scope, name[5:]):
            return True
    return False


def _buffer(scope: Scope, name: str) -> bool:
    for node in ast.walk(scope.unit):
        if isinstance(node, ast.Call) and last(node) == "register_buffer" and len(node.args) >= 2:
            first = node.args[0]
            if isinstance(first, ast.Constant) and first.value == name:
                return bool(re.search(r"\btri[lu]\(", ast.unparse(node.args[1])))
    return False


def _last_softmax(scope: Scope) -> ast.stmt:
    return scope.statement(max(scope.weights, key=scope.code.start))


# --- MHA107


def _moved_behind(scope: Scope) -> Iterator[Injection]:
    """A fill of the scores, or an additive mask, taken out and written behind the softmax."""
    code = scope.code
    for call in scope.weights:
        softmax, weights = scope.statement(call), _target(scope.statement(call))
        if not weights or not _alone(scope, softmax):
            continue
        of = scope.softmaxed(call)
        if not isinstance(of, ast.Name):
            continue
        for value, statement in scope.values(of.id, call):
            mask = _masking(scope, of.id, value, statement)
            if mask is None:
                continue
            silent = MASKED_BEFORE if _masked_otherwise(scope, softmax, statement) else ""
            outer = scope.parents[statement]
            guarded = isinstance(outer, ast.If) and len(outer.body) == 1 and not outer.orelse
            whole: ast.stmt = outer if guarded and isinstance(outer, ast.If) else statement
            if scope.parents[whole] is not scope.parents[softmax] or not _alone(scope, whole):
                continue
            made = f"{weights} = {weights}.masked_fill({mask}, 0.0)"
            lines = [f"if {code.text(outer.test)}:", f"    {made}"] if isinstance(outer, ast.If) and guarded else [made]
            form = "fill moved" if isinstance(value, ast.Call) else "additive mask, zeroed"
            edits = (code.line_deleted(whole), code.lines_after(softmax, *lines))
            yield scope.injection("MHA107", form, softmax, *edits, silent=silent)
            break


def _masked_otherwise(scope: Scope, at: ast.stmt, masking: ast.stmt | None = None) -> bool:
    """On each path to ``at``, another statement than ``masking`` fills scores, chooses among them, or adds to them."""
    around = set(scope.around(at))
    statements = [scope.statement(call) for call, *_ in _fills(scope)]
    statements += [
        scope.statement(call)
        for call in scope.calls
        if last(call) == "where" and any(scope.leads(arg, scope.is_scores) for arg in call.args)
    ]
    statements += [statement for statement, _ in scope.added_to_scores()]
    return any(each is not masking and scope.parents[each] in around for each in statements)


def _masking(scope: Scope, name: str, value: ast.expr, statement: ast.stmt) -> str | None:
    """The boolean mask, as text, that a statement fills scores at; of an additive mask, where it is negative."""
    match value:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id=filled), attr="masked_fill" | "masked_fill_"), args=[mask, number]
        ):
            return scope.code.text(mask) if filled == name and _huge(scope, number) is not None else None
        case ast.BinOp(left=ast.Name(id=added), op=ast.Add(), right=ast.Name(id=mask)) if added == name:
            return f"{mask} < 0" if "mask" in mask else None
        case ast.Name(id=mask) if isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add):
            return f"{mask} < 0" if "mask" in mask else None
    return None


def _target(statement: ast.stmt) -> str:
    """The name that a statement assigns to."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return ""


def _alone(scope: Scope, statement: ast.stmt) -> bool:
    """Whether nothing else is on the statement's rows."""
    code = scope.code
    before = code.data[code.starts[statement.lineno - 1] : code.start(statement)]
    after = code.data[code.end(statement) : code.starts[statement.end_lineno or 0]]
    return not before.strip() and not after.split(b"#")[0].strip()


# --- a causal mask where there is none


def _planted(scope: Scope) -> Iterator[Injection]:
    """The same mistakes about a causal mask that is planted before the softmax, in one of the ways it is written."""
    for call in scope.weights:
        statement, of = scope.statement(call), scope.softmaxed(call)
        weights = _target(statement)
        if not isinstance(of, ast.Name) or not weights or not _alone(scope, statement):
            continue
        taken = {name for name, _, _ in scope.assignments} | scope.parameters
        mask = next((each for each in ("causal_mask", "causal", "future") if each not in taken), "")
        if not mask or not scope.takes_masks:
            continue
        yield from _with_causal_mask(scope, statement, of.id, weights, mask)


def _with_causal_mask(scope: Scope, softmax: ast.stmt, a: str, weights: str, m: str) -> Iterator[Injection]:
    code = scope.code
    sizes = f"{a}.shape[-2], {a}.shape[-1]"
    future = f"{m} = torch.triu(torch.ones({sizes}, device={a}.device), diagonal=1).bool()"
    past = f"{m} = torch.tril(torch.ones({sizes}, device={a}.device))"
    past_bool = f"{m} = torch.ones({sizes}, dtype=torch.bool, device={a}.device).tril()"

    def fill(where: str, value: str = 'float("-inf")') -> str:
        return f"{a} = {a}.masked_fill({where}, {value})"

    otherwise = _masked_otherwise(scope, softmax)
    softmaxed = next(each for each in scope.weights if scope.statement(each) is softmax)
    scores = scope.softmaxed(softmaxed)
    silences = {
        "MHA107": MASKED_BEFORE if otherwise else "",
        "MHA108": SCORES_CAST if scores is not None and _is_cast(scope, scores) else "",
    }

    def planted(rule: str, form: str, wrong: list[str], right: list[str], after: tuple[str, ...] = ()) -> Injection:
        edits = (code.lines_before(softmax, *wrong),) if wrong else ()
        late = (code.lines_after(softmax, *after),) if after else ()
        base = (code.lines_before(softmax, *right),)
        silent = MASKED_OTHERWISE if form == "zero" and otherwise else silences.get(rule, "")
        return scope.injection(rule, f"planted, {form}", softmax, *edits, *late, base=base, silent=silent)

    right = [future, fill(m)]
    lower = future.replace("torch.triu", "torch.tril").replace(", diagonal=1", "")
    yield planted("MHA106", "tril filled", [lower, fill(m)], right)
    yield planted("MHA106", "not equal", [past, fill(f"{m} != 0")], [past, fill(f"{m} == 0")])
    yield planted("MHA106", "no invert", [past_bool, fill(m)], [past_bool, fill(f"~{m}")])
    length = f"length = {a}.shape[-1] - 1"
    tokens = f"{m} = torch.arange({a}.shape[-1], device={a}.device) < length"
    yield planted("MHA106", "padding filled", [length, tokens, fill(m)], [length, tokens, fill(f"~{m}")])
    hidden = f"{a} = {a} + {m}.to({a}.dtype) * -1e4"
    padded = tokens.replace("< length", ">= length")
    yield planted("MHA106", "padding added", [length, tokens, hidden], [length, padded, hidden])
    by_hand = f"{a} = {a} + {m}"
    yield planted("MHA113", "past added", [past, by_hand], [past, fill(f"{m} == 0")])
    yield planted("MHA113", "boolean added", [past_bool, by_hand], [past_bool, fill(f"~{m}")])
    yield planted("MHA113", "padding added", [length, tokens, by_hand], [length, tokens, fill(f"~{m}")])
    masked = bool(list(_fills(scope)) or list(scope.added_to_scores()))  # on a path
    elsewhere = GOES_ELSEWHERE if masked else ""
    lost_mask = [past_bool, f"{m} = ~{m}"]
    base = (code.lines_before(softmax, *lost_mask, fill(m)),)
    edit = code.lines_before(softmax, *lost_mask)
    yield scope.injection("MHA122", "planted, lost", softmax, edit, base=base, silent=elsewhere)
    yield planted("MHA107", "multiplied", [], [past, fill(f"{m} == 0")], (past, f"{weights} = {weights} * {m}"))
    zeroed = f"{weights} = {weights}.masked_fill({m}, 0.0)"
    yield planted("MHA107", "zeroed", [future], right, (zeroed,))
    if not _runs_in_float(scope):
        yield planted("MHA108", "-1e9", [future, fill(m, "-1e9")], [future, fill(m, f"torch.finfo({a}.dtype).min")])
        yield planted("MHA108", "-1e10", [past, fill(f"{m} == 0", "-1e10")], [past, fill(f"{m} == 0")])
    yield planted("MHA110", "no device", [future.replace(f", device={a}.device", ""), fill(m)], right)
    yield planted(
        "MHA110",
        "no device, tril",
        [past_bool.replace(f", device={a}.device", ""), fill(f"~{m}")],
        [past_bool, fill(f"~{m}")],
    )
    yield planted("MHA111", "tiny", [future, fill(m, "-1e-9")], right)
    yield planted("MHA111", "zero", [past, fill(f"{m} == 0", "0")], [past, fill(f"{m} == 0")])
