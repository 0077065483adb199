"""Few combinations of many axes, in which each two levels of two axes meet as far as the number of rows allows."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

Row = Mapping[str, str]


def covering(axes: Mapping[str, Sequence[str]], rows: int, fits: Callable[[Row], bool]) -> list[dict[str, str]]:
    """At most ``rows`` combinations of one level of each axis. Each level occurs in one, where that suffices for them.

    ``fits`` tells whether levels go together, of some axes or all. The first level of an axis goes with any other.
    Rows are chosen greedily: the one that covers the most pairs of levels not yet covered comes first.
    """
    open_pairs = {pair for one, two in itertools.combinations(axes, 2) for pair in _pairs(axes, one, two, fits)}
    used: Counter[tuple[str, str]] = Counter()
    chosen: list[dict[str, str]] = []
    while open_pairs and len(chosen) < rows:
        row: dict[str, str] = {}
        unused = {name: sum(not used[name, level] for level in levels) for name, levels in axes.items()}
        for name in sorted(axes, key=lambda name: (unused[name], len(axes[name])), reverse=True):
            row[name] = _best(name, axes[name], row, open_pairs, used, fits)
        open_pairs -= {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}
        used.update(row.items())
        chosen.append(row)
    return chosen


def _pairs(
    axes: Mapping[str, Sequence[str]], one: str, two: str, fits: Callable[[Row], bool]
) -> list[frozenset[tuple[str, str]]]:
    both = itertools.product(axes[one], axes[two])
    return [frozenset({(one, left), (two, right)}) for left, right in both if fits({one: left, two: right})]


def _best(
    name: str,
    levels: Sequence[str],
    row: Row,
    open_pairs: set[frozenset[tuple[str, str]]],
    used: Counter[tuple[str, str]],
    fits: Callable[[Row], bool],
) -> str:
    """The level that has not been used, or else covers the most open pairs with the rest of the row."""
    possible = [level for level in levels if fits({**row, name: level})] or list(levels[:1])

    def merit(level: str) -> tuple[bool, int, int]:
        pairs = [frozenset({(name, level), other}) for other in row.items()]
        return not used[name, level], sum(pair in open_pairs for pair in pairs), -used[name, level]

    return max(possible, key=merit)
