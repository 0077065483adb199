"""These rules tell in which ways, and where, operations have masked scores and weights."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from mha_lint.model.keys import Key
from mha_lint.model.marks import BEFORE, SETTLED, YES_OR_NO, ZERO, Mask, Masking, Numbers, Positions
from mha_lint.model.masks import chosen, mask_of, number_of, second, third
from mha_lint.model.run import Call, Run
from mha_lint.model.values import Const, Int, Method, Number, Qualified, Tensor, Unknown, Value, as_factor
from mha_lint.syntax.nodes import argument, children, first_index, last_name, walk
from mha_lint.syntax.words import name_of, names_said
from mha_lint.vocabulary import LARGEST, LOWER_PRECISION, MASKS, OF_ROWS, SOFT_MASKS, is_said

SCORED = frozenset({"scores", "weights"})
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


def as_mask(call: Call, result: Value, mask: Mask | Positions | None) -> Value:
    """The result that is no tensor, as the mask that it is: where nothing is known of it, or its numbers alone."""
    unknown = isinstance(result, Unknown) or (isinstance(result, (Int, Number)) and is_tracked(call))
    return Tensor(key=call.interpreter.key(call.node), mask=mask) if mask is not None and unknown else result


def bare(value: Value) -> Value:
    """Positions as the layout model knows them: as nothing."""
    if isinstance(value, Tensor) and isinstance(value.mask, Positions) and value.shape is None:
        return Unknown(value.key)
    return value


# --- in which ways the result was masked: columns of the table -------------------------------------------------------


def kept(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    """In all the ways in which the operands were."""
    return frozenset[Masking]().union(*(tensor.masked for tensor in told))


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


def chosen_where(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    known = kept(call, result, told)
    if len(call.args) != 3:
        return known
    where, yes, no = chosen(call)
    of, value = (no, yes) if isinstance(no, Tensor) and (no.roles or not isinstance(yes, Tensor)) else (yes, no)
    return known | _filling(call, of, where, value, _written(call, 0, "condition"))


def normalised(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    known = kept(call, result, told)
    return known | {SETTLED} if "weights" in result.roles else known


def biased(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    """``torch.baddbmm(bias, q, k)``."""
    if "scores" not in result.roles or _adds_nothing(call):
        return frozenset()
    buffer = call.args[0] if call.args else call.keywords.get("input")
    return frozenset({Masking("add", call.node, _of_yes_or_no(buffer, call.interpreter))})


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
    operands = _operands(call, result)
    if operands is None:
        return known
    about, other = operands
    mask = mask_of(other, run)
    node = call.node
    written = (node.right if about is call.args[0] else node.left) if isinstance(node, ast.BinOp) else None
    if isinstance(other, Tensor) and other.roles & SCORED:
        return known
    if "weights" not in about.roles:
        return known | {Masking("times", call.node)} if mask is not None and mask.marks else known
    if not (_is_called_mask(other, written, run) if mask is None else mask.marks):
        return known
    return known | {Masking("zero", call.node)} if _marks_keys(other, written, run) else known


def _is_called_mask(value: Value, written: ast.expr | None, run: Run) -> bool:
    """Tell whether what weights are multiplied by comes from something named as a mask, not as a soft one."""
    key = value.key if isinstance(value, (Tensor, Unknown)) else None
    node = written if key is None or run.node(key) is None else run.node(key)
    while isinstance(node, (ast.Call, ast.Subscript)):
        of = node.func if isinstance(node, ast.Call) else node
        if not isinstance(of, (ast.Attribute, ast.Subscript)):
            return False
        node = of.value
    name = name_of(node) if isinstance(node, (ast.Name, ast.Attribute)) else ""
    name = name if node is not None or key is None else key.names[-1]
    return is_said(MASKS, name) and not is_said(SOFT_MASKS, name)


def divided(call: Call, result: Tensor, told: Told) -> frozenset[Masking]:
    known = kept(call, result, told)
    operands = _operands(call, result)
    return known | {SETTLED} if operands is not None and "weights" in operands[0].roles else known


def _operands(call: Call, result: Tensor) -> tuple[Tensor, Value] | None:
    """Scores or weights, and what else than a number they are calculated with."""
    if len(call.args) < 2 or not result.roles & SCORED:
        return None
    left, right = call.args[:2]
    about, other = (left, right) if isinstance(left, Tensor) and left.roles & SCORED else (right, left)
    return None if not isinstance(about, Tensor) or isinstance(other, Const) or _is_plain(other) else (about, other)


def _is_plain(value: Value) -> bool:
    """A number that is known. What is calculated of unknown values is taken for a number, and may be a tensor."""
    factor = as_factor(value) if isinstance(value, (Int, Number)) else None
    return factor is not None and (factor.constant is not None or isinstance(value, Number))


def _added(call: Call, result: Tensor) -> set[Masking]:
    """Return the maskings that a sum or a difference adds to scores or weights."""
    operands = _operands(call, result)
    if operands is None:
        return set()
    about, other = operands
    if "weights" in about.roles:
        return {SETTLED}
    roles = other.roles if isinstance(other, Tensor) else frozenset[str]()
    if roles & {"scores", "parameter", "projection"}:  # learned biases mask nothing
        return set()
    if "learned" in roles and not names_said(MASKS, call.node):
        return set()
    return {Masking("add", call.node, _of_yes_or_no(other, call.interpreter))}


def _of_yes_or_no(value: Value | None, run: Run) -> Numbers:
    """Zero and one, where the value is known to be a mask of these; None otherwise."""
    mask = mask_of(value, run)
    if mask is None or mask.random or mask.boolean is None or (isinstance(value, Tensor) and value.roles):
        return None
    return YES_OR_NO if mask.numbers == YES_OR_NO else None


# --- whether the result is float32 because the code says so: columns of the table ------------------------------------


def any_single(call: Call) -> bool:
    """The result is, where an operand is."""
    return any(isinstance(value, Tensor) and value.single for value in call.args)


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
    numbers = number_of(value, run)
    if isinstance(filled, Tensor) and "weights" in filled.roles:
        hides = numbers is not None and all(number <= 0 for number in numbers)  # a softmax gives none below 0
        return {Masking("zero", call.node)} if hides and _marks_keys(where, written, run) else set()
    if numbers == ZERO and not _marks_keys(where, written, run):
        numbers = None
    about_mask = isinstance(filled, Tensor) and filled.mask is not None
    return set() if about_mask else {Masking("fill", call.node, numbers)}


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


def _marks_keys(where: Value | None, written: ast.expr | None, run: Run) -> bool:
    """Tell whether a mask may tell keys apart: not if it is of whole rows, of random numbers, or of the weights."""
    mask = mask_of(where, run)
    if mask is not None and mask.diagonal is not None:
        return True
    if (isinstance(where, Tensor) and where.roles) or (mask is not None and mask.random):
        return False
    key = where.key if isinstance(where, (Tensor, Unknown)) else None
    if key is not None and key.says(OF_ROWS):
        return False
    made = None if key is None else run.node(key)
    code = [node for node in (made, written) if node is not None]
    return not any(_is_of_rows(node) for node in _worth_reading(code))


def _worth_reading(code: list[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of a mask as it is written, but for what is only asked how large it is: ``query.shape``."""
    pending = list(code)
    while pending:
        node = pending.pop()
        yield node
        sized = isinstance(node, ast.Attribute) and node.attr in ("shape", "size")
        pending += [] if sized else children(node)


def _is_of_rows(node: ast.AST) -> bool:
    """An expression is about whole rows: by its names, or because it asks something of each, or makes a column."""
    match node:
        case ast.Call(func=ast.Attribute(attr="all" | "any")):
            return True
        case _:
            return is_said(OF_ROWS, name_of(node)) or _is_column(node)


def _is_column(node: ast.AST) -> bool:
    """An expression gets a last dimension of size 1: ``keep.unsqueeze(-1)``, ``keep[..., None]``."""
    match node:
        case ast.Call(func=ast.Attribute(attr="unsqueeze")):
            match argument(node, 0, "dim"):
                case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)):
                    return True
            return False
        case ast.Subscript(slice=ast.Tuple(elts=[*before, ast.Constant(value=None)])):
            taken = [each for each in before if not (isinstance(each, ast.Constant) and each.value is None)]
            whole = any(isinstance(each, ast.Constant) for each in taken)
            return whole or len(taken) > 1  # keep[:, None, None] of (b, s) is (b, 1, 1, s)
        case _:
            return False


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
