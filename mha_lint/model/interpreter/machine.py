"""The interpreter as its own parts see it: more than operations may ask and tell."""

from __future__ import annotations

import ast
from collections.abc import Hashable, Mapping
from typing import Protocol

from msgspec import Struct

from mha_lint.model.axes import Told
from mha_lint.model.interpreter.choices import Choices
from mha_lint.model.interpreter.homes import Homes
from mha_lint.model.interpreter.mentions import Mentions
from mha_lint.model.interpreter.meter import Meter
from mha_lint.model.interpreter.observer import Observer
from mha_lint.model.interpreter.paths import Stack
from mha_lint.model.run import Run
from mha_lint.model.sizes import Size
from mha_lint.model.values import State, Value
from mha_lint.syntax import nodes

Outcomes = list[tuple[State, Value]]  # the state and the value of each way that a function returns


class Remembered(Struct, frozen=True):
    """A call that was made: the state before, the origins of its tensors, the outcomes, and what it told of sizes."""

    before: State
    origins: list[ast.AST | None]
    outcomes: Outcomes
    evidence: tuple[tuple[Size, Told], ...]


class Machine(Run, Protocol):
    """The interpreter, as its own parts see it."""

    defined_in: Mapping[nodes.Function, str]  # function → "Class.method"
    visited: set[ast.AST]  # functions that were run
    called: dict[Hashable, list[Remembered]]

    @property
    def homes(self) -> Homes: ...

    @property
    def stack(self) -> Stack: ...

    @property
    def meter(self) -> Meter: ...

    @property
    def mentions(self) -> Mentions: ...

    @property
    def choices(self) -> Choices: ...

    @property
    def seen(self) -> Observer: ...
