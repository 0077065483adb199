"""Fixers: each turns a finding into candidate edits. They never write; validation decides.

A fixer is a function ``fix(hit, context) -> Fix | str``: the candidate, or why there is none. Fixers are found through
the entry-point group ``mha_lint.fixers``, under the code of the rule that they serve.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct, field

from mha_lint.findings import Fix
from mha_lint.installed import load, points

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.rules.base import Hit
    from mha_lint.settings import Settings
    from mha_lint.syntax.exact import Exact


class Context(Struct, frozen=True):
    """A context holds what a fixer may look at; ``known`` is what fixers have worked out for those that come next."""

    model: FileModel
    places: Exact
    settings: Settings
    known: dict[Hashable, Any] = field(default_factory=dict)


Fixer = Callable[["Hit[Any]", Context], "Fix | str"]


@cache
def fixer_of(code: str) -> Fixer | None:
    """Import the fixer of a rule, if it has one.

    Raises:
        SettingsError: it can't be imported.
    """
    point = points("mha_lint.fixers").get(code)
    return None if point is None else cast(Fixer, load(point))
