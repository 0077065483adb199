"""The rules, found through the entry-point group ``mha_lint.rules``: anyone may add one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from mha_lint.rules.base import Hit, Rule

__all__ = ["Hit", "Rule", "all_rules", "defaults"]

# True for each rule of this package that runs by default. The table spares importing the rules.
_OURS = {
    "MHA001": True,
    "MHA002": True,
    "MHA003": True,
    "MHA004": True,
    "MHA005": False,
    "MHA101": True,
    "MHA102": True,
    "MHA103": True,
    "MHA104": True,
    "MHA105": True,
    "MHA106": True,
    "MHA107": True,
    "MHA108": True,
    "MHA109": True,
    "MHA110": True,
    "MHA111": True,
    "MHA112": True,
    "MHA113": True,
}


@lru_cache(maxsize=1)
def all_rules() -> tuple[type[Rule], ...]:
    """Every installed rule, by code.

    Raises:
        ImportError: an installed rule can't be imported.
    """
    from importlib.metadata import entry_points  # slow to import, and not needed to read what rules need

    points = {point.name: point for point in entry_points(group="mha_lint.rules")}
    return tuple(points[code].load() for code in sorted(points))


@lru_cache(maxsize=1)
def defaults() -> Mapping[str, bool]:
    """Tell, for the code of each installed rule, whether it runs by default.

    Raises:
        ImportError: an installed rule of someone else can't be imported.
    """
    from importlib.metadata import entry_points

    points = {point.name: point for point in entry_points(group="mha_lint.rules")}
    return {code: _OURS[code] if code in _OURS else points[code].load().default for code in sorted(points)}
