"""Paths through functions: the function being run, the choices taken, and what was seen on the way."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mha_lint.model.layout import Answer, Shape
from mha_lint.model.sizes import Size
from mha_lint.model.values import Normalised, State, Tensor, Value


@dataclass(frozen=True, slots=True)
class ViewSeen:
    """A ``.view`` met on some path: ``answer`` says whether it can succeed there."""

    node: ast.expr
    answer: Answer
    tensor: Tensor
    target: Shape
    function: ast.AST
    symbol: str
    caller: ast.expr | None  # the call that led into the helper, where there is one
    copies: bool = False  # it is a ``.reshape``, which copies where a view can't succeed


@dataclass(frozen=True, slots=True)
class ContiguousSeen:
    """A ``.contiguous()`` met on some path: ``needless`` where its tensor is proved to be contiguous."""

    node: ast.expr
    needless: bool
    symbol: str
    caller: ast.expr | None


@dataclass(frozen=True)
class ValueSeen:
    """A tensor given to a name on some path; ``names`` are the local names of the sizes known there."""

    name: str
    value: Value
    symbol: str
    names: Mapping[Size, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class UnbindSeen:
    node: ast.expr
    tensor: Tensor
    dim: int
    inference: bool
    symbol: str


@dataclass(frozen=True, slots=True)
class WeightingSeen:
    """Values weighted by what a softmax made: the sum runs along ``contracted``, a dimension from the end."""

    normalised: Normalised
    contracted: int
    symbol: str


@dataclass(frozen=True, slots=True)
class OperationSeen:
    """A call of an operation of attention met on some path, and what was known there.

    ``name`` is torch's own ("softmax", "masked_fill", "mul" for ``*``). ``args`` begin with the tensor that it is a
    method of; ``conditions`` are those taken on the way. ``given`` are the keys of the parameters of the function with
    which the path began: values of which only its callers, who are not known, could tell.
    """

    name: str
    node: ast.expr
    args: tuple[Value, ...]
    keywords: tuple[tuple[str, Value], ...]
    result: Value
    conditions: frozenset[tuple[str, bool]]
    symbol: str
    caller: ast.expr | None  # the call that led into the helper, where there is one
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def argument(self, index: int, *names: str) -> Value | None:
        """The argument at ``index`` or under one of ``names``; None where it was not given."""
        if index < len(self.args):
            return self.args[index]
        return next((value for name, value in self.keywords if name in names), None)


@dataclass(slots=True)
class Frame:
    """One function being run."""

    symbol: str
    node: ast.AST
    caller: ast.expr | None = None
    returned: list[tuple[State, Value]] = field(default_factory=list)
    broken: list[list[State]] = field(default_factory=list)  # of each loop, the states in which it was left
    continued: list[list[State]] = field(default_factory=list)
    turns: list[Size | None] = field(default_factory=list)  # of the loops around the statement being run
    read_later: tuple[frozenset[str], ...] = ()  # the names that code after the statement being run may read
    read_inside: frozenset[str] = frozenset()  # the names that functions made here may read whenever they are called
    calling: State | None = None  # the state in which the call was made that is being run


class Trail:
    """The choices made while one statement is run, so that it can be run again with the others."""

    def __init__(self, prefix: tuple[int, ...] = ()) -> None:
        self.prefix, self.taken, self.counts = prefix, [], []  # type: tuple[int, ...], list[int], list[int]

    def choose(self, count: int) -> int:
        """The choice among ``count``; the last of them, where there were more before the steps ran out."""
        index = len(self.taken)
        choice = min(self.prefix[index], count - 1) if index < len(self.prefix) else 0
        self.taken.append(choice)
        self.counts.append(count)
        return choice

    def others(self) -> Iterator[tuple[int, ...]]:
        for index in range(len(self.prefix), len(self.taken)):
            for choice in range(self.taken[index] + 1, self.counts[index]):
                yield (*self.taken[:index], choice)
