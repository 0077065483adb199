"""These rules tell in which ways, and where, operations have masked scores and weights."""

from __future__ import annotations

import ast

from mha_lint.model.called import is_called_mask, marks_keys
from mha_lint.model.default_numbers import default_number
from mha_lint.model.keys import Key
from mha_lint.model.marks import BEFORE, SETTLED, YES_OR_NO, ZERO, Mask, Masking, Numbers, Positions, of_finfo
from mha_lint.model.masks import chosen, mask_of, number_of, second, third
from mha_lint.model.run import Call, Run
from mha_lint.model.values import Const, Int, Method, Number, Qualified, Tensor, Unknown, Value, as_factor
from mha_lint.syntax.nodes import argument, first_index, last_name, walk
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import LARGEST, LOWER_PRECISION, MASKS, OF_ROWS, is_said

SCORED = frozenset({"scores", "weights"})
_MAPPED = frozenset({"projection"})  # what a softmax is given may be learned scores
Told = list[Tensor]  # the operands that are scores or weights, or all, where none is


def scored(call: Call) -> Told:
    """The operands that tell in which ways scores or weights were masked."""
    tensors = [value for value in (*call.args, *call.keywords.values()) if isinstance(value, Tensor)]
    return [tensor for tensor in tensors if tensor.roles & SCORED] or tensors


def is_tracked(call: Call) -> bool:
    """Something is known of an operand as a mask, or of what masked it."""
    return any(map(_is_tracked, call.args)) or any(map(_is_tracked, call.keywords.values()))


def _is_tracked(value: Value) -> bool:
    return isinstance(value, Tensor) and (value.mask is not None or bool(value.masked) or value.single)


def as_mask(call: Call, result: Value, mask: Mask | Positions | None, *, single: bool) -> Value:
    """The result that is no tensor, as the mask that it is: where nothing is known of it, or its numbers alone."""
    unknown = isinstance(result, Unknown) or (isinstance(result, (Int, Number)) and is_tracked(call))
    if mask is None or not unknown:
        return result
    return Tensor(key=call.interpreter.key(call.node), mask=mask, single=single)


def bare(value: Value) -> Value:
    """Positions as the layout model knows them: as nothing."""
    if isinstance(value, Tensor) and isinstance(value.mask, Positions) and value.shape is None:
        return Unknown(value.key)
    return value


# --- in which ways the result was masked: columns of the table -------------------------------------------------------


def kept(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    """In all the ways in which the operands were."""
    return frozenset[Masking]().union(*(tensor.masked for tensor in told))


def bent(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    """In all the ways in which the operands were; what they were filled with has become other numbers."""
    return other_numbers(kept(call, result, told))


def other_numbers(maskings: frozenset[Masking]) -> frozenset[Masking]:
    """The same, where a function was applied to what was masked, such as ``exp``."""
    return frozenset(Masking("fill", each.node) if each.kind == "fill" else each for each in maskings)


def ended(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    """In none: masked numbers were summed with others, or compared."""
    return frozenset()


def before(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    """Weights whose scores were masked, in whatever way."""
    return frozenset({BEFORE}) if kept(call, result, told) else frozenset()


def filled(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    of = call.args[0] if call.args else None
    ways = _filling(call, of, second(call, "mask"), third(call, "value"), _written(call, 1, "mask"))
    return kept(call, result, told) | ways


def made_of(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    """``torch.full(size, value)``: the number is written there."""
    value = call.keywords.get("fill_value", call.args[-1] if len(call.args) > 1 else None)
    numbers = number_of(value, call.interpreter) or _told_by_type(value, call)
    return frozenset() if numbers is None else frozenset({Masking("mask", call.node, numbers)})


def cut(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    """``scores.tril()``: beyond the triangle scores are 0, and weights too."""
    known = kept(call, result, told)
    if "weights" in result.roles:
        return known | {Masking("zero", call.node)}
    return known | {Masking("fill", call.node, ZERO)} if "scores" in result.roles else known


def chosen_where(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    known = kept(call, result, told)
    if len(call.args) != 3:
        return known
    where, yes, no = chosen(call)
    of, value = (no, yes) if isinstance(no, Tensor) and (no.roles or not isinstance(yes, Tensor)) else (yes, no)
    return known | _filling(call, of, where, value, _written(call, 0, "condition")) | _fills_of(value)


def normalised(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    known = kept(call, result, told)
    return known | {SETTLED} if "weights" in result.roles else known


def biased(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    """``torch.baddbmm(bias, q, k)``."""
    if "scores" not in result.roles or _adds_nothing(call):
        return frozenset()
    buffer = call.args[0] if call.args else call.keywords.get("input")
    return frozenset({Masking("add", call.node, _numbers_added(buffer, call.interpreter)), *_fills_of(buffer)})


def summed(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    known = kept(call, result, told)
    if sum("scores" in tensor.roles for tensor in told) > 1:
        known = frozenset(masking for masking in known if masking.kind != "times")  # the other addend has them all
    return known | _added(call, result)


def subtracted(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    if not _is_largest(call):
        return kept(call, result, told) | _added(call, result)
    known = kept(call, result, [value for value in call.args[:1] if isinstance(value, Tensor)])
    operands = _operands(call, result)
    return known | {SETTLED} if operands is not None and "weights" in operands[0].roles else known


def multiplied(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    known, run = kept(call, result, told), call.interpreter
    operands = _operands(call, result, SCORED) or _operands(call, result, _MAPPED)
    if operands is None:
        return known
    about, other = operands
    mask = mask_of(other, run)
    node = call.node
    written = (node.right if about is call.args[0] else node.left) if isinstance(node, ast.BinOp) else None
    if isinstance(other, Tensor) and other.roles & SCORED:
        return known
    if "weights" not in about.roles:
        return known | _times(call, other, written)
    if not (is_called_mask(other, written, run) if mask is None else mask.marks):
        return known
    return known | {Masking("zero", call.node)} if marks_keys(other, written, run) else known


def _times(call: Call, other: Value, written: ast.expr | None) -> set[Masking]:
    """Return the masking of scores that are multiplied by a mask, which may be known to be one by its name alone."""
    mask, run = mask_of(other, call.interpreter), call.interpreter
    if mask is not None:
        return {Masking("times", call.node, YES_OR_NO)} if mask.marks and not mask.random else set()
    key = other.key if isinstance(other, (Tensor, Unknown)) else None
    of_rows = key is not None and key.says(OF_ROWS)
    return {Masking("times", call.node)} if not of_rows and is_called_mask(other, written, run) else set()


def divided(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    known = kept(call, result, told)
    operands = _operands(call, result)
    return known | {SETTLED} if operands is not None and "weights" in operands[0].roles else known


def _operands(call: Call, result: Tensor, roles: frozenset[str] = SCORED) -> tuple[Tensor, Value] | None:
    """Scores or weights, or what has other roles, and what else than a number they are calculated with."""
    if len(call.args) < 2 or not result.roles & roles:
        return None
    left, right = call.args[:2]
    about, other = (left, right) if isinstance(left, Tensor) and left.roles & roles else (right, left)
    return None if not isinstance(about, Tensor) or isinstance(other, Const) or _is_plain(other) else (about, other)


def _is_plain(value: Value) -> bool:
    """A number that is known. What is calculated of unknown values is taken for a number, and may be a tensor."""
    factor = as_factor(value) if isinstance(value, (Int, Number)) else None
    return factor is not None and (factor.constant is not None or isinstance(value, Number))


def _added(call: Call, result: Tensor) -> set[Masking]:
    """Return the maskings that a sum or a difference adds to scores or weights."""
    operands = _operands(call, result) or _operands(call, result, _MAPPED)
    if operands is None:
        return set()
    about, other = operands
    if "weights" in about.roles:
        return {SETTLED}
    if not about.roles & SCORED and not about.masked:
        return set()  # the sum of two maps, such as a residual
    roles = other.roles if isinstance(other, Tensor) else frozenset[str]()
    if roles & {"scores", "parameter", "projection"}:  # learned biases mask nothing
        return set()
    if "learned" in roles and not names_said(MASKS, call.node):
        return set()
    return {Masking("add", call.node, _numbers_added(other, call.interpreter)), *_fills_of(other)}


def _numbers_added(value: Value | None, run: Run) -> Numbers:
    """The numbers of a mask that is added; zero and one where it is known to be a mask of these, and nothing else."""
    mask = mask_of(value, run)
    if mask is None or mask.uniform:
        return None
    if mask.numbers != YES_OR_NO:
        return mask.numbers if isinstance(value, Tensor) and value.mask is mask else None
    is_plain = not mask.random and mask.boolean is not None and not (isinstance(value, Tensor) and value.roles)
    return YES_OR_NO if is_plain else None


def _fills_of(added: Value | None) -> set[Masking]:
    """The fills of a mask that is added to scores: there, not in the scores, its numbers are written."""
    fills = added.masked if isinstance(added, Tensor) else frozenset[Masking]()
    return {Masking("mask", each.node, each.numbers, each.default) for each in fills if each.kind in ("fill", "mask")}


# --- whether the result is not half because the code says so: columns of the table -----------------------------------


def any_single(call: Call) -> bool:
    """The result is, where an operand is."""
    return any(isinstance(value, Tensor) and value.single for value in call.args)


def first_single(call: Call) -> bool:
    """The result is, where what it is made of is: a mask, or a condition, does not count."""
    return bool(call.args) and isinstance(call.args[0], Tensor) and call.args[0].single


def chosen_single(call: Call) -> bool:
    """``torch.where(condition, yes, no)``."""
    return any(isinstance(value, Tensor) and value.single for value in chosen(call)[1:])


def made_single(call: Call) -> bool:
    """What is made of sizes alone is float32, if the call names no type."""
    kind = call.keywords.get("dtype")
    return "**" not in call.keywords and (kind is None or _cast_to_single([kind], before=False))


def made_single_like(call: Call) -> bool:
    """What is made like another tensor has its type, if the call names none."""
    kind = call.keywords.get("dtype")
    return first_single(call) if kind is None else _cast_to_single([kind], before=False)


def is_single(call: Call) -> bool:
    return True


def no_single(call: Call) -> bool:
    return False


def told_single(call: Call) -> bool:
    """``.to(…)`` and ``.type(…)``."""
    kinds = [value for word, value in call.keywords.items() if word == "dtype"] or list(call.args[1:])
    first = next((value for value in call.args if isinstance(value, Tensor)), None)
    return _cast_to_single(kinds, before=first is not None and first.single)


# --- what the code says ----------------------------------------------------------------------------------------------


def _written(call: Call, index: int, name: str) -> ast.expr | None:
    """The mask as it is written, where the call shows it."""
    node = call.node
    if isinstance(node, ast.Subscript):
        return first_index(node)
    if not isinstance(node, ast.Call):
        return None
    return argument(node, max(index - call.interpreter.is_method(node), 0), name)


def _filling(
    call: Call, filled: Value | None, where: Value | None, value: Value | None, written: ast.expr | None
) -> set[Masking]:
    """Return the maskings that a fill adds to scores, weights or other tensors."""
    run = call.interpreter
    numbers = number_of(value, run) or _told_by_type(value, call)
    if isinstance(filled, Tensor) and "weights" in filled.roles:
        hides = numbers is not None and all(number <= 0 for number in numbers)  # a softmax gives none below 0
        return {Masking("zero", call.node)} if hides and marks_keys(where, written, run) else set()
    learned = isinstance(filled, Tensor) and bool(filled.roles & _MAPPED)
    keys = marks_keys(where, written, run, columns=learned)
    if numbers == ZERO and not keys:
        numbers = None
    mask = mask_of(filled, run)
    if mask is not None and mask.boolean is True:
        return set()  # what a condition is filled with becomes a condition
    about_mask = isinstance(filled, Tensor) and filled.mask is not None
    default = default_number(value, run, call.state) if numbers is None else None
    if default is not None and (default[0] or keys):
        return {Masking("mask" if about_mask else "fill", call.node, frozenset({default[0]}), default[1])}
    return {Masking("mask" if about_mask else "fill", call.node, numbers)}


def _told_by_type(value: Value | None, call: Call) -> Numbers:
    """``torch.finfo(scores.dtype).min``, which is as good as minus infinity; of ``torch.float32`` the number itself."""
    run = call.interpreter
    key = value.key if isinstance(value, Unknown) else None
    made = None if key is None else run.node(key if key.owner is None else key.owner)
    match made:
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            numbers = _told_by_type(run.evaluate(operand, call.state), call)
            return None if numbers is None else frozenset(-number for number in numbers)
        case ast.Call(func=function, args=[kind]) if last_name(function) == "finfo" and key is not None:
            single = _cast_to_single([run.evaluate(kind, call.state)], before=False)
            return of_finfo(key.last_name, single=single)
        case _:
            return None


def _adds_nothing(call: Call) -> bool:
    """Tell whether ``torch.baddbmm(buffer, q, k)`` adds 0 times the buffer, or zeros that nothing else has seen."""
    run, node = call.interpreter, call.node
    if number_of(call.keywords.get("beta"), run) == ZERO:
        return True
    buffer = call.args[0] if call.args else call.keywords.get("input")
    written = argument(node, 0, "input") if isinstance(node, ast.Call) else None
    alone = isinstance(written, ast.Name) and run.mentioned(written.id) == 2  # where it is made, and here
    return alone and number_of(buffer, run) == ZERO


def _is_largest(call: Call) -> bool:
    """The largest score is taken off, which a softmax does not see."""
    node = call.node
    if not isinstance(node, ast.BinOp):
        return False
    called = (last_name(each.func) for each in walk(node.right) if isinstance(each, ast.Call))
    return any(is_said(LARGEST, name) for name in called)


def _cast_to_single(kinds: list[Value], *, before: bool) -> bool:
    """Return True where ``.to(…)`` gives float32 or float64; ``before`` where its arguments do not tell."""
    for kind in kinds:
        match kind:
            case Qualified(name) if name in ("torch.float32", "torch.float", "torch.float64", "torch.double"):
                return True
            case Method(receiver=receiver, name="dtype"):
                return isinstance(receiver, Tensor) and receiver.single
            case Tensor(single=single):
                return single
            case Qualified(name) if is_said(LOWER_PRECISION, name):
                return False
            case Unknown(Key() as key) if key.says(LOWER_PRECISION):
                return False
    return before


def through_unknown(tensor: Tensor, node: ast.expr) -> frozenset[Masking]:
    """Scores or weights that code which is not known was handed: it may have masked them."""
    return tensor.masked | {Masking("unknown", node)}
