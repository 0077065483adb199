"""The reports: each module turns entries into the text of one output format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from mha_lint.findings import Applicability, Cells, Failure, Finding, Fix, Position, Relation, Severity

if TYPE_CHECKING:
    from mha_lint.bench.results import Bench


class Entry(Struct, frozen=True):
    """One finding to report, the ``text`` that its positions refer to ("" when unknown), and whether it was fixed.

    ``offered`` says that ``--fix`` tries its fix under the settings that hold for the file. In a notebook, the text is
    the program of its ``cells``. ``bench`` has what timing its fix gave; one that was timed and not fixed was withheld.
    ``gone`` says which other fix took a fixed one with it, where its own fix was not applied.
    ``suppressed`` says by what the finding is silenced, as "baseline"; "" where it is not.
    """

    finding: Finding
    text: str
    fixed: bool = False
    offered: bool = False
    cells: Cells | None = None
    bench: Bench | None = None
    gone: str = ""
    suppressed: str = ""

    @property
    def remains(self) -> bool:
        """Tell whether the finding is still to be dealt with."""
        return not self.fixed and not self.suppressed

    @property
    def proposed(self) -> Fix | None:
        """The fix that a reader may take over: one that was validated, or that ``--fix`` would try."""
        verdict = self.finding.verdict
        validated = verdict is not None and verdict.verdict == "validated"
        return self.finding.fix if validated or (self.offered and not self.finding.refuted) else None

    @property
    def withheld(self) -> str:
        """Why its validated fix was withheld; "" where it was not."""
        return "" if self.fixed or self.bench is None else self.bench.obstacle

    def place(self, position: Position) -> tuple[int | None, Position]:
        """A position of the finding as a reader counts: in a notebook, the number of the cell and the place in it."""
        return (None, position) if self.cells is None else self.cells.place(position)

    def location(self) -> str:
        """Where the finding starts: ``row:column``, in a notebook ``cell N:row:column``."""
        cell, start = self.place(self.finding.location)
        within = "" if cell is None else f"cell {cell}:"
        return f"{within}{start.row}:{start.column}"


class RulePage(Struct, frozen=True):
    """The words of one rule: ``summary`` and ``why`` are short, ``page`` is its whole page in Markdown."""

    code: str
    name: str
    severity: Severity
    summary: str
    why: str
    page: str
    applicability: Applicability | None = None
    relation: Relation | None = None


class Report(Struct, frozen=True):
    """All that a run has to tell.

    ``files`` counts the files that were looked at. ``rules`` are the pages of the rules with findings, for a format
    that asks for them. ``version`` is that of mha-lint.
    """

    entries: Sequence[Entry]
    failures: Sequence[Failure] = ()
    files: int = 0
    rules: Sequence[RulePage] = ()
    version: str = ""

    @property
    def remaining(self) -> list[Entry]:
        """The findings that are still to be dealt with."""
        return [entry for entry in self.entries if entry.remains]


def shown_path(filename: str, folder: str | None = None) -> str:
    """``filename`` relative to a folder (the working directory) that it lies below, else whole; ``-`` is stdin."""
    absolute = os.path.abspath(filename)
    below = os.path.join(folder or os.getcwd(), "")
    return filename if filename == "-" else absolute.removeprefix(below)


def portable_path(filename: str, folder: str | None = None) -> str:
    """:func:`shown_path` with slashes, as text that any program can read: bytes that are not UTF-8 become U+FFFD."""
    path = Path(shown_path(filename, folder)).as_posix()
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def url(finding: Finding) -> str:
    """The address of the page of the finding's rule."""
    return f"https://github.com/mha-lint/mha-lint/blob/main/docs/rules/{finding.name}.md"
