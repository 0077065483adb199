"""The base class of rules: code, name, documentation page, examples, and the method that finds the hits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from msgspec import Struct

from mha_lint.findings import Applicability, Relation, Severity

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.places import Places, Spot

Evidence = TypeVar("Evidence")


class Hit(Struct, Generic[Evidence], frozen=True):
    """One place where a rule fires.

    ``first`` and ``last`` are what the underlined span runs from and to. ``evidence`` is what the rule knows and its
    fixer needs; a rule that has none yields ``Hit[None]``.
    """

    first: Spot
    last: Spot
    message: str
    symbol: str
    evidence: Evidence = None  # type: ignore[assignment]  # a rule that has none yields ``Hit[None]``
    severity: Severity | None = None  # of this place, where it is another than the rule's
    shown_by: tuple[str, ...] | None = None  # the ways to show this place wrong, where they are others than the rule's


class Rule(ABC):
    """All that is known of a rule stands in its class. Its docstring is its page, but for the heading."""

    code: ClassVar[str]  # the name of its entry point, too
    name: ClassVar[str]
    severity: ClassVar[Severity]
    finds: ClassVar[str] = ""  # in a few words, for tables of rules
    why: ClassVar[str]
    default: ClassVar[bool] = True
    shown_by: ClassVar[tuple[str, ...]] = ()  # the ways in which a hit that has no fix is shown to be wrong
    no_fix: ClassVar[str] = ""  # of a rule without a fixer: why there is none
    needless: ClassVar[bool] = False  # what it flags can go: an editor fades it
    applicability: ClassVar[Applicability | None] = None
    relation: ClassVar[Relation | None] = None
    valid: ClassVar[tuple[str, ...]] = ()
    invalid: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Any]]:
        """Yield the hits of one file. ``places`` is lazy: asking it for a position costs a pass over the file."""
