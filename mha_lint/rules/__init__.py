"""The rules, found through the entry-point group ``mha_lint.rules``: anyone may add one.

What is to be known of a rule stands in its class. An entry point tells the code alone, so that a run imports the rules
that it selects and no others.
"""

from __future__ import annotations

from functools import cache

from mha_lint.installed import load, package, points
from mha_lint.rules.base import Hit, Rule
from mha_lint.settings import SettingsError

__all__ = ["Hit", "Rule", "all_rules", "codes", "rule_of"]


def codes() -> tuple[str, ...]:
    """The codes of all installed rules, in order. No rule is imported for them."""
    return tuple(points("mha_lint.rules"))


@cache
def rule_of(code: str) -> type[Rule]:
    """Import the rule of a code.

    Raises:
        SettingsError: it can't be imported, or is no rule of this code.
    """
    point = points("mha_lint.rules")[code]
    rule = load(point)
    if not (isinstance(rule, type) and issubclass(rule, Rule)) or rule.code != code:
        raise SettingsError(f"{code}: {point.value} of {package(point)} is no rule whose code is {code}")
    return rule


def all_rules() -> tuple[type[Rule], ...]:
    """Import every installed rule, in the order of codes.

    Raises:
        SettingsError: one can't be imported.
    """
    return tuple(map(rule_of, codes()))
