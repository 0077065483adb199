"""What operations do to the numbers in masks."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable

from mha_lint.model.keys import Key
from mha_lint.model.marks import (
    DRAWN,
    GIVEN,
    NOT_KNOWN,
    Mask,
    Numbers,
    Positions,
    combined,
    constant,
    triangle,
)
from mha_lint.model.records import replace
from mha_lint.model.run import Call, Run
from mha_lint.model.sizes import Size
from mha_lint.model.values import (
    NONE,
    Const,
    Int,
    Method,
    Number,
    Qualified,
    Sequence,
    Slice,
    Tensor,
    Unknown,
    Value,
    arguments,
    as_factor,
    as_int,
    as_size,
)
from mha_lint.syntax.nodes import last_name

COMPARED: dict[str, Callable[[float, float], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
_CALCULATED: dict[str, tuple[Callable[[float, float], float], Numbers]] = {
    "add": (operator.add, None),
    "sub": (operator.sub, None),
    "subtract": (operator.sub, None),
    "mul": (operator.mul, frozenset({0.0})),
    "multiply": (operator.mul, frozenset({0.0})),
}
_JOINED: dict[str, tuple[Callable[[float, float], bool], Numbers]] = {
    "logical_and": (lambda left, right: bool(left and right), frozenset({0.0})),
    "logical_or": (lambda left, right: bool(left or right), frozenset({1.0})),
}
CAST = frozenset("float half double bfloat16 int long".split())
_SAME = frozenset("clone contiguous detach cuda cpu requires_grad_ data alias".split())
_SPREAD = frozenset("expand expand_as broadcast_to repeat tile".split())
RANDOM = frozenset("rand randn rand_like randn_like bernoulli".split())
FILLED = {"ones": 1.0, "new_ones": 1.0, "ones_like": 1.0, "zeros": 0.0, "new_zeros": 0.0, "zeros_like": 0.0}


def mask_of(value: Value | None, run: Run) -> Mask | None:
    """What is known of a value as a mask: a number is one that is the same everywhere, a comparison is a condition."""
    match value:
        case Tensor(mask=Mask() as mask):
            return mask
        case Const(bool(flag)):
            return constant(flag, boolean=True)
        case Int() | Number() | Const(float()):
            factor = as_factor(value)
            number = None if factor is None else factor.constant
            return None if number is None else constant(number)
        case Unknown(Key() as key) | Tensor(shape=None, mask=None, key=Key() as key):
            return GIVEN if _is_comparison(run.node(key)) else None
        case _:
            return None


def _is_comparison(node: ast.AST | None) -> bool:
    """Whether a node compares numbers, elementwise if they are tensors."""
    compares = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
    return isinstance(node, ast.Compare) and isinstance(node.ops[0], compares)


def of_array(name: str, call: Call) -> Value | None:
    """A mask that is made by numpy's functions of the same names, or of an array that is one."""
    name = name.rpartition(".")[2]
    if name in ("from_numpy", "as_tensor", "tensor", "asarray", "array"):
        return call.args[0] if call.args and mask_of(call.args[0], call.interpreter) and not _is_number(call) else None
    if name not in ("ones", "zeros", "full", "tril", "triu"):
        return None
    mask = mask_after(name, call)
    return None if mask is None else Tensor(key=call.interpreter.key(call.node), mask=mask)


def _is_number(call: Call) -> bool:
    return isinstance(call.args[0], (Int, Number, Const))


def number_of(value: Value | None, run: Run) -> Numbers:
    """The number that a value is, where it is the same everywhere."""
    mask = mask_of(value, run)
    return mask.inside if mask is not None and mask.uniform else None


def mask_after(name: str, call: Call) -> Mask | Positions | None:
    run = call.interpreter
    first = call.args[0] if call.args else None
    known = first.mask if isinstance(first, Tensor) and first.mask is not None else mask_of(first, run)
    if name in FILLED or name in ("full", "new_full", "arange"):
        return _made(name, call)
    if name in RANDOM:
        return DRAWN
    if name in COMPARED:
        return _compared(name, call)
    if name in _JOINED or name in _CALCULATED:
        function, absorbing = (_JOINED | _CALCULATED)[name]
        left, right = (mask_of(value, run) for value in _pair(call))
        if left is None and right is None:
            return None
        both = left is not None and right is not None and left.boolean is True and right.boolean is True
        yes = name in _JOINED or (both and "mul" in name)
        return combined(function, left or NOT_KNOWN, right or NOT_KNOWN, boolean=yes, absorbing=absorbing)
    if name == "masked_fill":
        where, value = mask_of(second(call, "mask"), run), number_of(third(call, "value"), run)
        return _chosen(where, None if value is None else constant(*value), known) if isinstance(known, Mask) else None
    if name == "where":
        parts = [mask_of(value, run) for value in chosen(call)]
        return _chosen(*parts[:3]) if len(parts) >= 3 else None
    if isinstance(known, Positions):
        return _positions(name, call, known)
    if not isinstance(known, Mask):
        kinds = (*call.args[1:], call.keywords.get("dtype"))
        return GIVEN if name == "bool" or (name in ("to", "type") and Qualified("torch.bool") in kinds) else None
    if name in _SAME or name in _SPREAD:
        return known
    return _moved(name, call, known) if name not in CAST else replace(known, boolean=False)


def _moved(name: str, call: Call, mask: Mask) -> Mask | None:
    match name:
        case "to" | "type" | "type_as":
            return _cast(call, mask)
        case "astype":
            kinds = (Const("bool"), Qualified("builtins.bool"), Qualified("numpy.bool_"), Qualified("numpy.bool"))
            yes = len(call.args) > 1 and call.args[1] in kinds
            return mask.changed(bool, boolean=True) if yes else replace(mask, boolean=False)
        case "bool":
            return mask.changed(bool, boolean=True)
        case "logical_not":
            return mask.changed(operator.not_, boolean=True)
        case "neg":
            return mask.changed(operator.neg, boolean=False)
        case "tril" | "triu":
            return _triangle(name, call, mask)
        case "transpose" | "swapaxes" | "swapdims" | "t" | "T" | "mT":
            dims = {call.integer(1, "dim0"), call.integer(2, "dim1")}
            return mask.transposed() if dims in ({0, 1}, {-1, -2}, {2, 3}) or dims == {None} else mask.somewhere()
        case "unsqueeze":
            at = call.integer(1, "dim")
            return mask if at in (0, 1) or (at is not None and at < -2) else mask.somewhere()
        case "view" | "reshape":
            sizes = [as_size(value) for value in _sizes(call.args[1:])]
            same = mask.sizes is None or (len(sizes) > 1 and tuple(sizes[-2:]) == mask.sizes)
            return mask if same else mask.somewhere()
        case "squeeze" | "flatten" | "permute" | "chunk" | "select" | "narrow":
            return mask.somewhere()
        case _:
            return None


def _pair(call: Call) -> tuple[Value | None, Value | None]:
    first, second = arguments(call.args, call.keywords, "input", "other")
    return first, second


def chosen(call: Call) -> tuple[Value, ...]:
    return where_parts(call.args, method=call.interpreter.is_method(call.node))


def where_parts(args: tuple[Value, ...], *, method: bool) -> tuple[Value, ...]:
    """Condition, what is taken where it holds, and what elsewhere: of ``torch.where`` or the method."""
    return (args[1], args[0], *args[2:]) if method and len(args) > 1 else args


def second(call: Call, name: str) -> Value | None:
    return call.args[1] if len(call.args) > 1 else call.keywords.get(name)


def third(call: Call, name: str) -> Value | None:
    return call.args[2] if len(call.args) > 2 else call.keywords.get(name)


def _sizes(values: tuple[Value, ...]) -> tuple[Value, ...]:
    return values[0].items if len(values) == 1 and isinstance(values[0], Sequence) else values


def _made(name: str, call: Call) -> Mask | Positions | None:
    """``torch.ones(t, s)`` and its like, on their own or as methods; ``torch.arange(n)``."""
    if name == "arange":
        start = as_int(call.args[0]) if len(call.args) == 2 else 0
        return Positions() if start in (0, None) and len(call.args) <= 2 else None  # or as far along as a cache is long
    args = call.args
    like = name.endswith("_like") or name.startswith("new_") or (bool(args) and isinstance(args[0], Tensor))
    sizes = args[1:] if like else args
    if "size" in call.keywords:
        sizes = (call.keywords["size"], *sizes)
    kind = call.keywords.get("dtype")
    boolean = kind == Qualified("torch.bool")
    number: float | None = FILLED.get(name)
    if number is None:
        value = sizes[1] if len(sizes) > 1 else call.keywords.get("fill_value")
        fill = number_of(value, call.interpreter)
        if fill is None:
            return None
        (number,) = fill
        sizes, boolean = sizes[:1], boolean or (kind is None and isinstance(value, Const))
    known = [as_size(value) for value in _sizes(sizes)]
    last = known[-2:] if len(known) > 1 and None not in known[-2:] else []
    normal = tuple(call.state.normal(size) for size in last if size is not None)
    written: tuple[Size, Size] | None = (normal[0], normal[1]) if len(normal) == 2 else None
    return constant(number, boolean=boolean, sizes=written)


def _triangle(name: str, call: Call, mask: Mask) -> Mask:
    value = second(call, "diagonal")
    if value is None and "k" in call.keywords:
        value = call.keywords["k"]  # numpy's name
    shift: int | None = 0 if value is None else as_int(value)
    size = as_size(value)
    if shift is None and size is not None and mask.sizes is not None:
        rows, columns = mask.sizes
        shift = (call.state.normal(size) - (columns - rows)).constant  # aligned with the last query
    if shift is None or (mask.diagonal is not None and mask.diagonal != shift - (name == "triu")):
        kept = triangle(None)
    else:
        kept = triangle(shift - (name == "triu"))
    if name == "triu":
        kept = kept.changed(operator.not_, boolean=True)
    return combined(lambda number, keep: number if keep else 0.0, mask, kept, boolean=mask.boolean)


def _compared(name: str, call: Call) -> Mask:
    left, right = _pair(call)
    first, second = (value.mask if isinstance(value, Tensor) else None for value in (left, right))
    if isinstance(first, Positions) and isinstance(second, Positions) and first.column != second.column:
        if second.column:  # keys on the left: s <= t is t >= s
            name = {"le": "ge", "lt": "gt", "ge": "le", "gt": "lt"}.get(name, name)
        if name in ("eq", "ne"):
            return GIVEN
        lower = triangle(0 if name in ("ge", "lt") else -1)
        return lower if name in ("ge", "gt") else lower.changed(operator.not_, boolean=True)
    one, other = mask_of(left, call.interpreter), mask_of(right, call.interpreter)
    if any(mask is not None and mask.random for mask in (one, other)):
        return replace(DRAWN, boolean=True)
    if one is None or other is None or not (one.uniform or other.uniform):
        return GIVEN
    return combined(COMPARED[name], one, other, boolean=True)


def _cast(call: Call, mask: Mask) -> Mask:
    kinds = [value for name, value in call.keywords.items() if name == "dtype"] or list(call.args[1:])
    boolean = mask.boolean
    for kind in kinds:
        match kind:
            case Qualified(name) if name == "torch.bool":
                return mask.changed(bool, boolean=True)
            case Qualified(name) if name == "builtins.bool":
                return mask.changed(bool, boolean=True)
            case Qualified() | Tensor() | Method(name="dtype"):
                boolean = False
            case Unknown(Key() as key) if _names_a(_DTYPE, call, key):
                boolean = False
            case Unknown(key) if key is None or not _names_a(_DEVICE, call, key):
                boolean = None
    return replace(mask, boolean=boolean)


_DTYPE = re.compile(r"dtype$")
_DEVICE = re.compile(r"device")


def _names_a(kind: re.Pattern[str], call: Call, key: Key) -> bool:
    """A name that tells the key, or the expression that it was made of, is that of a device or of a type."""
    made = call.interpreter.node(key)
    return any(kind.search(name) for name in (*key.names, last_name(made)))


def _chosen(where: Mask | None, yes: Mask | None, no: Mask | None) -> Mask | None:
    """``torch.where`` of masks and numbers, each of them known or not."""
    if where is None or (yes is None and no is None):
        return None
    where, yes, no = where.changed(bool, boolean=True), yes or NOT_KNOWN, no or NOT_KNOWN
    diagonals = {mask.diagonal for mask in (where, yes, no)} - {None}
    diagonal = next(iter(diagonals)) if len(diagonals) == 1 else None
    if diagonal is None and diagonals:
        where, yes, no = where.somewhere(), yes.somewhere(), no.somewhere()
    sides = []
    for inside in (True, False):
        told, first, second = (_side(mask, diagonal, where, inside=inside) for mask in (where, yes, no))
        parts = [part for flag, part in ((1.0, first), (0.0, second)) if told is None or flag in told]
        known = [part for part in parts if part is not None]
        sides.append(frozenset[float]().union(*known) if len(known) == len(parts) else None)
    boolean = yes.boolean if yes.boolean == no.boolean else False
    sizes = next((mask.sizes for mask in (where, yes, no) if mask.sizes is not None), None)
    return Mask(sides[0], sides[1], boolean, diagonal, sizes)


def _side(mask: Mask, diagonal: int | None, where: Mask, *, inside: bool) -> Numbers:
    """The numbers of a mask on one side: of the diagonal, or of the condition that chooses."""
    if (diagonal is not None and mask.diagonal == diagonal) or (diagonal is None and mask is where):
        return mask.inside if inside else mask.outside
    return mask.numbers


# --- positions -------------------------------------------------------------------------------------------------------


def _positions(name: str, call: Call, known: Positions) -> Positions | None:
    """Where positions stand once they are laid out as a column or a row."""
    sizes = [as_int(value) for value in _sizes(call.args[1:])]
    match name, sizes:
        case ("view" | "reshape", [*_, 1]):
            return Positions(column=True)
        case ("view" | "reshape", [*_, _]):
            return Positions()
        case "unsqueeze", [at]:
            return Positions(column=known.column or at in (1, -1))
        case "to" | "type" | "long" | "int" | "float" | "expand" | "clone", _:
            return known
        case _:
            return None


def indexed(run: Run, base: Value, indices: list[Value], result: Value, node: ast.expr) -> Value:
    """The result of a subscript, with what a mask that was indexed still is."""
    if not isinstance(base, Tensor) or not (base.mask is not None or base.masked or base.single):
        return result
    mask = base.mask
    if isinstance(mask, Positions):
        added = [index for index in indices if isinstance(index, Const)]
        mask = Positions(column=indices[-1] == NONE) if len(added) < len(indices) or added else None
    elif mask is not None and not _keeps_grid(indices, mask):
        mask = mask.somewhere()
    if isinstance(result, Tensor):
        return replace(result, mask=mask, masked=base.masked, single=base.single)
    return Tensor(key=run.key(node), mask=mask) if mask is not None else result


def _keeps_grid(indices: list[Value], mask: Mask) -> bool:
    """Whether a subscript leaves both dimensions, and queries and keys start where they did, or queries later."""
    if mask.diagonal is None:
        return True
    taken = [index for index in indices if index != NONE]
    if taken and indices[-1] == NONE:
        return False
    for index in taken:
        if isinstance(index, Slice):
            start = None if index.start is None else as_int(index.start)
            if index.step is not None or (start is not None and start != 0):
                return False
        elif index != Const(...) and as_int(index) != 0:
            return False
    if any(isinstance(index, Int) for index in taken[-2:]) and len(taken) < 3:
        return False
    keys = taken[-1] if len(taken) > 1 and isinstance(taken[-1], Slice) else None
    return keys is None or keys.start is None or as_int(keys.start) == 0
