"""Events: an operation that the interpreter met at a node, and what was known there on that path."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from enum import Enum, auto
from typing import Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.comparing import compared_without
from mha_lint.model.conditions import Taken
from mha_lint.model.folded import Fold
from mha_lint.model.keys import Key
from mha_lint.model.layout import Answer, Shape, view
from mha_lint.model.normalised import Normalised
from mha_lint.model.sizes import Size
from mha_lint.model.values import Tensor, Value
from mha_lint.syntax.names import ModuleNames


class ViewSeen(Struct, frozen=True):
    """A ``.view`` met on some path: ``answer`` says whether it can succeed there.

    ``joined`` where several paths were joined into that one: sizes may be forgotten that were known on each of them.
    ``one_by_one`` where a cache is known to be there, so that one token is the rule: nothing mixes it up with others.
    """

    node: ast.expr
    answer: Answer
    tensor: Tensor
    target: Shape
    function: ast.AST
    symbol: str
    caller: ast.expr | None  # the call that led into the helper, where there is one
    copies: bool = False  # it is a ``.reshape``, which copies where a view can't succeed
    joined: bool = False
    one_by_one: bool = False

    @property
    def fails_in_math(self) -> bool:
        """Tell whether a view of what fused attention gives can't succeed where its math kernel ran."""
        tensor = self.tensor
        if self.answer is not Answer.UNKNOWN or self.copies or tensor.of_math is None or tensor.strides is not None:
            return False
        if tensor.shape is None or len(tensor.shape) != len(tensor.of_math):
            return False
        answer, _ = view(tensor.shape, tensor.of_math, self.target)
        return answer is Answer.NEVER


class ContiguousSeen(Struct, frozen=True):
    """A ``.contiguous()`` met on some path: ``needless`` where its tensor is proved to be contiguous."""

    node: ast.expr
    needless: bool
    symbol: str
    caller: ast.expr | None


@compared_without("names")
class ValueSeen(Struct, frozen=True):
    """A tensor given to a name on some path; ``names`` are the local names of the sizes known there."""

    name: str
    value: Value
    symbol: str
    names: Mapping[Size, str] = field(default_factory=dict)


class UnbindSeen(Struct, frozen=True):
    node: ast.expr
    tensor: Tensor
    dim: int
    inference: bool
    symbol: str


class WeightingSeen(Struct, frozen=True):
    """Values weighted by what a softmax made: the sum runs along ``contracted``, a dimension from the end."""

    normalised: Normalised
    contracted: int
    symbol: str


class OrderSeen(Struct, frozen=True):
    """A tensor that was repeated along a dimension met one whose dimension has the sizes in another order."""

    fold: Fold
    other: Fold
    symbol: str


@compared_without("given", "names")
class Step(Struct, frozen=True):
    """A call into a function of another module, what its parameters were given, and the names of that module."""

    function: ast.AST
    call: ast.expr
    given: Mapping[str, Value]
    names: ModuleNames


class Clash(Struct, frozen=True):
    """Two shapes that an operation brings together, and the sizes of them that are never alike.

    ``by_luck`` where they may be alike, since they are sizes of different things: the batch and the tokens.
    """

    left: Shape
    right: Shape
    sizes: tuple[Size, Size]
    by_luck: bool


@compared_without("names")
class ClashSeen(Struct, frozen=True):
    """An operation whose shapes clash; ``names`` are the local names of the sizes known there."""

    node: ast.expr
    clash: Clash
    symbol: str
    caller: ast.expr | None  # the call that led into the helper, where there is one
    names: Mapping[Size, str] = field(default_factory=dict)


class Meant(Enum):
    """What a call whose result nobody takes was meant to do to its tensor."""

    MASKS = auto()  # to fill it where a mask says so
    MOVES = auto()  # to lay it out in another way
    CHANGES = auto()  # to change its numbers, or their type
    NOTHING = auto()  # nothing: it is a question, or a product that is timed, or random numbers are drawn


class DiscardedSeen(Struct, frozen=True):
    """A call of torch whose result nobody takes: what it was ``meant`` to do to the tensor that is ``written`` there.

    ``masks`` where that was to mask scores, or to fill anything where a mask says so; not weights whose scores were
    masked before.
    """

    node: ast.Call
    meant: Meant
    written: ast.expr | None
    masks: bool
    caught: bool  # a statement around it catches errors: it may be tried out
    symbol: str
    caller: ast.expr | None  # the call that led into the helper, where there is one


@compared_without("given")
class OperationSeen(Struct, frozen=True):
    """A call of an operation of attention met on some path, and what was known there.

    ``name`` is torch's own ("softmax", "masked_fill", "mul" for ``*``). ``args`` begin with the tensor that it is a
    method of; ``conditions`` are those taken on the way. ``given`` are the keys of the parameters of the function with
    which the path began: values of which only its callers, who are not known, could tell. ``truths`` tells of flags
    among the arguments what the path has decided of them.

    An operation in another module has in ``led`` the calls that led to it, the one of this module last; ``symbol`` and
    ``caller`` are those of the function which that call stands in.
    """

    name: str
    node: ast.expr
    args: tuple[Value, ...]
    keywords: tuple[tuple[str, Value], ...]
    result: Value
    conditions: Taken
    symbol: str
    caller: ast.expr | None  # the call that led into the helper, where there is one
    given: frozenset[Key] = frozenset()
    truths: frozenset[tuple[Key, bool]] = frozenset()
    led: tuple[Step, ...] = ()

    def argument(self, index: int, *names: str) -> Value | None:
        """The argument at ``index`` or under one of ``names``; None where it was not given."""
        if index < len(self.args):
            return self.args[index]
        return next((value for name, value in self.keywords if name in names), None)


Node = TypeVar("Node", bound=ast.AST)
Seen = TypeVar("Seen", bound=Any)


def led_from_here(
    table: Mapping[ast.expr, list[OperationSeen]], abroad: Collection[ast.AST]
) -> dict[tuple[ast.expr, ast.expr], list[OperationSeen]]:
    """Return what was seen in other modules, by the call of this module that led there, and by its own node."""
    found: dict[tuple[ast.expr, ast.expr], list[OperationSeen]] = {}
    for node in table.keys() & abroad:
        for seen in table[node]:
            if seen.led:
                found.setdefault((seen.led[-1].call, node), []).append(_called_from_here(seen, abroad))
    return found


def of_this_module(table: Mapping[Node, list[Seen]], abroad: Collection[ast.AST]) -> dict[Node, list[Seen]]:
    """Return what was seen at the nodes of one module; ``abroad`` are those of others, also where they are callers."""
    if not abroad:
        return dict(table)
    return {
        node: [_called_from_here(each, abroad) for each in seen] for node, seen in table.items() if node not in abroad
    }


def _called_from_here(seen: Seen, abroad: Collection[ast.AST]) -> Seen:
    caller = getattr(seen, "caller", None)
    return seen if caller is None or caller not in abroad else replace(seen, caller=None)
