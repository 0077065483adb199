"""A kind of rewrite, the rewrites that it makes of a class, and what the modules that define kinds share.

``harm`` says whom a wrong kind hurts: "ordinary" is wrong from the first ordinary call, "corner" for inputs, sizes or
modes that a caller may use, and "inherent" where no trial on the devices can see it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from mha_lint.findings import Expected, Relation
from tests.bench.injection.code import Edit
from tests.bench.wrong_subjects import (
    Subject,
    own_nodes,
)

Harm = Literal["ordinary", "corner", "inherent"]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Two texts of a file and the claim about them, as a :class:`mha_lint.validation.Job` takes it."""

    before: str
    after: str
    symbols: tuple[str, ...]
    relation: Relation = "equivalent"
    flagged: tuple[int, ...] = ()
    added: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    agree: str = ""
    expected: Expected = "view"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of rewrite: ``item`` is the number of what it hides behind, ``make`` gives its rewrites of a class.

    ``needs`` is the device without which the kind can't be seen.
    """

    name: str
    item: int
    harm: Harm
    make: Callable[[Subject], Iterator[Rewrite]]
    needs: str = ""

    def harm_on(self, devices: tuple[str, ...]) -> Harm:
        return "inherent" if self.needs and self.needs not in devices else self.harm


Make = Callable[[Subject], Iterator[Rewrite]]


@dataclass(frozen=True, slots=True)
class Register:
    """The kinds that one module defines, in their order."""

    kinds: list[Kind] = field(default_factory=list)

    def add(self, name: str, item: int, harm: Harm, make: Make, needs: str = "") -> None:
        self.kinds.append(Kind(name, item, harm, make, needs))

    def kind(self, name: str, item: int = 0, harm: Harm = "ordinary") -> Callable[[Make], Make]:
        """The decorated function makes the rewrites of the kind."""

        def register(make: Make) -> Make:
            self.add(name, item, harm, make)
            return make

        return register


HAVE_PARAMETERS = re.compile(r"\b(Linear|Conv[12]d|Parameter|Embedding|Conv1D)\(")


def in_forward(subject: Subject, edits: list[Edit]) -> Rewrite:
    return rewritten(subject, edits, subject.forward_symbol)


def rewritten(subject: Subject, edits: list[Edit], *symbols: str) -> Rewrite:
    return Rewrite(subject.text, subject.edit(*edits), symbols)


def nodes_of(subject: Subject, function: ast.FunctionDef | None) -> list[ast.AST]:
    return list(own_nodes(function)) if function is not None else []


def swapped(subject: Subject, one: ast.expr | ast.stmt, other: ast.expr | ast.stmt) -> list[Edit]:
    code = subject.code
    return [code.replaced(one, code.text(other)), code.replaced(other, code.text(one))]


def is_call(node: ast.AST, *names: str) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return called in names
