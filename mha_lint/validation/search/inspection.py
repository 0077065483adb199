"""Read from the source of a forward pass, and from the module once built, what its inputs may be."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from mha_lint.validation.search.vocabulary import Sizing, role_of


class Evidence(Struct):
    """Hold what the source of forward says of one parameter."""

    ranks: list[int] = field(default_factory=list)
    names: tuple[str, ...] = ()  # of the dims, as it unpacks them
    fed_to: list[str] = field(default_factory=list)  # attributes of self that it is passed to
    parts: int = 0  # how many parts the parameter itself is unpacked into
    optional: bool = False  # compared with None
    is_tensor: bool = False  # asked for its shape
    is_boolean: bool = False  # negated, held against 0 or 1, or what another one is masked or filled by
    is_calculated_with: bool = False
    is_index: bool = False  # into another one
    keys: dict[str, str] = field(default_factory=dict)  # by which it is subscripted, and the names of what that gives

    @property
    def is_used_as_tensor(self) -> bool:
        return bool(self.ranks or self.fed_to or self.is_tensor)


def read_forward(function: ast.FunctionDef | None) -> dict[str, Evidence]:
    """Evidence by parameter name, from the body of ``forward``."""
    if function is None:
        return {}
    arguments = function.args
    found = {item.arg: Evidence() for item in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
    for node in ast.walk(function):
        match node:
            case ast.Subscript(value=ast.Name(holder), slice=ast.Constant(str(key))) if holder in found:
                if key.isidentifier():
                    found[holder].keys.setdefault(key, key)
                    found.setdefault(key, Evidence())
    for node in ast.walk(function):
        match node:
            case ast.Assign(
                targets=[ast.Name(part)], value=ast.Subscript(value=ast.Name(holder), slice=ast.Constant(str(key)))
            ) if holder in found and key in found[holder].keys:
                found[holder].keys[key] = part
                found.setdefault(part, Evidence())
    _read_uses(function, found)
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=elements)], value=value):
                name, dims = _unpacked(value, elements)
                if name in found:
                    found[name].ranks.append(len(dims))
                    found[name].names = found[name].names or tuple(ast.unparse(dim) for dim in dims)
                elif isinstance(value, ast.Name) and value.id in found:
                    found[value.id].parts = len(elements)
            case ast.Call(func=ast.Attribute(value=owner, attr=attribute), args=[ast.Name(name), *_]) if name in found:
                path = ast.unparse(owner)
                if path == "self":
                    found[name].fed_to.append(attribute)
                elif path.startswith("self.") and "(" not in path and "[" not in path:
                    found[name].fed_to.append(path[5:])
            case ast.Attribute(value=ast.Name(name), attr="shape" | "size" | "dim" | "ndim" | "device") if (
                name in found
            ):
                found[name].is_tensor = True
            case ast.Compare(left=ast.Name(name), ops=[ast.Is() | ast.IsNot()]) if name in found:
                found[name].optional = True
            case ast.BoolOp(values=[ast.Name(name), *_]) if name in found:
                found[name].optional = True
    return found


# Calls that another value than a boolean one, or an index, cannot be handed to: which arguments they are.
_BY_BOOLEAN = {"masked_fill": -2, "masked_fill_": -2, "where": 0, "logical_not": 0, "masked_select": -1}
_BY_INDEX = {"gather": -1, "index_select": -1, "take_along_dim": 1, "embedding": 0, "take": -1}
_REPEATING = frozenset({"repeat", "tile", "expand"})
_RESHAPING = frozenset(
    "unsqueeze view reshape expand expand_as view_as transpose permute repeat squeeze flatten contiguous t T mT".split()
)


def _read_uses(function: ast.FunctionDef, found: dict[str, Evidence]) -> None:
    """Note which parameters, and entries of them, are used as masks and as indices."""

    def of(value: ast.expr) -> Evidence:
        return found.get(_viewed(value, found), Evidence())

    for node in ast.walk(function):
        match node:
            case ast.UnaryOp(op=ast.Invert(), operand=value):
                of(value).is_boolean = True
            case ast.Compare(left=value, ops=[ast.Eq() | ast.NotEq()], comparators=[ast.Constant(value=0 | 1)]):
                of(value).is_boolean = True
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult(), right=right):
                of(left).is_calculated_with = of(right).is_calculated_with = True
            case ast.AugAssign(value=value):
                of(value).is_calculated_with = True
            case ast.Call(func=ast.Attribute(value=owner, attr=name), args=arguments):
                if name in _REPEATING:
                    repeated, rank = _repeated(node)
                    of(repeated).ranks += [rank] if rank else []
                if name in ("logical_not", "bool"):
                    of(owner).is_boolean = True
                for table, kind in ((_BY_BOOLEAN, "is_boolean"), (_BY_INDEX, "is_index")):
                    at = table.get(name, len(arguments))
                    if -len(arguments) <= at < len(arguments):
                        setattr(of(arguments[at]), kind, True)
            case ast.Subscript(value=table, slice=place) if not _is_entry(node, found):
                for value in place.elts if isinstance(place, ast.Tuple) else [place]:
                    of(value).is_index = True


def _repeated(call: ast.Call) -> tuple[ast.expr, int]:
    """What a call repeats, and how many dims that has, as the numbers say that the call is given; 0 for unknown."""
    assert isinstance(call.func, ast.Attribute)
    tensor, sizes = call.func.value, list(call.args)
    if isinstance(tensor, ast.Name) and tensor.id == "torch" and sizes:
        tensor, *sizes = sizes
    if len(sizes) == 1 and isinstance(sizes[0], (ast.Tuple, ast.List)):
        sizes = sizes[0].elts
    rank = 0 if any(isinstance(size, ast.Starred) for size in sizes) else len(sizes)
    while rank:
        match tensor:
            case ast.Call(func=ast.Attribute(value=inner, attr="unsqueeze")):
                tensor, rank = inner, rank - 1
            case ast.Subscript(value=inner, slice=ast.Constant(value=None)):
                tensor, rank = inner, rank - 1
            case _:
                break
    return tensor, rank if rank > 1 else 0


def _is_entry(node: ast.expr, found: Mapping[str, Evidence]) -> str:
    """The name under which an entry of a parameter, ``tables["index"]``, is known; "" where it is none."""
    match node:
        case ast.Subscript(value=ast.Name(holder), slice=ast.Constant(str(key))) if holder in found:
            return found[holder].keys.get(key, "")
    return ""


def _viewed(value: ast.expr, found: Mapping[str, Evidence]) -> str:
    """The parameter, or entry of one, that ``value`` is a view of, such as ``mask`` of ``mask[:, None]``; or ""."""
    while True:
        if isinstance(value, ast.Name):
            return value.id
        if entry := _is_entry(value, found):
            return entry
        match value:
            case ast.Call(func=ast.Attribute(value=inner, attr=name)) if name in _RESHAPING:
                value = inner
            case ast.Attribute(value=inner, attr=name) if name in _RESHAPING:
                value = inner
            case ast.Subscript(value=inner):
                value = inner
            case _:
                return ""


def _unpacked(value: ast.expr, targets: list[ast.expr]) -> tuple[str, list[ast.expr]]:
    """The tensor whose shape is unpacked, and the targets that take its dims; ("", []) where not all of them are.

    Something else may be unpacked beside it, as in ``b, t, c, h = *x.shape, self.heads``.
    """
    if any(isinstance(target, ast.Starred) for target in targets):
        return "", []
    if name := _shape_of(value):
        return name, targets
    if not isinstance(value, ast.Tuple):
        return "", []
    starred = [(at, part.value) for at, part in enumerate(value.elts) if isinstance(part, ast.Starred)]
    rank = len(targets) - (len(value.elts) - 1)
    if len(starred) != 1 or rank < 1:
        return "", []
    at, shape = starred[0]
    name = _shape_of(shape)
    return (name, targets[at : at + rank]) if name else ("", [])


def _shape_of(value: ast.expr) -> str | None:
    match value:
        case ast.Attribute(value=ast.Name(name), attr="shape"):
            return name
        case ast.Call(func=ast.Attribute(value=ast.Name(name), attr="size"), args=[]):
            return name
    return None


class Inspected(Struct, frozen=True):
    """Hold what the built module tells: sizes by symbol, widths its layers take, lengths it may insist on."""

    sizes: Mapping[str, int]
    widths: tuple[int, ...]
    fixed: tuple[int, ...]
    vocabulary: int


def inspect_module(module: Any, sizing: Sizing) -> Inspected:
    import torch

    heads, head_dim = sizing.heads, sizing.head_dim
    widths: list[int] = []
    fixed: list[int] = []
    vocabulary = 50
    for child in module.modules():
        if isinstance(child, torch.nn.Embedding):
            vocabulary = min(vocabulary, child.num_embeddings)
        else:
            widths += [width] if (width := width_of(child)) else []
        for name, value in vars(child).items():
            role = role_of(name)
            if isinstance(value, int) and not isinstance(value, bool):
                heads = value if role == "heads" and child is module else heads
                head_dim = value if role == "head_dim" and child is module else head_dim
                if role == "width" and value > 0:
                    widths.append(value)
                if role in ("length", "window", "space") and 0 < value <= 1024:
                    fixed.append(value if role == "length" else value * value)
                    fixed.append(value)
            elif isinstance(value, tuple) and len(value) == 2 and all(isinstance(item, int) for item in value):
                fixed += [value[0] * value[1], value[0]]
        for tensor in [*child.buffers(recurse=False), *child.parameters(recurse=False)]:
            if torch.nn.parameter.is_lazy(tensor):
                continue
            if tensor.dim() >= 2 and not isinstance(child, (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d)):
                fixed += [size for size in tensor.shape if 1 < size <= 1024]
    limits = [length for length in dict.fromkeys(fixed) if length <= 400]
    return Inspected({"h": heads, "d": head_dim}, tuple(dict.fromkeys(widths)), tuple(limits[:8]), vocabulary)


def width_of(layer: Any) -> int | None:
    """The width that a layer takes: in_features, in_channels, or the last normalised size."""
    for name in ("in_features", "in_channels", "num_features", "num_channels", "embed_dim"):
        value = getattr(layer, name, None)
        if isinstance(value, int):
            return value
    normalised = getattr(layer, "normalized_shape", None)
    return int(normalised[-1]) if isinstance(normalised, (tuple, list)) and normalised else None
