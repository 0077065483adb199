"""MHA119 and MHA120: rotary angles that are laid out otherwise than vectors turn, or that lose their precision."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from tests.bench.injection.code import Code, Edit, Injection, is_library, keyword, last, name_of, operands
from tests.bench.injection.scope import Scope
from tests.bench.injection.silence import (
    AUTOCAST_IS_SET,
    CAST_UNKNOWN,
    FREQUENCIES_UNKNOWN,
    HANDED_ANGLES,
    OF_PARTS,
    POSITIONS_GIVEN,
)

ROTARY = re.compile(rb"\b(?:cos|sin|polar)\(|rotate_|rotary|rope", re.IGNORECASE)
_ANGLES = re.compile(r"^(?:self\.)?(?:\w*(?:freq|angle|theta|cos|sin|rot|phase)\w*|emb|t|f|sinusoid\w*)$")
_FREQUENCIES = re.compile(r"^(?:self\.)?(?:\w*inv_freq\w*|freqs?|freq_bands|frequencies|omega|thetas?|div_term)$")
_ACTIVATIONS = re.compile(r"^(?:x|q|query|hidden_states|inputs?_embeds|inputs|hidden|tensor|value_states)$")
_TAKES_APART = frozenset({"unflatten", "rearrange", "view", "reshape"})
_CASTS = frozenset({"float", "to", "type_as", "type"})


def injections(scope: Scope) -> Iterator[Injection]:
    yield from _tables(scope)
    yield from _rotations(scope)
    yield from _phases(scope)


# --- MHA119


def _tables(scope: Scope) -> Iterator[Injection]:
    """The table is laid out in the other way, where all that rotates in the file does it in one way."""
    for call in scope.calls:
        laid = _laid(scope, call)
        if laid is None or _rotates_by(scope.code) != {laid[0]}:
            continue  # no site: nothing here rotates by it, or it is not known which of the rotations it meets
        by, angles = laid
        if by == "halves":
            written = {
                "repeat_interleave": f"{angles}.repeat_interleave(2, dim=-1)",
                "stack and flatten": f"torch.stack(({angles}, {angles}), dim=-1).flatten(-2)",
            }
        else:
            written = {"cat": f"torch.cat(({angles}, {angles}), dim=-1)"}
        for form, text in written.items():
            yield _mixed(scope, f"table by {form}", call, scope.code.replaced(call, text))


def _rotations(scope: Scope) -> Iterator[Injection]:
    """The vector is turned in the other way, where the file lays its tables out in one way."""
    for call in scope.calls:
        turned = _turned(scope, call)
        if turned is None or not _tables_of(scope.code) == _rotates_by(scope.code) == {turned[0]}:
            continue
        by, x = turned
        if by == "halves":
            text = f"torch.stack((-{x}[..., 1::2], {x}[..., ::2]), dim=-1).flatten(-2)"
            form = "rotation by neighbours"
        else:
            text = f"torch.cat((-{x}[..., {x}.shape[-1] // 2 :], {x}[..., : {x}.shape[-1] // 2]), dim=-1)"
            form = "rotation by halves"
        yield _mixed(scope, form, call, scope.code.replaced(call, text))


def _mixed(scope: Scope, form: str, at: ast.expr, edit: Edit) -> Injection:
    made = scope.injection("MHA119", form, at, edit, silent=_silent_mixed(scope.code))
    return replace(made, where=_turning(scope.code))


@lru_cache(maxsize=8)
def _silent_mixed(code: Code) -> str:
    """The reason for which the page says nothing of what a file rotates: its angles aren't known there."""
    makers = [each for each in _functions(code) if any(_laid(each, call) for call in each.calls)]
    if any(_joins_parts(each) for each in makers):
        return OF_PARTS
    if not _tells_frequencies(code):
        return FREQUENCIES_UNKNOWN
    turners = {each.function.name for each in _functions(code) if any(_turned(each, call) for call in each.calls)}
    makes = {each.unit.name for each in makers}
    inside = any(isinstance(each.unit, ast.ClassDef) and each.function.name in turners for each in makers)
    return "" if inside or all(_is_called(code, names) for names in (makes, turners)) else HANDED_ANGLES


def _is_called(code: Code, names: set[str]) -> bool:
    return any(isinstance(node, ast.Call) and last(node) in names for node in ast.walk(code.tree))


def _tells_frequencies(code: Code) -> bool:
    """Somewhere in the file a base is raised to a power of steps, or steps are put into an exponential."""
    for node in ast.walk(code.tree):
        match node:
            case ast.BinOp(op=ast.Pow()) | ast.Call(func=ast.Attribute(attr="exp" | "pow")):
                if "arange" in ast.unparse(node) or "linspace" in ast.unparse(node):
                    return True
    return False


def _joins_parts(scope: Scope) -> bool:
    """The function, or another of its class, joins angles of several axes."""
    for each in (scope, *scope.others):
        for call in each.calls:
            if last(call) == "meshgrid":
                return True
            items = _items(call) if last(call) in ("cat", "concat", "stack") else []
            named = {ast.unparse(item) for item in items}
            if len(named) > 1 and not any(_negated(item) for item in items):
                return True
            if last(call) in ("cat", "concat") and call.args and not items and _ANGLES.match(name_of(call.args[0])):
                return True
    return False


@lru_cache(maxsize=8)
def _functions(code: Code) -> tuple[Scope, ...]:
    """Every function of the module, and every method."""
    found: list[Scope] = []
    for unit in code.tree.body:
        if isinstance(unit, (ast.ClassDef, ast.FunctionDef)):
            parents = {child: node for node in ast.walk(unit) for child in ast.iter_child_nodes(node)}
            functions = unit.body if isinstance(unit, ast.ClassDef) else [unit]
            found += [Scope(code, unit, each, parents) for each in functions if isinstance(each, ast.FunctionDef)]
    return tuple(found)


@lru_cache(maxsize=8)
def _turning(code: Code) -> frozenset[str]:
    """The functions of the file that have to do with rotations: the mistake shows where the two parts meet."""
    return frozenset(each.symbol for each in _functions(code) if ROTARY.search(code.text(each.function).encode()))


@lru_cache(maxsize=8)
def _rotates_by(code: Code) -> frozenset[str]:
    kinds = [_turned(each, call) for each in _functions(code) for call in each.calls]
    return frozenset(kind[0] for kind in kinds if kind is not None)


@lru_cache(maxsize=8)
def _tables_of(code: Code) -> frozenset[str]:
    kinds = [_laid(each, call) for each in _functions(code) for call in each.calls]
    return frozenset(kind[0] for kind in kinds if kind is not None)


def _laid(scope: Scope, call: ast.Call) -> tuple[str, str] | None:
    """How a call lays out angles, and what their name is."""
    match call:
        case ast.Call(func=ast.Attribute(value=value, attr="repeat_interleave"), args=[ast.Constant(value=2), *_]) if (
            not is_library(value)
        ):
            angles: ast.expr = value
        case ast.Call(func=ast.Attribute(attr="repeat_interleave"), args=[first, ast.Constant(value=2), *_]):
            angles = first
        case ast.Call(args=[_, *_]) if last(call) in ("cat", "concat") and _is_last(call):
            return _twice(scope, _items(call), "halves")
        case _:
            stacked = _flattened(call)
            return None if stacked is None else _twice(scope, _items(stacked), "neighbours")
    dim = keyword(call, "dim") or (call.args[-1] if len(call.args) > 1 else None)
    if dim is None or ast.unparse(dim) not in ("-1", "1"):
        return None
    return ("neighbours", scope.code.text(angles)) if _is_angles(angles) else None


def _twice(scope: Scope, items: list[ast.expr], by: str) -> tuple[str, str] | None:
    """The two items are the same angles."""
    if len(items) != 2 or ast.unparse(items[0]) != ast.unparse(items[1]) or not _is_angles(items[0]):
        return None
    return by, scope.code.text(items[0])


def _is_angles(node: ast.expr) -> bool:
    """It is called as angles are, or is the cosine or sine of what is."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args:
        node = node.func.value
    while isinstance(node, ast.Subscript):
        node = node.value
    return bool(_ANGLES.match(name_of(node)))


def _turned(scope: Scope, call: ast.Call) -> tuple[str, str] | None:
    """In which way a call puts (-x2, x1) together, and the name of x."""
    if last(call) in ("cat", "concat") and _is_last(call):
        items, by = _items(call), "halves"
    else:
        stacked = _flattened(call)
        if stacked is None:
            return None
        items, by = _items(stacked), "neighbours"
    if len(items) != 2 or not _negated(items[0]) or _negated(items[1]):
        return None
    x = _vector(scope, items[1])
    return (by, x) if x else None


def _vector(scope: Scope, part: ast.expr) -> str:
    """What a part was cut from: the name that ``x[..., ::2]`` or ``x.chunk(2, -1)`` begins with."""
    if isinstance(part, ast.Name):
        earlier = scope.values(part.id, part)
        if len(earlier) != 1:
            return ""
        part = earlier[0][0]
    cut = False
    while True:
        match part:
            case ast.Subscript(value=value):
                part = value
            case ast.Call(func=ast.Attribute(value=value)) if not is_library(value):
                part = value
            case ast.Call(args=[first, *_]):
                part = first
            case ast.Name():
                return _whole(scope, part) if cut else ""
            case _:
                return ""
        cut = True


def _whole(scope: Scope, vector: ast.Name) -> str:
    """The name of a vector; one that was taken apart under its own name, (…, 2, d/2), is put together again."""
    earlier = [last(value) for value, *_ in scope.values(vector.id, vector) if isinstance(value, ast.Call)]
    return f"{vector.id}.flatten(-2)" if earlier and earlier[-1] in _TAKES_APART else vector.id


def _negated(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)


def _items(call: ast.Call) -> list[ast.expr]:
    first = call.args[0] if call.args else None
    return first.elts if isinstance(first, (ast.Tuple, ast.List)) else []


def _is_last(call: ast.Call) -> bool:
    dim = keyword(call, "dim") or keyword(call, "axis") or (call.args[1] if len(call.args) > 1 else None)
    return dim is not None and ast.unparse(dim) == "-1"


def _flattened(call: ast.Call) -> ast.Call | None:
    """The stack along a last dimension of its own that a call flattens into the one before."""
    match call:
        case ast.Call(func=ast.Attribute(value=ast.Call() as inner, attr="flatten" | "reshape" | "view" | "view_as")):
            pass
        case ast.Call(func=ast.Attribute(value=ast.Call() as inner, attr="reshape_as")):
            pass
        case ast.Call(func=ast.Name("rearrange"), args=[ast.Call() as inner, ast.Constant(value=str(pattern))]):
            if not re.search(r"d r -> .*\(d r\)$|d j -> .*\(d j\)$", pattern.strip()):
                return None
        case _:
            return None
    return inner if last(inner) == "stack" and _is_last(inner) else None


# --- MHA120


def _phases(scope: Scope) -> Iterator[Injection]:
    """A factor of the angles is cast to the type of the activations, or to half precision."""
    if not re.search(r"\bcos\(|\bpolar\(", scope.code.text(scope.unit)):
        return
    for node in scope.nodes:
        for at, factor in _factors(node):
            frequencies = _FREQUENCIES.match(name_of(_uncast(factor)))
            if frequencies is None or not _makes_cosines(scope, node):
                continue
            bare, silent = scope.code.text(_uncast(factor)), _silent_phase(scope)
            like = _activations(scope)
            forms = {"to half": f"{bare}.half()"}
            if like:
                forms["to the activations"] = f"{bare}.to({like}.dtype)"
            for form, text in forms.items():
                edit = scope.code.replaced(factor, text)
                yield scope.injection("MHA120", f"frequencies {form}", at, edit, silent=silent)
            yield from _upcasts_dropped(scope, node, factor, silent)
            yield from _positions_cast(scope, node, factor, like, silent)


def _factors(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """A product, with each of its two factors."""
    match node:
        case ast.BinOp(op=ast.Mult() | ast.MatMult(), left=left, right=right):
            yield from ((node, left), (node, right))
        case ast.Call() if last(node) in ("outer", "einsum", "matmul", "ger") and len(operands(node)) == 2:
            yield from ((node, each) for each in operands(node))


def _other(node: ast.AST, factor: ast.expr) -> ast.expr:
    return next(each for _, each in _factors(node) if each is not factor)


def _uncast(node: ast.expr) -> ast.expr:
    """What is cast, or moved, last."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CASTS:
        node = node.func.value
    return node


def _upcasts_dropped(scope: Scope, node: ast.AST, factor: ast.expr, silent: str) -> Iterator[Injection]:
    """A buffer of frequencies is multiplied as it is, by positions that are no float32 either."""
    name, other = name_of(_uncast(factor)), _other(node, factor)
    if not name.startswith("self.") or not _is_buffer(scope, name.removeprefix("self.")):
        return
    whole = not _is_single(scope, other)
    if not _is_single(scope, factor) or not (whole or other is not _uncast(other)):
        return
    edits = [scope.code.replaced(factor, name)]
    if not whole:
        edits.append(scope.code.replaced(other, scope.code.text(_uncast(other))))
    reason = silent or ("" if _counts(scope, _uncast(other)) else POSITIONS_GIVEN)
    yield scope.injection("MHA120", "upcast dropped", factor, *edits, silent=reason)


def _positions_cast(scope: Scope, node: ast.AST, factor: ast.expr, like: str, silent: str) -> Iterator[Injection]:
    """The positions are cast as the frequencies were in the other forms."""
    other = _other(node, factor)
    bare = _uncast(other)
    if not isinstance(bare, (ast.Name, ast.Call, ast.Attribute)) or not like:
        return
    reason = silent or ("" if _counts(scope, bare) else POSITIONS_GIVEN)
    edit = scope.code.replaced(other, f"{scope.code.text(bare)}.to({like}.dtype)")
    yield scope.injection("MHA120", "positions to the activations", other, edit, silent=reason)


def _counts(scope: Scope, node: ast.expr) -> bool:
    """The positions are counted here by an ``arange``."""
    if any(isinstance(each, ast.Call) and last(each) == "arange" for each in ast.walk(node)):
        return True
    names = [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]
    return any(_counts(scope, value) for name in names for value, _ in scope.values(name, node))


def _is_single(scope: Scope, node: ast.expr) -> bool:
    """The code says that it is float32, here or where the name was set."""
    if re.search(r"\.float\(\)|torch\.float(?:32)?\b", scope.code.text(node)):
        return True
    return any(_is_single(scope, value) for value, _ in scope.values(name_of(node), node)) if name_of(node) else False


def _is_buffer(scope: Scope, name: str) -> bool:
    text = scope.code.text(scope.unit)
    return bool(
        re.search(rf"register_buffer\(\s*[\"']{name}[\"']|self\.{name} = (?:torch\.)?nn\.(?:Buffer|Parameter)", text)
    )


def _makes_cosines(scope: Scope, product: ast.AST) -> bool:
    """The product's function takes cosines, or gives its angles to another method of the class that does."""
    takes = re.compile(r"\bcos\(|\bpolar\(")
    if takes.search(scope.code.text(scope.function)):
        return True
    return isinstance(scope.parents.get(product), ast.Return) and bool(takes.search(scope.code.text(scope.unit)))


def _activations(scope: Scope) -> str:
    """A parameter that is called as activations are."""
    return next((name for name in sorted(scope.parameters) if _ACTIVATIONS.match(name)), "")


def _silent_phase(scope: Scope) -> str:
    """The reason for which the page says nothing of any cast in the function."""
    if re.search("autocast|custom_fwd", ast.unparse(scope.function)):  # a decorator counts
        return AUTOCAST_IS_SET
    unit = ast.unparse(scope.unit)
    return "" if "arange" in unit or "linspace" in unit else CAST_UNKNOWN
