"""Inputs for a forward pass that nobody described: what each parameter may be, from source, built module and name."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mha_lint.validation.vocabulary import Sizing, input_kind, role_of

Dim = str | int
Sizes = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor: its dims are numbers, symbols ("b", "t", "s", "h", "d", "H", "W") or arithmetic on them ("H*W")."""

    dims: tuple[Dim, ...]
    kind: str = "float"  # "float", "ids", "bool", "positions", "lengths", "cumulative", "complex"


@dataclass(frozen=True, slots=True)
class SizeSpec:
    """A plain number, or a tuple of them, equal to sizes of the tensors."""

    dims: tuple[Dim, ...]
    single: bool = False


@dataclass(frozen=True, slots=True)
class TupleSpec:
    items: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Constant:
    value: Any


@dataclass(frozen=True, slots=True, eq=False)
class ObjectSpec:
    """An object of a class of the user, such as a cache: each call gets a copy of this one."""

    prototype: Any


Spec = TensorSpec | SizeSpec | TupleSpec | Constant | ObjectSpec


def size_of(dim: Dim, sizes: Sizes) -> int:
    if isinstance(dim, int):
        return dim
    return int(eval(dim, {"__builtins__": {}}, dict(sizes)))  # the texts are this module's own


def describe(spec: Spec) -> str:
    match spec:
        case TensorSpec(dims, kind):
            return (
                f"({', '.join(map(str, dims))}{',' if len(dims) == 1 else ''}){'' if kind == 'float' else ' ' + kind}"
            )
        case SizeSpec(dims, single):
            return str(dims[0]) if single else f"({', '.join(map(str, dims))})"
        case TupleSpec(items):
            return f"[{', '.join(map(describe, items))}]"
        case Constant(value):
            return repr(value)
        case ObjectSpec(prototype):
            return f"{type(prototype).__name__}()"


# Sizes to run with, a family at a time: a module that takes only whole windows or squares works in a later family.
# The first of a family serves the search. "layout" says how the tensors lie in memory.
_FREE: tuple[tuple[int, int, int, int, int, str], ...] = (
    (3, 5, 7, 4, 6, "contiguous"),
    (1, 7, 9, 6, 10, "contiguous"),
    (3, 1, 3, 1, 1, "contiguous"),
    (2, 12, 5, 8, 4, "contiguous"),
    (3, 9, 11, 5, 7, "transposed"),
    (5, 6, 10, 2, 3, "expanded"),
    (1, 1, 2, 8, 8, "contiguous"),
    (2, 8, 3, 12, 8, "contiguous"),
    (5, 3, 8, 4, 8, "contiguous"),
)
_MULTIPLES: tuple[tuple[int, int, int, int, int, str], ...] = (
    (3, 16, 32, 8, 16, "contiguous"),
    (1, 48, 16, 16, 8, "contiguous"),
    (2, 64, 16, 16, 24, "contiguous"),
    (1, 32, 48, 8, 8, "contiguous"),
    (3, 32, 16, 24, 8, "transposed"),
    (5, 16, 64, 8, 8, "expanded"),
    (2, 16, 16, 16, 16, "contiguous"),
)
_SQUARES: tuple[tuple[int, int, int, int, int, str], ...] = (
    (3, 49, 16, 7, 7, "contiguous"),
    (1, 16, 49, 14, 14, "contiguous"),
    (2, 4, 16, 21, 21, "contiguous"),
    (5, 64, 25, 7, 14, "contiguous"),
    (3, 25, 64, 14, 7, "transposed"),
    (5, 16, 4, 7, 7, "expanded"),
    (1, 49, 25, 7, 7, "contiguous"),
)


@dataclass(frozen=True, slots=True)
class Assignment:
    sizes: Mapping[str, int]
    layout: str


def families(fixed: Iterable[int]) -> list[tuple[Assignment, ...]]:
    """Families of assignments; ``fixed`` are lengths that the module itself seems to insist on."""
    result = [
        tuple(Assignment(dict(zip("btsHW", row[:5], strict=True)), row[5]) for row in table)
        for table in (_FREE, _MULTIPLES, _SQUARES)
    ]
    layouts = ("contiguous", "contiguous", "contiguous", "contiguous", "transposed", "expanded")
    for length in fixed:
        result.append(
            tuple(
                Assignment({"b": b, "t": length, "s": length, "H": length, "W": length}, layout)
                for b, layout in zip((3, 1, 2, 5, 4, 6), layouts, strict=True)
            )
        )
    return result


@dataclass(slots=True)
class Evidence:
    """What the source of forward says of one parameter."""

    ranks: list[int] = field(default_factory=list)
    names: tuple[str, ...] = ()  # of the dims, as it unpacks them
    fed_to: list[str] = field(default_factory=list)  # attributes of self that it is passed to
    parts: int = 0  # how many parts the parameter itself is unpacked into
    optional: bool = False  # compared with None


def read_forward(function: ast.FunctionDef | None) -> dict[str, Evidence]:
    """Evidence by parameter name, from the body of ``forward``."""
    if function is None:
        return {}
    arguments = function.args
    found = {item.arg: Evidence() for item in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=elements)], value=value):
                name = _shape_of(value)
                whole = name in found and not any(isinstance(element, ast.Starred) for element in elements)
                if whole and name is not None:
                    found[name].ranks.append(len(elements))
                    found[name].names = found[name].names or tuple(ast.unparse(element) for element in elements)
                elif isinstance(value, ast.Name) and value.id in found:
                    found[value.id].parts = len(elements)
            case ast.Call(func=ast.Attribute(value=owner, attr=attribute), args=[ast.Name(name), *_]) if name in found:
                path = ast.unparse(owner)
                if path == "self":
                    found[name].fed_to.append(attribute)
                elif path.startswith("self.") and "(" not in path and "[" not in path:
                    found[name].fed_to.append(path[5:])
            case ast.Compare(left=ast.Name(name), ops=[ast.Is() | ast.IsNot()]) if name in found:
                found[name].optional = True
            case ast.BoolOp(values=[ast.Name(name), *_]) if name in found:
                found[name].optional = True
    return found


def _shape_of(value: ast.expr) -> str | None:
    match value:
        case ast.Attribute(value=ast.Name(name), attr="shape"):
            return name
        case ast.Call(func=ast.Attribute(value=ast.Name(name), attr="size"), args=[]):
            return name
    return None


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the built module tells: sizes by symbol, widths that its layers take, lengths that it may insist on."""

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


_BATCH_NAMES = frozenset("b bs bsz bsize bz batch batch_size batchsize nbatches n_batch num_batch".split())
_CHANNEL_NAMES = frozenset("c ch chan channels dim e embed_dim d_model hidden n_embd f features _c c_in in_dim".split())


def candidates(
    parameter: inspect.Parameter,
    evidence: Mapping[str, Evidence],
    module: Any,
    inspected: Inspected,
    hint: tuple[str | int | None, ...] | None,
    signature: inspect.Signature,
) -> list[Spec]:
    """What may be passed for ``parameter``, the likeliest first."""
    own = evidence.get(parameter.name, Evidence())
    kind = input_kind(parameter.name)
    if own.ranks or own.fed_to:
        kind = "tensor" if kind in ("height", "width", "space", "start", "count", "flag") else kind
    text = str(parameter.annotation)
    is_tensor = "Tensor" in text
    hinted = [_hinted(hint, module)] if hint else []
    specs: list[Spec] = [spec for spec in hinted if spec is not None]
    if text in ("int", "<class 'int'>") or (kind in ("height", "width") and not is_tensor):
        symbol = {"height": "H", "width": "W", "start": "0"}.get(kind, "t")
        return [*specs, SizeSpec((symbol,), single=True), Constant(0), Constant(1), Constant(4)]
    if text in ("bool", "<class 'bool'>") or (kind == "flag" and not is_tensor):
        return [Constant(False), Constant(True)]
    if text in ("float", "<class 'float'>"):
        return [Constant(1.0), Constant(0.1)]
    if kind == "space" and not is_tensor:
        return [*specs, SizeSpec(("H", "W")), SizeSpec(("t",), single=True), SizeSpec(("H", "W", "W"))]
    made = _object(parameter, module)
    if made is not None:
        return [ObjectSpec(made), Constant(None)]
    context = "s" if kind == "context" else "t"
    match kind:
        case "mask":
            masks = [TensorSpec(dims, sort) for dims in _MASKS for sort in ("bool", "float")]
            return [Constant(None), *specs, *masks, *_tensors(parameter.name, own, evidence, module, inspected, "t")]
        case "cache":
            state = TensorSpec(("b", "h", "s", "d"))
            return [Constant(None), *specs, TupleSpec((state, state))]
        case "alibi":
            biases = [TensorSpec(dims) for dims in _ALIBI]
            return [*specs, *biases, Constant(None)]
        case "lengths":
            specs += [TensorSpec(("b",), "lengths"), Constant(None)]
        case "vector":
            specs += [TensorSpec(("b", width)) for width in _widths(own, module, inspected)]
        case "start" if not is_tensor:
            return [Constant(0), *specs]
        case "count" if not is_tensor:
            return [SizeSpec(("t",), single=True), *specs, Constant(1), Constant(None)]
        case "ids":
            specs += [TensorSpec(("b", "t"), "ids"), TensorSpec(("t",), "ids")]
        case "positions":
            specs += [TensorSpec(("b", "t"), "positions"), TensorSpec(("t",), "positions")]
        case "cumulative":
            return [*specs, TensorSpec(("t",), "cumulative")]
        case "rotary":
            pairs = [TupleSpec((TensorSpec(dims), TensorSpec(dims))) for dims in _ROTARY]
            singles = [TensorSpec(dims) for dims in (("t", "2*d"), *_ROTARY, ("h", "t", "t"), ("t", "t"))]
            complexes = [TensorSpec(("t", "d//2"), "complex"), TensorSpec(("b", "t", "d//2"), "complex")]
            optional = [Constant(None)] if own.optional or "Optional" in text or "None" in text else []
            if own.parts or "uple" in text:
                return [*optional, *specs, *pairs, *singles, *complexes]
            return [*optional, *specs, *singles, *complexes, *pairs]
    specs += _tensors(parameter.name, own, evidence, module, inspected, context)
    spatial = [name for name in signature.parameters if input_kind(name) in ("height", "width", "space")]
    if spatial:
        widths = _widths(own, module, inspected)
        flat: list[Spec] = [TensorSpec(("b", dims, width)) for dims in ("H*W", "H*W+1") for width in widths[:1]]
        specs = [*flat[:1], *specs, *flat[1:]]
    if own.parts == 2:
        specs += [TupleSpec((TensorSpec(dims), TensorSpec(dims))) for dims in _ROTARY]
    return list(dict.fromkeys([*specs, Constant(None)]))


def _object(parameter: inspect.Parameter, module: Any) -> Any:
    """An object of the plain class that a parameter is annotated with, where the class takes no arguments."""
    import sys

    name = parameter.annotation
    if isinstance(name, str):
        name = getattr(sys.modules.get(type(module).__module__), name.strip("'\""), None)
    if not isinstance(name, type) or name.__module__.partition(".")[0] in {*sys.stdlib_module_names, "torch"}:
        return None
    try:
        return name()
    except Exception:
        return None


_ALIBI: tuple[tuple[Dim, ...], ...] = (
    ("b*h", 1, "t"), ("b", "h", 1, "t"), (1, "h", 1, "t"), ("h", "t", "t"), (1, "h", "t", "t"), ("b", "h", "t", "t"),
    ("h", 1, "t"),
)  # fmt: skip
_MASKS: tuple[tuple[Dim, ...], ...] = (
    ("t", "t"), ("b", "t"), ("b", 1, "t", "t"), ("b", 1, 1, "t"), ("b", "t", "t"), (1, 1, "t", "t"), ("t", "s"),
    ("b", "s"), ("b", 1, 1, "s"), ("b", 1, "t", "s"), ("h", "t", "t"), ("b", "h", "t", "t"), (1, "t", "t"),
)  # fmt: skip
_ROTARY: tuple[tuple[Dim, ...], ...] = (
    ("t", "d"), ("b", "t", "d"), (1, "t", "d"), ("t", "d//2"), (1, "t", 1, "d"), (1, 1, "t", "d"), ("b", "t", "d//2"),
)  # fmt: skip


def _hinted(hint: tuple[str | int | None, ...], module: Any) -> TensorSpec | None:
    dims: list[Dim] = []
    for part in hint:
        value: Any = part
        if isinstance(part, str) and part.startswith("self."):
            value = module
            for name in part.split(".")[1:]:
                value = getattr(value, name, None)
        if isinstance(value, int) and not isinstance(value, bool):
            dims.append(value)
        elif value in ("b", "t", "s", "h", "d", "H", "W"):
            dims.append(str(value))
        else:
            return None  # a size that only the model's reasoning knows: the other candidates serve
    return TensorSpec(tuple(dims))


def _widths(own: Evidence, module: Any, inspected: Inspected) -> list[int]:
    widths: list[int] = []
    for path in own.fed_to:
        layer = _leaf(module, path)
        width = width_of(layer) if layer is not None else None
        widths += [width] if width else []
    return list(dict.fromkeys([*widths, *inspected.widths]))[:4] or [inspected.sizes["h"] * inspected.sizes["d"]]


def _leaf(module: Any, path: str) -> Any:
    """The first layer that the attribute leads to: itself, or the first leaf of a container."""
    import torch

    found = module
    for name in path.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, torch.nn.Module):
        return None
    return next((child for child in found.modules() if width_of(child) or hasattr(child, "num_embeddings")), None)


def _tensors(
    name: str, own: Evidence, evidence: Mapping[str, Evidence], module: Any, inspected: Inspected, length: str
) -> list[Spec]:
    layers = [layer for path in own.fed_to if (layer := _leaf(module, path)) is not None]
    kinds = {type(layer).__name__ for layer in layers}
    ids: list[Spec] = [TensorSpec(("b", length), "ids"), TensorSpec((length,), "ids")]
    if "Embedding" in kinds:
        return ids
    ranks = own.ranks or [rank for other in evidence.values() for rank in other.ranks][:1]
    widths = _widths(own, module, inspected)
    by_width: list[tuple[Dim, ...]] = []
    if len(own.names) == 3 and own.names[1].lower() in _BATCH_NAMES and own.names[0].lower() not in _BATCH_NAMES:
        by_width += [(length, "b", width) for width in widths]
    for width in widths:
        by_width += [("b", length, width), ("b", width, "H", "W"), ("b", "H", "W", width), (length, width)]
    width = widths[0]
    by_width += [("b", "h", length, "d"), ("b", length, "h", "d"), ("b", width), ("b", width, length)]
    by_width += [("b", "t", "H", "W", width), ("b", width, "t", "H", "W"), ("h", length, "d"), (length, "h", "d")]
    if own.names:
        at = next((index for index, dim in enumerate(own.names) if dim.lower().strip("_") in _CHANNEL_NAMES), None)
    else:
        at = None

    def badness(indexed: tuple[int, tuple[Dim, ...]]) -> tuple[int, int, int, int]:
        index, dims = indexed
        wrong_rank = int(bool(ranks) and len(dims) not in ranks)
        conv = any(sort.startswith("Conv2d") for sort in kinds)
        wrong_layer = int(conv and not (len(dims) == 4 and dims[1] in widths))
        wrong_name = int(at is not None and not (at < len(dims) and isinstance(dims[at], int)))
        return wrong_layer, wrong_rank, wrong_name, index

    ordered: list[Spec] = [TensorSpec(dims) for _, dims in sorted(enumerate(dict.fromkeys(by_width)), key=badness)]
    if length == "s":  # as long as the queries, where two lengths are too many
        same = [_renamed(spec) for spec in ordered[:6]]
        ordered = [item for pair in zip(ordered[:6], same, strict=False) for item in pair] + ordered[6:]
    if ranks == [2] and not layers:
        return [*ids, *ordered]
    return [*ordered, *ids]


def _renamed(spec: Spec) -> Spec:
    assert isinstance(spec, TensorSpec)
    return TensorSpec(tuple("t" if dim == "s" else dim for dim in spec.dims), spec.kind)
