"""The rules, found through the entry-point group ``mha_lint.rules``: anyone may add one.

What is to be known of a rule stands in its class. An entry point tells the code alone, so that a run imports the rules
that it selects and no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from mha_lint.rules.base import Hit, Rule

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["Hit", "Rule", "all_rules", "codes", "rule_of"]


@cache
def _points() -> Mapping[str, EntryPoint]:
    from importlib.metadata import entry_points  # slow to import, and not needed to read what rules need

    return {point.name: point for point in entry_points(group="mha_lint.rules")}


@cache
def codes() -> tuple[str, ...]:
    """The codes of all installed rules, in order. No rule is imported for them."""
    return tuple(sorted(_points()))


@cache
def rule_of(code: str) -> type[Rule]:
    """Import the rule of a code.

    Raises:
        ImportError: the rule can't be imported.
    """
    rule: type[Rule] = _points()[code].load()
    return rule


def all_rules() -> tuple[type[Rule], ...]:
    """Import every installed rule, in the order of codes.

    Raises:
        ImportError: a rule can't be imported.
    """
    return tuple(map(rule_of, codes()))
