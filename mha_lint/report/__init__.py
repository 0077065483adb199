"""The reports: each module turns entries into the text of one output format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mha_lint.findings import Cells, Finding, Position

if TYPE_CHECKING:
    from mha_lint.bench.results import Bench


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding to report, the ``text`` that its positions refer to ("" when unknown), and whether it was fixed.

    ``offered`` says that ``--fix`` tries its fix under the settings that hold for the file. In a notebook, the text is
    the program of its ``cells``. ``bench`` has what timing its fix gave; one that was timed and not fixed was withheld.
    One that is ``suppressed``, by a "baseline", is left out by formats that have no place for it.
    ``gone`` says which other fix took a fixed one with it, where its own fix was not applied.
    """

    finding: Finding
    text: str
    fixed: bool = False
    offered: bool = False
    cells: Cells | None = None
    bench: Bench | None = None
    suppressed: str = ""
    gone: str = ""

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


def url(finding: Finding) -> str:
    """The address of the page of the finding's rule."""
    return f"https://github.com/mha-lint/mha-lint/blob/main/docs/rules/{finding.name}.md"
