"""What scores and weights are masked by, and where operations are marked with it."""

from __future__ import annotations

import ast
import re

from mha_lint.model.keys import Key
from mha_lint.model.marks import BEFORE, SETTLED, ZERO, Masking, Positions
from mha_lint.model.masks import CAST, COMPARED, FILLED, RANDOM, chosen, mask_after, mask_of, number_of, second, third
from mha_lint.model.records import replace
from mha_lint.model.run import Call, Run
from mha_lint.model.values import Const, Int, Method, Number, Qualified, Tensor, Unknown, Value
from mha_lint.syntax.nodes import argument, first_index, walk

_ENDS = frozenset("matmul bmm mm baddbmm addmm einsum linear scaled_dot_product_attention sum mean cumsum norm".split())
_CALCULATES = frozenset("add sub subtract mul multiply div divide true_divide".split())
_LOWER_PRECISION = re.compile(r"float16|half|bfloat16|dtype|type_as")


def marked(name: str, call: Call, result: Value) -> Value:
    """The result of an operation, with what it is as a mask, and what it was masked by."""
    values = (*call.args, *call.keywords.values())
    watched = (
        name in FILLED
        or name in RANDOM
        or name in ("full", "new_full", "arange", "masked_fill", "where")
        or name in COMPARED
    )
    if name.endswith("_like") and isinstance(result, Tensor):
        result = replace(result, roles=frozenset(), masked=frozenset())  # its own numbers
    about = isinstance(result, Tensor) and result.roles & {"scores", "weights"}
    watched = watched or name in CAST or name in ("to", "type", "bool") or bool(about)
    if not watched and not _tracked(values):
        return result
    mask = None if about else mask_after(name, call)
    if not isinstance(result, Tensor):
        unknown = isinstance(result, Unknown) or (isinstance(result, (Int, Number)) and _tracked(values))
        return Tensor(key=call.interpreter.key(call.node), mask=mask) if mask is not None and unknown else result
    masked, single = _masked(name, call, result), _single(name, call)
    if (result.mask, result.masked, result.single) == (mask, masked, single):
        return result
    return replace(result, mask=mask, masked=masked, single=single)


def bare(value: Value) -> Value:
    """Positions as the layout model knows them: as nothing."""
    if isinstance(value, Tensor) and isinstance(value.mask, Positions) and value.shape is None:
        return Unknown(value.key)
    return value


def _tracked(values: tuple[Value, ...]) -> bool:
    return any(isinstance(v, Tensor) and (v.mask is not None or v.masked or v.single) for v in values)


def _masked(name: str, call: Call, result: Tensor) -> frozenset[Masking]:
    tensors = [value for value in (*call.args, *call.keywords.values()) if isinstance(value, Tensor)]
    told = [tensor for tensor in tensors if tensor.roles & {"scores", "weights"}] or tensors
    if "sub" in name and _is_largest(call):
        told = tensors[:1]
    known = frozenset[Masking]().union(*(tensor.masked for tensor in told))
    if name == "add" and sum("scores" in tensor.roles for tensor in told) > 1:
        known = frozenset(masking for masking in known if masking.kind != "times")  # the other addend has them all
    if name in ("softmax", "log_softmax"):
        return frozenset({BEFORE}) if known else known
    if name == "baddbmm" and "scores" in result.roles:
        return frozenset() if _adds_nothing(call) else frozenset({Masking("add", call.node)})
    if name in _ENDS or name in COMPARED:
        return frozenset()
    if name == "masked_fill":
        filled = call.args[0] if call.args else None
        return known | _filling(call, filled, second(call, "mask"), third(call, "value"), _written(call, 1, "mask"))
    if name == "where" and len(call.args) == 3:
        where, yes, no = chosen(call)
        of, value = (no, yes) if isinstance(no, Tensor) and (no.roles or not isinstance(yes, Tensor)) else (yes, no)
        return known | _filling(call, of, where, value, _written(call, 0, "condition"))
    if name == "normalize" and "weights" in result.roles:
        return known | {SETTLED}
    if name in _CALCULATES and len(call.args) > 1 and result.roles & {"scores", "weights"}:
        return known | _calculated(name, call)
    return known


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
    """What filling scores, weights or others with a value does to them."""
    run = call.interpreter
    numbers = number_of(value, run)
    if isinstance(filled, Tensor) and "weights" in filled.roles:
        return {Masking("zero", call.node)} if numbers == ZERO and _marks_keys(where, written, run) else set()
    if numbers == ZERO and not _marks_keys(where, written, run):
        numbers = None
    about_mask = isinstance(filled, Tensor) and filled.mask is not None
    return set() if about_mask else {Masking("fill", call.node, numbers)}


def _calculated(name: str, call: Call) -> set[Masking]:
    """What a sum, product or quotient does to scores or weights."""
    run = call.interpreter
    left, right = call.args[:2]
    about, other = (left, right) if isinstance(left, Tensor) and left.roles & {"scores", "weights"} else (right, left)
    if not isinstance(about, Tensor) or isinstance(other, (Int, Number, Const)):
        return set()
    roles = other.roles if isinstance(other, Tensor) else frozenset[str]()
    weights = "weights" in about.roles
    if "mul" in name:
        mask = mask_of(other, run)
        if mask is None or not mask.marks or roles & {"scores", "weights"}:
            return set()
        if weights:
            node = call.node
            written = (node.right if about is left else node.left) if isinstance(node, ast.BinOp) else None
            return {Masking("zero", call.node)} if _marks_keys(other, written, run) else set()
        return {Masking("times", call.node)}
    if weights:
        return {SETTLED}
    if "sub" in name and _is_largest(call):
        return set()
    if "div" in name or roles & {"scores", "parameter", "projection"}:  # learned biases mask nothing
        return set()
    return {Masking("add", call.node, None)}


def _adds_nothing(call: Call) -> bool:
    """Whether ``torch.baddbmm(buffer, q, k)`` takes 0 times the buffer, or one of zeros that nothing else has seen."""
    run, node = call.interpreter, call.node
    if number_of(call.keywords.get("beta"), run) == ZERO:
        return True
    buffer = call.args[0] if call.args else call.keywords.get("input")
    written = argument(node, 0, "input") if isinstance(node, ast.Call) else None
    alone = isinstance(written, ast.Name) and run.mentioned(written.id) == 2  # where it is made, and here
    return alone and number_of(buffer, run) == ZERO


def _is_largest(call: Call) -> bool:
    """Whether the largest score is taken off, which a softmax does not see."""
    node = call.node
    return isinstance(node, ast.BinOp) and bool(_LARGEST.search(call.interpreter.text(node.right)))


_LARGEST = re.compile(r"\b(?:a?max|logsumexp)\(")
_OF_ROWS = re.compile(
    r"rand|bernoulli|drop|isnan|isinf|isfinite|quer(?!\w*len|\w*\.s)|row|heads?_?mask|\bgat(?:e|ing)|\.all\(|\.any\(|keepdim|[tT]hresh|topk"
)


def _marks_keys(where: Value | None, written: ast.expr | None, run: Run) -> bool:
    """Whether a mask tells keys apart, as far as is known: not whole rows, nor what the weights themselves are like."""
    mask = mask_of(where, run)
    if mask is not None and mask.diagonal is not None:
        return True
    if (isinstance(where, Tensor) and where.roles) or (mask is not None and mask.random):
        return False
    key = where.key if isinstance(where, (Tensor, Unknown)) else None
    made = None if key is None else run.node(key)
    code = [node for node in (made, written) if node is not None]
    if any(_is_column(node) for node in walk(*code)):
        return False
    return not any(_OF_ROWS.search(text) for text in ("" if key is None else key.text, *map(run.text, code)))


def _is_column(node: ast.AST) -> bool:
    """An expression gets a last dimension of size 1: ``keep.unsqueeze(-1)``, ``keep[..., None]``."""
    match node:
        case ast.Call(func=ast.Attribute(attr="unsqueeze")):
            match argument(node, 0, "dim"):
                case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)):
                    return True
            return False
        case ast.Subscript(slice=ast.Tuple(elts=[*_, ast.Constant(value=None)])):
            return True
        case _:
            return False


def _single(name: str, call: Call) -> bool:
    """Whether the result is float32 because the code says so."""
    tensors = [value for value in call.args if isinstance(value, Tensor)]
    if name == "float":
        return True
    if name in ("to", "type"):
        kinds = [value for word, value in call.keywords.items() if word == "dtype"] or list(call.args[1:])
        return _cast_to_single(kinds, before=any(tensor.single for tensor in tensors[:1]))
    if name in ("half", "bfloat16", "type_as") or name in COMPARED:
        return False
    return any(tensor.single for tensor in tensors)


def _cast_to_single(kinds: list[Value], *, before: bool) -> bool:
    """Whether ``.to(…)`` gives float32: what is told of the type, or of a tensor that has it."""
    for kind in kinds:
        match kind:
            case Qualified(name) if name in ("torch.float32", "torch.float", "torch.float64", "torch.double"):
                return True
            case Method(receiver=receiver, name="dtype"):
                return isinstance(receiver, Tensor) and receiver.single
            case Tensor(single=single):
                return single
            case Qualified(name) if _LOWER_PRECISION.search(name):
                return False
            case Unknown(Key() as key) if key.says(_LOWER_PRECISION):
                return False
    return before


def through_unknown(tensor: Tensor, node: ast.expr) -> frozenset[Masking]:
    """Scores or weights that code which is not known was handed: it may have masked them."""
    return tensor.masked | {Masking("unknown", node)}
