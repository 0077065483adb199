"""Keys: what names a value of which nothing else is known.

As a size it is a symbol; as a tensor it names the sizes of its dimensions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from enum import Enum, auto
from functools import lru_cache
from threading import Lock
from typing import ParamSpec, final
from weakref import WeakValueDictionary

from msgspec import Struct

Given = ParamSpec("Given")


class Kind(Enum):
    """The kinds of values that keys name."""

    NAME = auto()  # a parameter, or a name of the module
    ATTRIBUTE = auto()  # of what its owner names
    ITEM = auto()  # of what its owner names
    DIMENSION = auto()  # the size of one, of the tensor that its owner names
    RESULT = auto()  # of the expression, or the statement, of that number
    CUT = auto()  # the size of a slice that depends
    LEFT_OVER = auto()  # a size that was written as -1, or not at all, and could not be solved
    QUOTIENT = auto()  # of sizes that do not divide exactly


@final
class Key(Struct, frozen=True, eq=False, weakref=True):
    """One key. Equal keys are one object, so that they compare, and hash, by identity; texts give their order."""

    kind: Kind
    text: str  # for messages
    owner: Key | None  # what it is an attribute, an item, a dimension or a part of
    names: tuple[str, ...]  # the identifiers, and the strings in brackets, that tell it
    number: int | None  # of the dimension, or of the node
    divisor: Key | None  # of a quotient by one symbol
    order: tuple[str, int]
    of_result: bool  # it is the result of an expression, or something of one
    of_self: bool  # it is an attribute of self, or something of one
    computed: bool  # results are among what it is made of: the code has no name for it
    left_over: bool  # sizes that were left over are among what it is made of; so for the next two
    of_dimension: bool
    of_quotient: bool

    def __str__(self) -> str:
        return self.text

    @property
    def last_name(self) -> str:
        """The name that it was given last; "" where it has none, as the result of an expression."""
        return self.names[-1] if self.names else ""

    def __lt__(self, other: Key) -> bool:
        return self.order < other.order

    def belongs_to(self, keys: Iterable[Key]) -> bool:
        """It is one of the keys, or something of what one of them names."""
        wanted = frozenset(keys)
        key: Key | None = self
        while key is not None:
            if key in wanted:
                return True
            key = key.owner
        return False

    def says(self, pattern: re.Pattern[str]) -> bool:
        """One of its names holds what the pattern looks for."""
        return any(pattern.search(name) for name in self.names)


_KEYS: WeakValueDictionary[Hashable, Key] = WeakValueDictionary()  # of the files that somebody still holds
_LOCK = Lock()  # files are fixed in several threads


def _key(
    kind: Kind,
    text: str,
    owner: Key | None = None,
    *,
    name: str | None = None,
    number: int | None = None,
    divisor: Key | None = None,
    parts: frozenset[Key] = frozenset(),
) -> Key:
    """The only key that is like this."""
    same = kind.value, text, owner, divisor, parts
    with _LOCK:
        found = _KEYS.get(same)
        if found is None:
            whole = parts if owner is None else parts | {owner}
            found = _KEYS[same] = Key(
                kind,
                text,
                owner,
                names=(*(() if owner is None else owner.names), *(() if name is None else (name,))),
                number=number,
                divisor=divisor,
                order=(text, kind.value),
                computed=kind is Kind.RESULT or any(each.computed for each in whole),
                left_over=kind is Kind.LEFT_OVER or any(each.left_over for each in whole),
                of_dimension=kind is Kind.DIMENSION or any(each.of_dimension for each in whole),
                of_quotient=kind is Kind.QUOTIENT or any(each.of_quotient for each in whole),
                of_result=kind is Kind.RESULT or (owner is not None and owner.of_result),
                of_self=owner is not None and (owner.of_self or owner is SELF),
            )
        return found


def _kept(most: int) -> Callable[[Callable[Given, Key]], Callable[Given, Key]]:
    """``lru_cache`` that keeps the types of arguments."""

    def keeping(make: Callable[Given, Key]) -> Callable[Given, Key]:
        kept: Callable[..., Key] = lru_cache(maxsize=most)(make)
        return kept

    return keeping


@_kept(4096)
def named(name: str) -> Key:
    """A parameter, or a name of the module."""
    return _key(Kind.NAME, name, name=name)


SELF = named("self")


def parameter(function: str, name: str) -> Key:
    """A parameter of a method, where the object keeps something under the same name."""
    return _key(Kind.NAME, f"{function}.{name}", name=name)


@_kept(4096)
def attribute(owner: Key, name: str) -> Key:
    return _key(Kind.ATTRIBUTE, f"{owner}.{name}", owner, name=name)


def of_self(name: str) -> Key:
    """An attribute of self."""
    return attribute(SELF, name)


@_kept(4096)
def entry(owner: Key, name: str) -> Key:
    """The value under a string in brackets."""
    return _key(Kind.ITEM, f"{owner}[{name!r}]", owner, name=name)


@_kept(4096)
def item(owner: Key, index: str, parts: frozenset[Key] = frozenset()) -> Key:
    """The value at an index; ``parts`` are the keys that the index is made of."""
    return _key(Kind.ITEM, f"{owner}[{index}]", owner, parts=parts)


@_kept(16384)
def dimension(owner: Key, dim: int) -> Key:
    return _key(Kind.DIMENSION, f"{owner}.shape[{dim}]", owner, number=dim)


@_kept(4096)
def result(number: int) -> Key:
    """The result of the node of that number."""
    return _key(Kind.RESULT, f"<{number}>", number=number)


@_kept(4096)
def part(owner: Key, index: int) -> Key:
    """One of the values that a result is unpacked to."""
    return _key(Kind.ITEM, f"{owner}.{index}", owner)


@_kept(4096)
def bound(owner: Key, *names: str) -> Key:
    """The value that a node binds a name, or an attribute, to."""
    return _key(Kind.ITEM, f"{owner}{'.'.join(names)}", owner, name=names[-1])


def cut(node: Key) -> Key:
    """The size of a slice, of which only the expression is known."""
    return _key(Kind.CUT, f"cut{node}", parts=frozenset({node}))


@_kept(4096)
def left_over(label: str, number: int) -> Key:
    return _key(Kind.LEFT_OVER, f"{label}@{number}", name=label, number=number)


def quotient(text: str, parts: frozenset[Key], divisor: Key | None) -> Key:
    return _key(Kind.QUOTIENT, text, divisor=divisor, parts=parts)
