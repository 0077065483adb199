"""What a value may be besides a tensor or a sequence: what can be called."""

from __future__ import annotations

from dataclasses import dataclass, field

from mha_lint.screen import facets as fc
from mha_lint.screen.facets import Facets, Rich, Value, rich
from mha_lint.screen.outline import Class, Function

Env = dict[str, Value]

SELF = object()  # what `self` is, and `super()`, of which is only known that its methods are those of some relation


@dataclass(frozen=True, slots=True)
class Layer:
    """A ``torch.nn`` module; ``items`` are the layers that a Sequential runs in turn, the width of a map, or
    something where a softmax is over the last dimension."""

    kind: str
    items: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Qualified:
    """A name imported from elsewhere, or a builtin, in full."""

    name: str


@dataclass(frozen=True, slots=True)
class Perhaps:
    """A callable, or another that is not known: what it gives is not proved."""

    callee: object


@dataclass(frozen=True, slots=True)
class Closure:
    function: Function
    env: Env = field(hash=False)


@dataclass(frozen=True, slots=True)
class Mapped:
    """A ``map`` over what may be a tensor with these facets."""

    source: Facets


class Object:
    """An object of a class of the file."""

    def __init__(self, cls: Class) -> None:
        self.cls = cls


def perhaps(value: Value) -> Rich:
    """What may be called, as one of several."""
    return rich(*(other if isinstance(other, Perhaps) else Perhaps(other) for other in fc.others(value)))
