"""MHA119, where keys are kept: count positions behind the cache, or keep the keys as they were before they turned."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mha_lint.findings import Edit, Fix
from mha_lint.fixers.arguments import with_keyword
from mha_lint.rules.rotary_behind_cache import BehindCache, Slip
from mha_lint.syntax.nodes import argument, defaults, every_parameter, indices, last_name
from mha_lint.syntax.words import names_in, names_said
from mha_lint.vocabulary import CACHED, ROTATION, STARTS, is_said

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.syntax.exact import Exact

PROBES = ("cached equals full",)
_ELSEWHERE = "the positions are counted in another function, which does not know of the cache"
_NAMES = ("offset", "past_length", "cached_length")
_SAME_NUMBERS = frozenset({"detach", "clone", "contiguous"})


def behind_cache(slip: BehindCache, context: Context) -> Fix | str:
    """The edits for one slip; a text where the code leaves open how it is to be mended."""
    places = context.places
    if slip.slip is Slip.AGAIN:
        message, found = "Keep the keys as they are before they are rotated", _kept_bare(slip, places)
    elif slip.slip is Slip.QUERIES_FROM_ZERO:
        message, found = "Count the offset once the keys of the cache are there", _counted_later(slip, places)
    else:
        message, found = "Count the positions behind those of the cache", _counted_behind(slip, places)
    if isinstance(found, str):
        return found
    flagged = places.rows(places.statement(slip.place) or slip.place)
    return Fix("unsafe", "corrected", message, tuple(found), flagged, probes=PROBES)


# --- keys that are rotated again -------------------------------------------------------------------------------------


def _kept_bare(slip: BehindCache, places: Exact) -> list[Edit] | str:
    """``bare = k`` before the rotation, and ``bare`` in what is kept."""
    statement = places.statement(slip.place)
    joined = {name for each in _joins(slip.method) for name in _targets(places.statement(each))}
    turned = [name for name in _targets(statement) if name in joined]
    if statement is None or len(turned) != 1 or statement not in slip.method.body:
        return "it is not known under which name the keys are rotated"
    name = turned[0]
    behind = [each for each in _loads(slip.method, name) if places.start(each) > places.end(statement)]
    kept = [each for each in behind if _is_kept(each, places)]
    if not kept:
        return "it is not known where the keys are kept"
    bare = _new_name((f"bare_{name}", f"unrotated_{name}"), slip.method)
    if bare is None:
        return "the names for the bare keys are taken"
    return [_line_before(statement, f"{bare} = {name}", places), *(places.replace(each, bare) for each in kept)]


def _is_kept(name: ast.expr, places: Exact) -> bool:
    """``(k, v)`` is returned or given a name, and ``k`` is given to an attribute or returned."""
    node: ast.AST = name
    alone = True
    for parent in places.parents(name):
        match parent:
            case ast.Tuple() | ast.List() | ast.Dict():
                alone = False
            case ast.Attribute(attr=attr) if attr in _SAME_NUMBERS:
                pass
            case ast.Call(func=function, args=[]) if function is node:
                pass
            case ast.IfExp(test=test) if test is not node:
                pass
            case ast.Return():
                return not alone
            case ast.Assign(targets=[target]):
                return _keeps(target, alone=alone)
            case _:
                return False
        node = parent
    return False


def _keeps(target: ast.expr, *, alone: bool) -> bool:
    match target:
        case ast.Attribute() | ast.Subscript():
            return names_said(CACHED, target)
        case ast.Name():
            return not alone
        case ast.Tuple(elts=elements):
            return all(isinstance(each, ast.Attribute) and names_said(CACHED, each) for each in elements)
        case _:
            return False


# --- an offset that is read too early --------------------------------------------------------------------------------


def _counted_later(slip: BehindCache, places: Exact) -> list[Edit] | str:
    """``offset = k.shape[-2] - q.shape[-2]`` moves behind the join."""
    body = slip.method.body
    for join in _joins(slip.method):
        behind = next((each for each in body if join in ast.walk(each)), None)
        before = body[: body.index(behind)] if behind is not None else []
        joined = _targets(places.statement(join))
        early = next((each for each in reversed(before) if _is_length_of(each, joined)), None)
        if behind is None or early is None:
            continue
        between = body[body.index(early) + 1 : body.index(behind) + 1]
        if any(_targets(early)[0] in names_in(each) for each in between):
            return "the offset is read before the keys of the cache are joined"
        if len(places.rows(early)) > 1 or places.behind(early).strip():
            return "the statement that reads the offset has several rows, or a comment"
        return [places.without_statement(early), places.lines_after(behind, [places.source(early)])]
    return _ELSEWHERE


def _is_length_of(statement: ast.stmt, names: list[str]) -> bool:
    """The statement gives one name a length of what is joined later, or a difference of such."""
    match statement:
        case ast.Assign(targets=[ast.Name()], value=value):
            said = names_in(value)
            return ("shape" in said or "size" in said) and any(name in said for name in names)
        case _:
            return False


# --- positions of new tokens -----------------------------------------------------------------------------------------


def _counted_behind(slip: BehindCache, places: Exact) -> list[Edit] | str:
    """``torch.arange(offset, offset + t)``, ``cos[offset : offset + t]``, or ``rope(k, offset=offset)``."""
    cached = _length_of_cache(slip, places)
    if cached is None:
        return "the code does not say, where the positions are counted, how many tokens the cache holds"
    offset = _new_name(_NAMES, slip.method)
    if offset is None:
        return "the names for the number of cached tokens are taken"
    if slip.place is slip.rotated.counted:
        changed = _moved(slip.place, offset, slip, places)
    else:
        changed = _told(offset, slip, places)
    if not changed:
        return _ELSEWHERE
    statements = [each for node in changed if (each := places.statement(node)) is not None]
    first = min(statements, key=places.start)
    return [_line_before(first, f"{offset} = {cached}", places), *changed.values()]


def _length_of_cache(slip: BehindCache, places: Exact) -> str | None:
    """``past[0].shape[2] if past is not None else 0``, of what the method is given or the object keeps."""
    join = slip.join
    if isinstance(join, ast.Subscript):
        starts = [each.lower for each in indices(join) if isinstance(each, ast.Slice) and each.lower is not None]
        return places.source(starts[0]) if len(starts) == 1 and _is_given(starts[0], slip, places) else None
    tensors = argument(join, 0, "tensors") if isinstance(join, ast.Call) else None
    if not isinstance(join, ast.Call) or not isinstance(tensors, (ast.Tuple, ast.List)):
        return None
    dim = argument(join, 1, "dim")
    earlier = _unpacked_from(tensors.elts[0], slip.method, places)
    test, taken = _guard(join, earlier, places)
    length = f"{earlier}.shape[{0 if dim is None else places.source(dim)}]"
    if not _is_given(ast.parse(f"{length}, {test}"), slip, places):
        return None
    if not test:
        return length
    return f"{length} if {test} else 0" if taken else f"0 if {test} else {length}"


def _unpacked_from(earlier: ast.expr, method: ast.AST, places: Exact) -> str:
    """``past[0]`` for the name ``past_k`` of ``past_k, past_v = past``."""
    for each in ast.walk(method):
        match each:
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Name() | ast.Attribute() as value):
                for index, name in enumerate(names):
                    if isinstance(name, ast.Name) and isinstance(earlier, ast.Name) and name.id == earlier.id:
                        return f"{places.source(value)}[{index}]"
    return places.source(earlier)


def _guard(join: ast.AST, earlier: str, places: Exact) -> tuple[str, bool]:
    """The test under which the join stands, if it asks for the cache, and in which way it went; "" for none."""
    names = {each.id for each in ast.walk(ast.parse(earlier)) if isinstance(each, ast.Name)}
    below: ast.AST = join
    for parent in places.parents(join):
        if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef)):
            break
        if isinstance(parent, (ast.If, ast.IfExp)) and below is not parent.test and names & set(names_in(parent.test)):
            body = parent.body if isinstance(parent.body, list) else [parent.body]
            return places.source(parent.test), below in body
        below = parent
    return "", True


def _is_given(code: ast.AST, slip: BehindCache, places: Exact) -> bool:
    """All names in a piece of code are parameters of the method, and are what they were until the keys are joined."""
    assert slip.join is not None
    names = [each for each in ast.walk(slip.method) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)]
    changed = {each.id for each in names if places.start(each) < places.start(slip.join)}
    said = {each.id for each in ast.walk(code) if isinstance(each, ast.Name)}
    return said <= {parameter.arg for parameter in every_parameter(slip.method)} - changed


def _moved(counted: ast.expr, offset: str, slip: BehindCache, places: Exact) -> dict[ast.expr, Edit]:
    """Positions that begin at the offset, each by the expression that is changed."""
    match counted:
        case ast.Call(args=[ast.Constant(value=0) as start, end, *_]) if last_name(counted.func) == "arange":
            return {start: places.replace(start, offset), end: places.replace(end, _shifted(end, offset, places))}
        case ast.Call(args=[end]) if last_name(counted.func) == "arange":
            return {end: places.replace(end, f"{offset}, {_shifted(end, offset, places)}")}
        case ast.Subscript(slice=ast.Slice() as cut):
            text = places.source(cut)
            alike = [
                each
                for each in ast.walk(slip.method)
                if isinstance(each, ast.Subscript) and isinstance(each.slice, ast.Slice)
                and places.source(each.slice) == text and names_said(ROTATION, each.value)
            ]  # fmt: skip
            if cut.upper is None or counted not in alike:
                return {}
            within = f"{offset} : {_shifted(cut.upper, offset, places)}"
            return {each: places.replace(each.slice, within) for each in alike}
        case _:
            return {}


def _shifted(end: ast.expr, offset: str, places: Exact) -> str:
    return f"{offset} + {places.source(end)}"


def _told(offset: str, slip: BehindCache, places: Exact) -> dict[ast.expr, Edit]:
    """Calls of a function that counts from a parameter, which is 0 where nobody gives it, are given the offset."""
    call, counted = slip.place, slip.rotated.counted
    function = None if counted is None else places.function(counted)
    if not isinstance(call, ast.Call) or function is None or counted is None:
        return {}
    written = defaults(function)
    starts = [
        name
        for name, default in written.items()
        if is_said(STARTS, name)
        and isinstance(default, ast.Constant)
        and default.value == 0
        and name in names_in(counted)
    ]
    if len(starts) != 1 or function.name not in (last_name(call.func), "forward"):
        return {}
    alike = [
        each
        for each in ast.walk(slip.method)
        if isinstance(each, ast.Call) and places.source(each.func) == places.source(call.func)
    ]
    return {each: edit for each in alike for edit in with_keyword(each, starts[0], offset, places)}


# --- names and places ------------------------------------------------------------------------------------------------


def _joins(method: ast.AST) -> Iterator[ast.Call]:
    """The calls that join something to what comes from a cache."""
    for each in ast.walk(method):
        if isinstance(each, ast.Call) and last_name(each.func) in ("cat", "concat", "concatenate"):
            tensors = argument(each, 0, "tensors")
            if isinstance(tensors, (ast.Tuple, ast.List)) and tensors.elts and names_said(CACHED, tensors.elts[0]):
                yield each


def _targets(statement: ast.stmt | None) -> list[str]:
    """The names that a statement gives values."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]


def _loads(method: ast.AST, name: str) -> list[ast.expr]:
    named = (each for each in ast.walk(method) if isinstance(each, ast.Name) and each.id == name)
    return [each for each in named if isinstance(each.ctx, ast.Load)]


def _new_name(names: tuple[str, ...], method: ast.AST) -> str | None:
    """The first of the names that the method does not say."""
    said = names_in(method)
    return next((name for name in names if name not in said), None)


def _line_before(statement: ast.stmt, line: str, places: Exact) -> Edit:
    return places.insert(places.start(statement), f"{line}{places.newline}{places.indent(statement)}")
