"""Findings as the entries of a report, with the text that they are in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mha_lint.files import Source
from mha_lint.findings import Finding
from mha_lint.report import Entry
from mha_lint.settings import Settings

if TYPE_CHECKING:
    from mha_lint.bench.results import Bench


def unfixed(
    source: Source, text: str, findings: Sequence[Finding], settings: Settings, benches: Sequence[Bench | None] = ()
) -> list[Entry]:
    """The findings of a text that the file has, or had, and the timings of fixes that were withheld."""
    entries = [
        Entry(finding, text, offered=finding.fixable(unsafe=settings.unsafe_fixes), bench=bench)
        for finding, bench in zip_longest(findings, benches)
    ]
    return in_cells(entries, source, text)


def in_cells(entries: list[Entry], source: Source, text: str) -> list[Entry]:
    """Entries of findings in a text, which in a notebook go with its cells."""
    cells = source.notebook.places(text) if source.notebook else None
    if cells is None:
        return entries

    from mha_lint.report.cells import counted_in_cells

    return [replace(entry, cells=cells, finding=counted_in_cells(entry.finding, cells)) for entry in entries]
