"""The reports: each module turns entries into the text of one output format."""

from __future__ import annotations

from dataclasses import dataclass

from mha_lint.findings import Cells, Finding, Position


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding to report, the ``text`` that its positions refer to ("" when unknown), and whether it was fixed.

    ``offered`` says that ``--fix`` tries its fix under the settings that hold for the file. In a notebook, the text is
    the program of its ``cells``.
    """

    finding: Finding
    text: str
    fixed: bool = False
    offered: bool = False
    cells: Cells | None = None

    def place(self, position: Position) -> tuple[int | None, Position]:
        """A position of the finding as a reader counts: in a notebook, the number of the cell and the place in it."""
        return (None, position) if self.cells is None else self.cells.place(position)

    def location(self) -> str:
        """Where the finding starts: ``row:column``, in a notebook ``cell N:row:column``."""
        cell, start = self.place(self.finding.location)
        within = "" if cell is None else f"cell {cell}:"
        return f"{within}{start.row}:{start.column}"


def url(finding: Finding) -> str:
    """The address of the page of the finding's rule."""
    return f"https://github.com/mha-lint/mha-lint/blob/main/docs/rules/{finding.name}.md"
