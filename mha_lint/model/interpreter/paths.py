"""Paths through functions: the functions being run, and the choices taken."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from msgspec import Struct, field

from mha_lint.model.events import Step
from mha_lint.model.sizes import Size
from mha_lint.model.values import State, Value
from mha_lint.syntax.names import ModuleNames


class Frame(Struct):
    """One function being run."""

    symbol: str  # "Class.method" or "function"
    node: ast.AST
    caller: ast.expr | None = None
    returned: list[tuple[State, Value]] = field(default_factory=list)
    broken: list[list[State]] = field(default_factory=list)  # of each loop, the states in which it was left
    continued: list[list[State]] = field(default_factory=list)
    turns: list[Size | None] = field(default_factory=list)  # of the loops around the statement being run
    read_later: tuple[frozenset[str], ...] = ()  # the names that code after the statement being run may read
    read_inside: frozenset[str] = frozenset()  # the names that functions made here may read whenever they are called
    calling: State | None = None  # the state in which the call was made that is being run
    home: ModuleNames | None = None  # of a function of another module: the names of that module
    given: dict[str, Value] = field(default_factory=dict)  # of such a function: what its parameters were given

    @property
    def of_class(self) -> bool:
        """The function is a method."""
        return "." in self.symbol

    @property
    def name(self) -> str:
        return self.symbol.rpartition(".")[2]


class Stack:
    """The functions being run: the one with which the path began, then what each calls."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.caught = 0  # try statements around that catch a RuntimeError

    @property
    def top(self) -> Frame:
        return self.frames[-1]

    def runs(self, node: ast.AST) -> bool:
        """Return True where the function is being run, whether at the top or further down."""
        return any(frame.node is node for frame in self.frames)

    def led(self) -> tuple[Frame, tuple[Step, ...]]:
        """The function of the linted module that the path is in, and the calls that led from it to the one running.

        The call that stands in that function comes last. There is none where that function is the one running, or
        where no call of the linted module is among them.
        """
        top = self.frames[-1]
        if top.home is None:
            return top, ()
        steps: list[Step] = []
        for frame in reversed(self.frames):
            if frame.home is None:
                return frame, tuple(steps)
            if frame.caller is None:
                break
            steps.append(Step(frame.node, frame.caller, frame.given, frame.home))
        return top, ()

    @property
    def leading_call(self) -> ast.expr | None:
        """The call of the linted module that led into another one, in whose code the path is."""
        for outer, frame in zip(reversed(self.frames[:-1]), reversed(self.frames), strict=False):
            if outer.home is None:
                return None if frame.home is None else frame.caller
        return None

    @property
    def looping(self) -> bool:
        """A loop runs."""
        return bool(self.frames and self.frames[-1].turns)

    @property
    def turns(self) -> Size | None:
        """The number of times that the innermost loop runs, where that is known."""
        turns = self.frames[-1].turns
        return turns[-1] if len(turns) == 1 else None

    @property
    def constructing(self) -> bool:
        """A constructor runs: its arguments are settings, not tensors."""
        return bool(self.frames) and self.frames[-1].name == "__init__"

    @property
    def calls(self) -> tuple[ast.expr, ...]:
        """The calls that led to the function running, the innermost first."""
        return tuple(frame.caller for frame in reversed(self.frames) if frame.caller is not None)

    @property
    def in_method(self) -> bool:
        """The function running is itself a method: its tensors live where its object does."""
        return self.frames[-1].of_class

    @property
    def method(self) -> str:
        """The method running, or the one that called the function running."""
        owner = next((frame.symbol for frame in reversed(self.frames) if frame.of_class), None)
        return owner if owner is not None else self.frames[-1].symbol

    @property
    def call_in_method(self) -> ast.expr | None:
        """The call by which the method running came to the function running; None where it is running itself."""
        called = None
        for frame in reversed(self.frames):
            if frame.of_class:
                return called
            called = frame.caller
        return None


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
