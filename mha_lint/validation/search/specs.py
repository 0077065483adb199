"""Define the arguments of a call, in symbols, and the sizes that the symbols take."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

Dim = str | int


Sizes = Mapping[str, int]


class TensorSpec(Struct, frozen=True):
    """A tensor: its dims are numbers, symbols ("b", "t", "s", "h", "d", "H", "W") or arithmetic on them ("H*W")."""

    dims: tuple[Dim, ...]
    kind: str = "float"  # "float", "ids", "bool", "positions", "lengths", "cumulative", "complex"


class SizeSpec(Struct, frozen=True):
    """A plain number, or a tuple of them, equal to sizes of the tensors."""

    dims: tuple[Dim, ...]
    single: bool = False


class TupleSpec(Struct, frozen=True):
    items: tuple[TensorSpec, ...]


class DictSpec(Struct, frozen=True):
    items: tuple[tuple[str, Spec], ...]


class Constant(Struct, frozen=True):
    value: Any


class ObjectSpec(Struct, frozen=True, eq=False):
    """An object of a class of the user, such as a cache: each call gets a copy of this one."""

    prototype: Any


class WrittenSpec(Struct, frozen=True):
    """Python that the user declared; the symbols of sizes, and ``torch``, are its names."""

    text: str


class MadeSpec(Struct, frozen=True):
    """One of the arguments that the user's factory gives for ``target``."""

    factory: str
    target: Any
    name: str


Spec = TensorSpec | SizeSpec | TupleSpec | DictSpec | Constant | ObjectSpec | WrittenSpec | MadeSpec


def size_of(dim: Dim, sizes: Sizes) -> int:
    if isinstance(dim, int):
        return dim
    if dim in sizes:
        return int(sizes[dim])
    return int(eval(_compiled(dim), {"__builtins__": {}}, dict(sizes)))  # the texts are this module's own


@functools.cache
def _compiled(dim: str) -> types.CodeType:
    """The code of a size, which is asked for hundreds of times."""
    return compile(dim.strip(), "<size>", "eval")


def is_of_any_size(spec: Spec) -> bool:
    """Tell whether the argument is the same for a module of other widths: none of its dims is a number."""
    match spec:
        case TensorSpec(dims) | SizeSpec(dims):
            return all(isinstance(dim, str) or dim == 1 for dim in dims)
        case TupleSpec(items):
            return all(map(is_of_any_size, items))
        case DictSpec(named):
            return all(is_of_any_size(item) for _, item in named)
        case Constant(value):
            return value is None or isinstance(value, (bool, str))
    return True


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
        case DictSpec(named):
            return "{" + ", ".join(f"{key!r}: {describe(item)}" for key, item in named) + "}"
        case Constant(value):
            return repr(value)
        case WrittenSpec(text):
            return text
        case ObjectSpec(prototype):
            return f"{type(prototype).__name__}()"
        case MadeSpec(factory):
            return f"<of {factory}>"


_DRAWN = {
    "ids": "torch.randint(0, 50, {})",
    "bool": "torch.rand({}) < 0.7",
    "positions": "torch.arange(t).expand({})",
    "lengths": "torch.full({}, t)",
    "cumulative": "torch.tensor([0, t], dtype=torch.int32)",
    "complex": "torch.ones({}, dtype=torch.complex64)",
}


def as_python(spec: Spec) -> str:
    """The expression that a declared harness would give for the argument."""
    match spec:
        case TensorSpec(dims, kind):
            return _DRAWN.get(kind, "torch.randn({})").format(f"({', '.join(map(str, dims))},)")
        case TupleSpec(items):
            return f"({', '.join(map(as_python, items))},)"
        case DictSpec(named):
            return "{" + ", ".join(f"{key!r}: {as_python(item)}" for key, item in named) + "}"
        case ObjectSpec() | MadeSpec():
            return "..."
        case _:
            return describe(spec)


# Sizes to run with, a family at a time: a module that takes only whole windows or squares works in a later family.
# The first of a family serves the search. "layout" says how the tensors lie in memory.
_FREE: tuple[tuple[int, int, int, int, int, str], ...] = (
    (3, 5, 7, 4, 6, "contiguous"),
    (1, 7, 9, 6, 10, "contiguous"),
    (3, 1, 3, 1, 1, "contiguous"),
    (2, 12, 5, 8, 4, "contiguous"),
    (3, 9, 11, 5, 8, "transposed"),
    (5, 6, 10, 8, 5, "expanded"),
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


class Assignment(Struct, frozen=True):
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
