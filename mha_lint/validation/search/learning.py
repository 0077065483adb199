"""Learn from an exception which arguments of the call may be to blame for it, and what they may be instead."""

from __future__ import annotations

import ast
import dis
import inspect
import itertools
import math
import re
import traceback
import types
from collections.abc import Iterator, Mapping, Sequence

import torch
from msgspec.structs import replace

from mha_lint.validation.child.imports import Loaded
from mha_lint.validation.search.reading import nodes_of
from mha_lint.validation.search.specs import (
    Assignment,
    Constant,
    DictSpec,
    Dim,
    SizeSpec,
    Spec,
    TensorSpec,
    TupleSpec,
    families,
    size_of,
)

_NUMBER = re.compile(r"\d+")
_ABSENT = re.compile(r"NoneType|must be Tensor, not|\bNone\b")
_RANK = re.compile(
    r"unpack \(expected (\d)|expected (\d)D(?:.*?\bor (\d)D)?|to have (\d) dim|(\d)-dimensional|Expected (\d)-?D",
    re.IGNORECASE,
)
_SIDES = re.compile(r"(\d+) ?(?:\*|x|×|, ?) ?(\d+)")  # of an image
_WRITTEN_SIDES = re.compile(r"(\d+) ?[*x×] ?(\d+)")
_LACKING = re.compile(r"missing \d+ required (?:positional|keyword-only) arguments?: '(\w+)'")
_KINDS = {
    "scalar types: Long": ("ids",),
    "tensors used as indices must be": ("ids", "positions", "bool"),
    "only supports boolean masks": ("bool",),
    "condition to be a boolean tensor": ("bool",),
    "expected BoolTensor for mask": ("bool",),
    "only implemented on integer and Boolean": ("bool",),
    "not implemented for 'Float'": ("bool", "ids"),
    "for index": ("positions", "ids"),
    "dtype of indices should be Long": ("positions", "ids"),
}
_SHORTEST, _LONGEST = 4, 256  # lengths that a module may insist on
_WIDEST = 32  # the side of an image
_MISMATCH = re.compile(r"size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\)")
_PRODUCT = re.compile(r"shapes cannot be multiplied \(\d+x(\d+) and (\d+)x\d+\)")
_DIVISOR = re.compile(r"(?:divisible by|chunks of|multiple of)[^(),\d]*(?:\()?(\d+)")
_SHAPE = re.compile(r"shape '\[([^]]*)\]' is invalid for input of size (\d+)")
_PARTS = "must be tuple of ints"  # the lengths of parts, which make up the whole
_EINOPS = "Shape mismatch, "  # what einops says behind the pattern, and behind the shape, which fit
_FACTOR = 8  # between two sizes of which one is made of the other
_FAMILIES = 3  # other sizes that one message is worth


def blamed(error: BaseException, file: str, function: ast.FunctionDef | None) -> list[str]:
    """Parameters of ``function`` on which the statement that raised depends; all of them where that is not known."""
    if function is None:
        return []
    arguments = function.args
    names = [item.arg for item in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]]
    last = function.end_lineno or function.lineno
    rows = [frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    within = [row for row in rows if function.lineno <= row <= last]
    if not within:
        return names
    row = within[0]
    statements = [node for node in nodes_of(function) if isinstance(node, ast.stmt) and node is not function]
    raised = [node for node in statements if node.lineno <= row <= (node.end_lineno or node.lineno)]
    if not raised:
        return names
    innermost = min(raised, key=lambda node: (node.end_lineno or node.lineno) - node.lineno)
    direct = _read(innermost)
    if isinstance(innermost, ast.Raise):  # what led there is to blame, not what the message tells
        direct |= {name for node in raised if isinstance(node, ast.If) for name in _read(node)}
    needed = set(direct)
    for node in sorted(statements, key=lambda node: -node.lineno):
        assigns = node.lineno <= row and isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign))
        if assigns and _written(node) & needed:
            needed |= _read(node)
    return [name for name in names if name in direct] + [name for name in names if name in needed - direct]


def settings(error: BaseException, file: str, tree: ast.Module) -> list[str]:
    """Attributes of a configuration, perhaps, on which the statement depends that raised; the nearest first."""
    rows = [frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    statements = [node for node in nodes_of(tree) if isinstance(node, ast.stmt)]
    found: dict[str, None] = {}
    for row in reversed(rows):
        classes = [node for node in statements if isinstance(node, ast.ClassDef) and _spans(node, row)]
        simple = [node for node in statements if _spans(node, row) and not isinstance(node, ast.ClassDef)]
        if not simple:
            continue
        wanted = [min(simple, key=lambda node: (node.end_lineno or node.lineno) - node.lineno)]
        scope = [node for node in nodes_of(classes[-1] if classes else tree) if isinstance(node, ast.stmt)]
        for _ in range(3):
            names = {name for node in wanted for name in _dotted(node)}
            found |= dict.fromkeys(name.rpartition(".")[2] for name in sorted(names) if "." in name)
            wanted = [node for node in scope if _targets(node) & names]
    return list(found)


def _spans(node: ast.stmt, row: int) -> bool:
    return node.lineno <= row <= (node.end_lineno or node.lineno)


def _dotted(node: ast.stmt) -> set[str]:
    """Names and attributes that a statement reads, as they are written; of a compound one, those of its header."""
    parts: list[ast.AST] = [node]
    if isinstance(node, (ast.If, ast.While)):
        parts = [node.test]
    elif isinstance(node, (ast.FunctionDef, ast.With, ast.For, ast.Try)):
        parts = []
    inner = [item for part in parts for item in nodes_of(part)]
    called = {id(item.func) for item in inner if isinstance(item, ast.Call)}
    return {
        ast.unparse(item)
        for item in inner
        if isinstance(item, (ast.Name, ast.Attribute)) and isinstance(item.ctx, ast.Load) and id(item) not in called
    }


def _targets(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {ast.unparse(target) for target in targets}


def missing_key(error: BaseException, function: ast.FunctionDef | None) -> str:
    """The keyword that a variadic function looked up, or passes on, in vain; "" where that was not it."""
    if function is None or function.args.kwarg is None:
        return ""
    lacking = _LACKING.search(str(error)) if isinstance(error, TypeError) else None
    if lacking:
        return lacking[1]
    name = error.args[0] if isinstance(error, KeyError) and len(error.args) == 1 else ""
    return name if isinstance(name, str) and name.isidentifier() else ""


def lacking(error: BaseException) -> list[str]:
    """The required arguments that a call was made without."""
    if not isinstance(error, TypeError) or "required" not in str(error):
        return []
    return re.findall(r"'(\w+)'", str(error).partition("missing")[2])


def methods_that_set(error: BaseException, module: types.ModuleType) -> list[str]:
    """Methods without arguments that set the attribute which an object of a class in ``module`` lacks."""
    if not isinstance(error, AttributeError) or not isinstance(error.obj, torch.nn.Module):
        return []
    cls = type(error.obj)
    if getattr(module, cls.__name__, None) is not cls:
        return []
    found: list[str] = []
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        required = [item for item in inspect.signature(method).parameters.values() if item.default is item.empty]
        if name.startswith("_") or len(required) != 1:
            continue
        if error.name in _attributes_set(method):
            found.append(name)
    return found[:_FAMILIES]


def _attributes_set(method: types.FunctionType) -> set[str]:
    """The attributes of its object that a method assigns, as its code tells."""
    plain = inspect.unwrap(method)  # ``torch.no_grad()`` may be around it
    return {item.argval for item in dis.get_instructions(plain) if item.opname == "STORE_ATTR"}


def parts_lacking(error: BaseException, file: str, tree: ast.Module) -> set[str]:
    """Attributes that the statement which raised calls or looks into, where one of them is None or missing."""
    if isinstance(error, AttributeError) and "NoneType" not in str(error):
        return {error.name} if isinstance(error.obj, torch.nn.Module) and error.name else set()
    if not isinstance(error, (AttributeError, TypeError)) or "NoneType" not in str(error):
        return set()
    found: set[str] = set()
    for statement in _raising(error, file, tree):
        for node in nodes_of(statement):
            match node:
                case ast.Call(func=ast.Attribute(attr=name)) | ast.Attribute(value=ast.Attribute(attr=name)):
                    found.add(name)
    return found


def keys_of_tables(error: BaseException, loaded: Loaded) -> list[str]:
    """The texts that a table of the module knows, where a statement looked another one up in it."""
    if not isinstance(error, KeyError):
        return []
    found: dict[str, None] = {}
    for statement in _raising(error, loaded.pseudo, loaded.tree):
        for node in nodes_of(statement):
            match node:
                case ast.Subscript(value=ast.Name(name)) if isinstance(vars(loaded.module).get(name), dict):
                    found |= dict.fromkeys(key for key in vars(loaded.module)[name] if isinstance(key, str))
    return list(found)


def keys_asked_for(error: BaseException, file: str, tree: ast.Module) -> list[str]:
    """The keys under which the statements that were running asked a table, ``table.get("key")``."""
    found: dict[str, None] = {}
    for statement in _raising(error, file, tree):
        for node in nodes_of(statement):
            match node:
                case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(str(key)), *_]):
                    found[key] = None
    return list(found)


def _raising(error: BaseException, file: str, tree: ast.Module) -> Iterator[ast.stmt]:
    """The simple statements of the file that were running when the error was raised, the innermost first."""
    rows = [frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    simple = [
        node
        for node in nodes_of(tree)
        if isinstance(node, (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return))
    ]
    for row in reversed(rows):
        yield from (node for node in simple if _spans(node, row))


def divisors(error: BaseException) -> list[int]:
    """Numbers that ought to divide a size, as an error says."""
    if not isinstance(error, (RuntimeError, AssertionError, ValueError)):
        return []
    found = [int(number) for match in _DIVISOR.finditer(str(error)) for number in match.groups() if number]
    return [number for number in dict.fromkeys(found) if 1 < number <= _WIDEST][:_FAMILIES]


def undivided(error: BaseException, divisor: int) -> list[int]:
    """The sizes that an error names which says that the number ought to divide one of them, and does not."""
    numbers = [int(number) for number in _NUMBER.findall(_that_does_not_fit(error))]
    return [number for number in dict.fromkeys(numbers) if number > 1 and number % divisor]


def _that_does_not_fit(error: BaseException) -> str:
    """The message, or the part of it that tells the sizes which do not fit."""
    text = str(error)
    return text.rpartition(_EINOPS)[2]


def multiple(error: BaseException) -> int:
    """How many times as large one of the two sizes is that do not match; 1 where it is no multiple, or a large one."""
    mismatch = _MISMATCH.search(str(error))
    smaller, larger = sorted((int(mismatch[1]), int(mismatch[2]))) if mismatch else (1, 1)
    return larger // smaller if smaller > 1 and larger % smaller == 0 and larger // smaller <= _FACTOR else 1


def others(
    error: BaseException,
    names: Sequence[str],
    specs: Mapping[str, Spec],
    options: Mapping[str, list[Spec]],
    sizes: Mapping[str, int],
) -> Iterator[tuple[str, Spec]]:
    """Changes to try, one argument each, the likeliest first."""
    text = str(error)
    if "not callable" in text:
        return  # a part of the module is missing: no argument of the call will do
    if _PARTS in text:
        yield from ((name, SizeSpec((1, "t-1"))) for name in names)
    absent = [name for name in names if specs.get(name, Constant(None)) == Constant(None)]
    present = [name for name in names if name not in absent]
    if _ABSENT.search(text) or (isinstance(error, TypeError) and absent and "argument" in text):
        yield from _alternatives(absent, specs, options, 10)
        yield from _alternatives(present, specs, options, 3)
        return
    if isinstance(error, TypeError) and "NoneType" not in text and "not iterable" in text:
        yield from _alternatives(names, specs, options, 12)
        return
    for kind in next((kinds for words, kinds in _KINDS.items() if words in text), ()):
        for name in present:
            for spec in of_kind(specs[name], kind):
                yield name, spec
    ranks = {int(number) for found in _RANK.finditer(text) for number in found.groups() if number}
    if "channels" in text:  # they lie elsewhere, or the tensor has another rank
        yield from _alternatives(present, specs, options, 8)
    for rank in sorted(ranks, reverse=True):  # of two, the larger is the one with a batch
        for name in present:
            for spec in options.get(name, []):
                if isinstance(spec, TensorSpec) and len(spec.dims) == rank and spec != specs[name]:
                    yield name, spec
    for name in present:
        for spec in resized(specs[name], error, sizes):
            yield name, spec
    yield from _alternatives(present, specs, options, 8)
    yield from _alternatives(absent, specs, options, 4)


def of_kind(spec: Spec, kind: str) -> Iterator[Spec]:
    """The argument with its float tensor of another kind: in a dictionary each by itself, in a tuple all of them."""
    match spec:
        case TensorSpec(kind="float"):
            yield replace(spec, kind=kind)
            if kind in ("ids", "positions"):  # a table of places has no width
                yield TensorSpec(("t",), kind)
        case DictSpec(items):
            for at, (key, inner) in enumerate(items):
                for other in of_kind(inner, kind):
                    yield DictSpec((*items[:at], (key, other), *items[at + 1 :]))
        case TupleSpec(items) if any(item.kind == "float" for item in items):
            yield TupleSpec(tuple(replace(item, kind=kind) for item in items))


def other_sides(error: BaseException) -> Iterator[tuple[Assignment, ...]]:
    """Families of sizes in which the side of an image is one that the message names as a side, as in "16x16"."""
    if isinstance(error, (RuntimeError, AssertionError, ValueError)):
        yield from _families_of(_WRITTEN_SIDES.findall(str(error)))


def other_sizes(error: BaseException, family: tuple[Assignment, ...]) -> Iterator[tuple[Assignment, ...]]:
    """Families of sizes in which a length, or the side of an image, is one that the message of a shape error names.

    Where it names what ought to divide one, the sizes of ``family`` are multiplied by that.
    """
    if isinstance(error, (RuntimeError, AssertionError, ValueError)):
        text = _that_does_not_fit(error)
        yield from _families_of(_SIDES.findall(text))
        numbers = [int(number) for number in _NUMBER.findall(text)]
        wanted = [number for number in dict.fromkeys(numbers) if _SHORTEST <= number <= _LONGEST]
        for number in sorted(wanted[:_FAMILIES], key=_is_no_square):
            side = number if number <= _WIDEST else math.isqrt(number)
            yield tuple(replace(each, sizes={**each.sizes, "H": side, "W": side}) for each in family)
            (*_, fixed) = families([number])
            yield tuple(replace(each, sizes={**each.sizes, "H": side, "W": side}) for each in fixed)
        yield from _multiples(error, family)


def _is_no_square(number: int) -> bool:
    return math.isqrt(number) ** 2 != number


def _multiples(error: BaseException, family: tuple[Assignment, ...]) -> Iterator[tuple[Assignment, ...]]:
    """The family with the batch, or the lengths, multiplied by a number that ought to divide a size."""
    numbers = divisors(error)
    for written, size in _SHAPE.findall(str(error)):
        shape = [int(number) for number in _NUMBER.findall(written)]
        small = [number for number in shape if 1 < number <= _WIDEST]
        if 0 in shape:  # a size was smaller than what it was divided by
            numbers += small
        elif "-" not in written and int(size) % math.prod(shape):  # a quotient was rounded
            numbers += sorted(small)[:1]
    for number in list(dict.fromkeys(numbers))[:_FAMILIES]:
        for symbols in ("b", "ts"):
            yield tuple(
                replace(
                    each, sizes={name: size * number if name in symbols else size for name, size in each.sizes.items()}
                )
                for each in family
            )


def _families_of(sides: Sequence[tuple[str, str]]) -> Iterator[tuple[Assignment, ...]]:
    equal = [int(one) for one, other in sides if one == other]
    for side in dict.fromkeys(side for side in equal if _SHORTEST <= side <= _LONGEST):
        (*_, family) = families([side])
        yield family


def _alternatives(
    names: Sequence[str], specs: Mapping[str, Spec], options: Mapping[str, list[Spec]], count: int
) -> Iterator[tuple[str, Spec]]:
    lists = [
        [(name, spec) for spec in options.get(name, []) if spec != specs.get(name, Constant(None))][:count]
        for name in names
    ]
    for turn in itertools.zip_longest(*lists):  # a likely one of each comes before an unlikely one of any
        yield from (each for each in turn if each is not None)


def resized(spec: Spec, error: BaseException, sizes: Mapping[str, int]) -> Iterator[Spec]:
    """The argument with one dimension of a size that the message asks for."""
    text = _that_does_not_fit(error)
    product = _PRODUCT.search(text)
    numbers = [int(product[1]), int(product[2])] if product else [int(number) for number in _NUMBER.findall(text)]
    yield from _resized(spec, list(dict.fromkeys(numbers))[:8], sizes, of_channels="channels" in text)


def lengthened(spec: Spec, error: BaseException, sizes: Mapping[str, int]) -> Iterator[Spec]:
    """The tensor with a length that makes up for a mismatch: what is added to it may have a length of its own."""
    mismatch = _MISMATCH.search(str(error))
    if mismatch is None or not isinstance(spec, TensorSpec):
        return
    for difference in (int(mismatch[2]) - int(mismatch[1]), int(mismatch[1]) - int(mismatch[2])):
        for at, dim in enumerate(spec.dims):
            length = _size(dim, sizes) + difference if dim in ("t", "s") else 0
            for found in _varying(length, sizes) if 0 < length <= _LONGEST else ():
                yield replace(spec, dims=(*spec.dims[:at], found, *spec.dims[at + 1 :]))


def _resized(
    spec: Spec, numbers: Sequence[int], sizes: Mapping[str, int], *, of_channels: bool = False
) -> Iterator[Spec]:
    """The tensor with one dimension, whose size the message names, of another size that it names.

    As many channels as entries are so by chance: their number is fixed, with ``of_channels``.
    """
    match spec:
        case TensorSpec(dims, kind) if kind != "ids":
            for at, dim in reversed(list(enumerate(dims))):
                if isinstance(dim, str) and set(dim) & set("btsHW"):
                    continue  # a length is free; other families of sizes give it other values
                size = _size(dim, sizes)
                for number in numbers if size in numbers else ():
                    if number != size and 0 < number <= 4096:
                        for found in [number] if of_channels else _varying(number, sizes):
                            yield replace(spec, dims=(*dims[:at], found, *dims[at + 1 :]))
        case TupleSpec(items) if items and all(item.dims == items[0].dims for item in items):
            for changed in _resized(items[0], numbers, sizes, of_channels=of_channels):
                if isinstance(changed, TensorSpec):
                    yield TupleSpec((changed,) * len(items))


def _varying(number: int, sizes: Mapping[str, int]) -> Sequence[Dim]:
    """The names of sizes that are this number now, and must go on varying; the number itself where there is none."""
    named: list[Dim] = [name for name, value in sizes.items() if value == number]
    return named or [number]


def _size(dim: Dim, sizes: Mapping[str, int]) -> int:
    try:
        return size_of(dim, sizes)
    except (NameError, KeyError):
        return -1


def _read(node: ast.AST) -> set[str]:
    """Names that a statement reads; of a compound one, those of its header."""
    if isinstance(node, (ast.If, ast.While)):
        return _read(node.test)
    if isinstance(node, (ast.For, ast.AsyncFor)):
        return _read(node.iter)
    inner = [item for item in nodes_of(node) if isinstance(item, ast.Name)]
    return {item.id for item in inner if isinstance(item.ctx, ast.Load)}


def _written(node: ast.AST) -> set[str]:
    inner = [item for item in nodes_of(node) if isinstance(item, ast.Name)]
    written = {item.id for item in inner if isinstance(item.ctx, ast.Store)}
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        written.add(node.target.id)
    return written
