"""Words about lines of a notebook's program, as a reader of its cells counts them."""

from __future__ import annotations

import re
from itertools import groupby

from msgspec.structs import replace

from mha_lint.findings import Cells, Finding, Position

_LINES = re.compile(r"\b(?P<word>lines?) (?P<rows>\d+(?:, \d+)*)\b")


def counted_in_cells(finding: Finding, cells: Cells) -> Finding:
    """The finding with ``line 3 of cell 5`` for ``line 40`` in its message and its reasons."""

    def told(words: str) -> str:
        return _LINES.sub(lambda match: f"{match['word']} {_rows(match['rows'], cells)}", words)

    verdict = finding.verdict and replace(finding.verdict, reason=told(finding.verdict.reason))
    return replace(finding, message=told(finding.message), no_fix_reason=told(finding.no_fix_reason), verdict=verdict)


def _rows(listed: str, cells: Cells) -> str:
    places = [cells.place(Position(int(row), 1)) for row in listed.split(", ")]
    parts = []
    for number, group in groupby(places, key=lambda place: place[0]):
        rows = ", ".join(str(place.row) for _, place in group)
        parts.append(f"{rows} of cell {number}")
    return ", ".join(parts)
