"""The rules, found through the entry-point group ``mha_lint.rules``: anyone may add one."""

from __future__ import annotations

from functools import lru_cache

from mha_lint.rules.base import Hit, Rule

__all__ = ["Hit", "Rule", "all_rules"]


@lru_cache(maxsize=1)
def all_rules() -> tuple[type[Rule], ...]:
    """Every installed rule, by code.

    Raises:
        ImportError: an installed rule can't be imported.
    """
    from importlib.metadata import entry_points  # slow to import, and not needed to read what rules need

    points = {point.name: point for point in entry_points(group="mha_lint.rules")}
    return tuple(points[code].load() for code in sorted(points))
