"""A notebook as one program: the cells of an ``.ipynb`` file that hold Python, one behind the other, and back.

The JSON is read by Python's ``json``, as ``nbformat`` does it, so that whatever Jupyter opens is read. It is never
written anew: :mod:`mha_lint.notebook_writing` puts changed lines into it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.findings import Cells, Position
from mha_lint.ipython import as_python, hidden
from mha_lint.parsing import parse
from mha_lint.screen import admits

_FORMAT = 4
_MARKER = "# %% next cell"
DECODER = json.JSONDecoder()
_NEWLINE = re.compile(r"\r\n|\r|\n")


class NotebookError(Exception):
    """A notebook that cannot be read, or not be written: what is wrong in one line, and the row where known."""

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message, row)
        self.message = message
        self.row = row


class Refusal(Struct, frozen=True):
    """Python's words about a cell that it can't read, and the place in the cell."""

    message: str
    place: Position


class Cell(Struct, frozen=True):
    """One cell that holds Python: its ``source`` as the user sees it, and its ``code`` as Python reads it.

    ``number`` counts all cells of the notebook from 1, those of text included. The code has the rows and the columns
    of the source. Of a cell that Python can't read the code is comments alone, and ``refusal`` says why.
    """

    number: int
    source: str
    code: str
    refusal: Refusal | None = None


class Notebook(Struct, frozen=True):
    """A notebook as read: its ``json``, the cells that hold Python, and the line that parts them in the program."""

    json: str
    cells: tuple[Cell, ...]
    marker: str

    @property
    def program(self) -> str:
        """The code of all cells as one module."""
        return _joined(self.cells, self.marker)

    def split(self, program: str) -> list[str]:
        """The code of each cell in a program that edits have changed. Raises :class:`NotebookError`."""
        codes = [
            code.removesuffix("\n") for code in re.split(f"^{re.escape(self.marker)}\n", program, flags=re.MULTILINE)
        ]
        if len(codes) != max(len(self.cells), 1):
            raise NotebookError("the fix goes across cells; left alone")
        return codes[: len(self.cells)]

    def refusals(self, program: str) -> Iterator[Refusal]:
        """Python's words about cells that it can't read, with their places in a program."""
        places = self.places(program)
        for cell, row in zip(self.cells, places.rows if places else (), strict=True):
            if cell.refusal is not None:
                place = cell.refusal.place
                yield Refusal(cell.refusal.message, Position(row + place.row, place.column))

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """The number of each cell, with its first and its last row in the program."""
        places = self.places(self.program)
        above = places.rows if places else ()
        for cell, row in zip(self.cells, above, strict=True):
            yield cell.number, row + 1, row + len(_NEWLINE.split(cell.code))

    def places(self, program: str) -> Cells | None:
        """Where the cells stand in a program that edits may have changed; None where there are none."""
        if not self.cells:
            return None
        rows = [0]
        for code in self.split(program)[:-1]:
            rows.append(rows[-1] + 1 + len(_NEWLINE.findall(f"{code}\n")))
        return Cells(tuple(rows), tuple(cell.number for cell in self.cells))


# --- reading


def read(text: str) -> Notebook:
    """The notebook in a JSON text; one in another language than Python has no cells. Raises :class:`NotebookError`."""
    try:
        document = DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotebookError(f"is no notebook: it is not JSON ({error.msg})", error.lineno) from error
    except RecursionError:
        raise NotebookError("is nested too deeply to be read") from None
    cells = document.get("cells") if isinstance(document, dict) else None
    version = document.get("nbformat") if isinstance(document, dict) else None
    if isinstance(version, int) and version < _FORMAT:
        convert = "jupyter nbconvert --to notebook --inplace"
        raise NotebookError(f"is a notebook of the old format {version}; `{convert}` makes it one of format {_FORMAT}")
    if not isinstance(cells, list):
        raise NotebookError("is no notebook: it has no list of cells")
    python = tuple(_python_cells(cells)) if _is_python(document.get("metadata")) else ()
    marker = _MARKER
    while any(marker in cell.code or marker in hidden(cell.source) for cell in python):
        marker += "."
    program = _joined(python, marker)
    if admits(program.encode("utf-8", "surrogatepass")) and not _is_read(program):
        python = tuple(map(_without_what_is_not_read, python))
    return Notebook(text, python, marker)


def _joined(cells: tuple[Cell, ...], marker: str) -> str:
    return f"{marker}\n".join(f"{cell.code}\n" for cell in cells)


def _is_read(code: str) -> bool:
    try:
        parse(code)
    except (SyntaxError, ValueError):
        return False
    except (RecursionError, MemoryError):
        pass  # whoever lints it says so
    return True


def _without_what_is_not_read(cell: Cell) -> Cell:
    """The cell itself, or comments where Python can't read it: a cell costs no other one its findings.

    IPython takes the indentation of the first row off the whole cell, so that such a cell is no mistake.
    """
    try:
        parse(cell.code)
    except (SyntaxError, ValueError) as error:
        row, column, message = 1, 1, str(error)
        if isinstance(error, SyntaxError):
            row, column, message = error.lineno or 1, error.offset or 1, error.msg
        row = min(row, len(_NEWLINE.split(cell.code)))
        refusal = Refusal(message, Position(row, max(column, 1)))
        return replace(cell, code=hidden(cell.source), refusal=None if _is_read(dedent(cell.code)) else refusal)
    except (RecursionError, MemoryError):
        pass
    return cell


def _is_python(metadata: object) -> bool:
    """The language of a notebook is Python, or is not told."""
    told = [_at(metadata, "language_info", "name"), _at(metadata, "kernelspec", "language")]
    language = next((each for each in told if isinstance(each, str) and each), "python")
    return language.lower().rstrip("0123456789.") in ("python", "ipython")


def _at(value: object, *keys: str) -> object:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _python_cells(cells: list[Any]) -> Iterator[Cell]:
    for number, cell in enumerate(cells, start=1):
        kind = _at(cell, "cell_type")
        if not isinstance(kind, str):
            raise NotebookError(f"is no notebook: its cell {number} has no cell_type")
        if kind != "code":
            continue
        written = cell.get("source")
        lines = [written] if isinstance(written, str) else written
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise NotebookError(f"is no notebook: the source of its cell {number} is neither text nor a list of lines")
        source = "".join(lines)
        language = _at(cell, "metadata", "vscode", "languageId")  # a cell may have a language of its own there
        code = as_python(source) if language in (None, "python") else None
        if code is not None:
            yield Cell(number, source, code)
