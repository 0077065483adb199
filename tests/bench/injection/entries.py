"""MHA118: a mask of each entry that is planted, and repeated for the heads in the wrong order.

Scores (b*h, t, s) have all heads of the first entry first, and so has the mask that ``nn.MultiheadAttention`` takes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.bench.injection.code import Code, Edit, Injection, keyword, last, name_of
from tests.bench.injection.layouts import dims, view
from tests.bench.injection.scope import Scope

_HEADS = re.compile(r"(^|[._])(n_?|num_)?(attention_)?heads?$|(^|\.)(h|nhead)$")
_NAMES = ("entry_mask", "pair_mask")
_FOLDED = re.compile(r"->\s*\((\w+) (h|heads|nh)\)")


@dataclass(frozen=True, slots=True)
class _Mask:
    """A mask that the function is given by this name, and for how many heads it is to be repeated."""

    name: str
    heads: str

    @property
    def right(self) -> str:
        return f"{self.name}.repeat_interleave({self.heads}, dim=0)"

    def wrong(self, code: Code) -> Iterator[tuple[str, str]]:
        """The forms in which it is tiled, and how they are written."""
        m, h = self.name, self.heads
        yield "repeat", f"{m}.repeat({h}, 1, 1)"
        yield "tile", f"torch.tile({m}, ({h}, 1, 1))"
        yield "joined", f"torch.cat([{m}] * {h})"
        yield "expanded", f"{m}.unsqueeze(0).expand({h}, -1, -1, -1).flatten(0, 1)"
        sizes = f"{m}.shape[0], {m}.shape[1], {m}.shape[2]"
        yield "expanded, reshaped", f"{m}[None].expand({h}, {sizes}).reshape(-1, {m}.shape[1], {m}.shape[2])"
        if re.search(rb"^from einops import .*\brepeat\b", code.data, re.MULTILINE):
            yield "einops", f'repeat({m}, "b i j -> (h b) i j", h={h})'


def injections(scope: Scope) -> Iterator[Injection]:
    """The mistakes of this kind that a function has room for."""
    if not scope.takes_masks or scope.function.name != "forward" or scope.function.args.vararg:
        return
    name = next((each for each in _NAMES if each not in scope.code.text(scope.function)), "")
    if not name:
        return
    yield from _by_hand(scope, name)
    yield from _of_a_layer(scope, name)


def _by_hand(scope: Scope, name: str) -> Iterator[Injection]:
    """Scores (b*h, t, s), which are filled before their softmax."""
    heads = _folded_heads(scope)
    if not heads:
        return
    for call in scope.weights:
        statement, of = scope.statement(call), scope.softmaxed(call)
        if not isinstance(of, ast.Name) or not _alone(scope, statement) or not _are_of_three_dims(scope, of):
            continue
        a = of.id

        def filled(mask: str, scores: str = a) -> list[str]:
            return [f"    {scores} = {scores}.masked_fill({mask}, torch.finfo({scores}.dtype).min)"]

        yield from _planted(scope, statement, _Mask(name, heads), filled)


def _planted(
    scope: Scope, at: ast.stmt, mask: _Mask, lines: Callable[[str], list[str]], *others: Edit
) -> Iterator[Injection]:
    parameter = _parameter(scope, mask.name)
    if parameter is None:
        return
    guard = f"if {mask.name} is not None:"
    base = (parameter, scope.code.lines_before(at, guard, *lines(mask.right)), *others)
    for form, written in mask.wrong(scope.code):
        edits = (parameter, scope.code.lines_before(at, guard, *lines(written)), *others)
        yield scope.injection("MHA118", f"planted, {form}", at, *edits, base=base)


def _of_a_layer(scope: Scope, name: str) -> Iterator[Injection]:
    """``self.attend(q, k, v)`` of an ``nn.MultiheadAttention``, which is given no mask yet."""
    layers = _layers(scope)
    for call in scope.calls:
        layer = name_of(call.func)
        if layer not in layers or len(call.args) > 5 or not (call.args or call.keywords):
            continue
        statement = scope.statement(call)
        if not _alone(scope, statement) or any(isinstance(each, ast.Starred) for each in call.args):
            continue
        if any(each.arg is None for each in call.keywords):
            continue

        def repeated(mask: str) -> list[str]:
            return [f"    {name} = {mask}"]

        there = keyword(call, "attn_mask")
        given = (
            scope.code.with_argument(call, f"attn_mask={name}") if there is None else scope.code.replaced(there, name)
        )
        yield from _planted(scope, statement, _Mask(name, f"{layer}.num_heads"), repeated, given)


def _layers(scope: Scope) -> frozenset[str]:
    """The attributes of the class that hold an ``nn.MultiheadAttention`` of torch."""
    made = re.compile(r"^(torch\.)?nn\.MultiheadAttention$|^MultiheadAttention$")
    found: set[str] = set()
    for node in ast.walk(scope.unit):
        match node:
            case ast.Assign(targets=[target], value=ast.Call(func=func)) if made.match(ast.unparse(func)):
                if not isinstance(func, ast.Name) or _is_of_torch(scope, func.id):
                    found.add(name_of(target))
    return frozenset(found - {""})


def _is_of_torch(scope: Scope, name: str) -> bool:
    return bool(
        re.search(rb"^from torch\.nn(\.modules\S*)? import .*\b%s\b" % name.encode(), scope.code.data, re.MULTILINE)
    )


def _folded_heads(scope: Scope) -> str:
    """The number of heads, as the function writes it, where it is merged with the batch before attention."""
    for function in (scope, *scope.others):
        for call in function.calls:
            sizes = dims(call) if view(call) and len(dims(call)) == 3 else []
            for size in sizes[:2]:
                match size:
                    case ast.BinOp(left=batch, op=ast.Mult(), right=heads):
                        text = ast.unparse(heads)
                        if not _HEADS.search(text) or _HEADS.search(ast.unparse(batch)):
                            continue
                        if function is scope or text.startswith("self."):
                            return text
            if last(call) == "rearrange" and function is scope:
                pattern = next((each.value for each in call.args if isinstance(each, ast.Constant)), "")
                heads = keyword(call, "h") or keyword(call, "heads")
                if isinstance(pattern, str) and _FOLDED.search(pattern) and heads is not None:
                    return ast.unparse(heads)
    return ""


def _are_of_three_dims(scope: Scope, scores: ast.Name) -> bool:
    """Neither in the last branch nor before all branches are they viewed as anything but three dimensions."""
    values = [value for value, _ in scope.values(scores.id, scores)]
    for value in (*values[:1], *values[-1:]):
        for node in ast.walk(value):
            if isinstance(node, ast.Call) and view(node) and len(dims(node)) != 3:
                return False
    return True


def _parameter(scope: Scope, name: str) -> Edit | None:
    """One more parameter, which is None by default, behind those that are given by place."""
    spec = scope.function.args
    if not spec.args:
        return None
    final = spec.args[-1]
    ends = [scope.code.end(_as_node(final)), *(scope.code.end(each) for each in spec.defaults)]
    at = max(ends)
    return Edit(at, at, f", {name}=None")


def _as_node(argument: ast.arg) -> ast.expr:
    """The argument's own name and annotation as an expression at its place."""
    return ast.copy_location(ast.Name(argument.arg, ast.Load()), argument)


def _alone(scope: Scope, statement: ast.stmt) -> bool:
    """The statement has its lines for itself."""
    before = scope.code.data[scope.code.starts[statement.lineno - 1] : scope.code.start(statement)]
    return not before.strip()
