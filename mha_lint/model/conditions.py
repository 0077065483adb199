"""Conditions: the tests that a path has passed, what each is about, and what it asks."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Hashable
from enum import Enum, auto
from typing import NamedTuple

from msgspec import Struct

from mha_lint.syntax.nodes import walk
from mha_lint.vocabulary import DECODES, EARLIER, PREFILLS, is_said

Path = tuple[str, ...]  # the identifiers of a dotted name: ("self", "training")

_SELF = "self"


class Relation(Enum):
    """The ways in which a test asks about its subject."""

    TRUTH = auto()  # ``if x``
    IS = auto()  # ``x is y``, and ``x is not y`` where that fails
    EQUALS = auto()  # ``x == y``, and ``x != y`` where that fails
    SEVERAL = auto()  # ``x and y``, ``x or y``
    OTHER = auto()

    __hash__ = object.__hash__  # which is that of Enum, in C


class Question(NamedTuple):
    """A relation and the literals that a subject is compared with."""

    relation: Relation
    literals: tuple[tuple[type, Hashable], ...] = ()  # 1, 1.0 and True are equal, and not the same
    signs: tuple[type[ast.cmpop], ...] = ()  # of another relation


IS_NONE = Question(Relation.IS, ((type(None), None),))
IS_TRUE = Question(Relation.TRUTH)


class Condition(Struct, frozen=True, eq=False):
    """One test of a file. Tests that read alike are the same object: conditions compare, and hash, by identity."""

    subject: Path  # the name that is asked about; empty where that is another expression
    relation: Relation
    question: Question | None  # None where it is compared with anything but literals
    names: frozenset[Path]  # every dotted name that it mentions, and what those begin with
    words: tuple[str, ...]  # every identifier and every string in it
    attributes: frozenset[str]  # the identifiers that follow a dot
    compares: bool  # it holds a comparison by size or for equality
    quotes: bool  # it holds a string
    begins_with_self: bool  # what it asks about begins with an attribute of self
    text: str  # for messages

    @property
    def is_none(self) -> bool:
        """The test asks whether something is None."""
        return self.question == IS_NONE

    def says(self, pattern: re.Pattern[str]) -> bool:
        """An identifier, or a string, holds what the pattern looks for."""
        return any(pattern.search(word) for word in self.words)


Taken = frozenset[tuple[Condition, bool]]  # conditions, and how each was decided


class Conditions:
    """The conditions of one file. Each test is read once."""

    def __init__(self, text: Callable[[ast.AST], str]) -> None:
        self._text = text
        self._by_node: dict[ast.expr, Condition] = {}
        self._by_text: dict[tuple[Relation, str, str], Condition] = {}

    def of(self, test: ast.expr) -> Condition:
        """The condition that a test asks about: that of ``x is not None`` is that ``x`` is None."""
        found = self._by_node.get(test)
        if found is None:
            same = self._sameness(test)
            found = self._by_text.get(same)
            if found is None:
                found = self._by_text[same] = _read(test, same[0], self._shown(same))
            self._by_node[test] = found
        return found

    def _sameness(self, test: ast.expr) -> tuple[Relation, str, str]:
        """The texts that are the same for tests that read alike."""
        match test:
            case ast.Compare(left=left, ops=[ast.Is() | ast.IsNot()], comparators=[other]):
                return Relation.IS, self._text(left), self._text(other)
            case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[other]):
                return Relation.EQUALS, self._text(left), self._text(other)
            case ast.Name() | ast.Attribute():
                return Relation.TRUTH, self._text(test), ""
            case ast.BoolOp():
                return Relation.SEVERAL, self._text(test), ""
            case _:
                return Relation.OTHER, self._text(test), ""

    def _shown(self, same: tuple[Relation, str, str]) -> str:
        relation, left, right = same
        sign = {Relation.IS: " is ", Relation.EQUALS: " == "}.get(relation, "")
        return f"{left}{sign}{right}"


def has_earlier(taken: Taken) -> bool:
    """Tell whether a path has found the tokens of earlier calls to be there."""
    return any(_finds_earlier(asked, holds=holds) for asked, holds in taken)


def _finds_earlier(asked: Condition, *, holds: bool) -> bool:
    if asked.is_none:
        return not holds and asked.says(EARLIER)
    if asked.question != IS_TRUE or not asked.subject:
        return False
    return is_said(DECODES if holds else PREFILLS, asked.subject[-1])


def negates(test: ast.Compare) -> bool:
    """The test holds where its condition does not: ``is not`` and ``!=``."""
    return len(test.ops) == 1 and isinstance(test.ops[0], (ast.IsNot, ast.NotEq))


def _read(test: ast.expr, relation: Relation, text: str) -> Condition:
    subject = test.left if isinstance(test, ast.Compare) else test
    names: set[Path] = set()
    words: list[str] = []
    attributes: set[str] = set()
    compares = quotes = False
    for node in walk(test):
        match node:
            case ast.Name(id=name):
                words.append(name)
                names.add((name,))
            case ast.Attribute(attr=name):
                words.append(name)
                attributes.add(name)
                names.add(path_of(node))
            case ast.keyword(arg=str(name)):
                words.append(name)
            case ast.Constant(value=str(string)):
                words.append(string)
                quotes = True
            case ast.Compare(ops=signs):
                compares = compares or any(isinstance(sign, _COMPARING) for sign in signs)
    return Condition(
        subject=path_of(subject),
        relation=relation,
        question=_question(test, relation),
        names=frozenset(names - {()}),
        words=tuple(words),
        attributes=frozenset(attributes),
        compares=compares,
        quotes=quotes,
        begins_with_self=_begins_with_self(subject),
        text=text,
    )


_COMPARING = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def path_of(node: ast.AST) -> Path:
    """The identifiers of ``a.b.c``; empty for any other expression."""
    match node:
        case ast.Name(id=name):
            return (name,)
        case ast.Attribute(value=base, attr=name):
            before = path_of(base)
            return (*before, name) if before else ()
        case _:
            return ()


def _question(test: ast.expr, relation: Relation) -> Question | None:
    if relation is Relation.TRUTH:
        return Question(relation)
    if not isinstance(test, ast.Compare):
        return None
    literals: list[tuple[type, Hashable]] = []
    for each in test.comparators:
        if not isinstance(each, ast.Constant):
            return None
        literals.append((type(each.value), each.value))
    signs = tuple(map(type, test.ops)) if relation is Relation.OTHER else ()
    return Question(relation, tuple(literals), signs)


def _begins_with_self(node: ast.expr) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id=name)):
            return name == _SELF
        case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Call(func=inner) | ast.BinOp(left=inner):
            return _begins_with_self(inner)
        case ast.Compare(left=inner):
            return _begins_with_self(inner)
        case _:
            return False
