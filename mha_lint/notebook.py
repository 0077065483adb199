"""A notebook as one program: the cells of an ``.ipynb`` file that hold Python, one behind the other, and back.

The JSON is read by Python's ``json``, as ``nbformat`` does it, so that whatever Jupyter opens is read. It is never
written anew: a changed line takes the place of its string, and every other byte of the file stays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from mha_lint.findings import Cells
from mha_lint.ipython import LINE, as_python

SUFFIX = ".ipynb"
_FORMAT = 4
_MARKER = "# %% next cell"
_DECODER = json.JSONDecoder()
_NEWLINE = re.compile(r"\r\n|\r|\n")
_SPACE = re.compile(r"[ \t\r\n]*")
_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\\]", re.DOTALL
)
_SURROGATE = re.compile("[\ud800-\udfff]")


class NotebookError(Exception):
    """A notebook that cannot be read, or not be written: what is wrong in one line, and the row where known."""

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message, row)
        self.message = message
        self.row = row


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell that holds Python: its ``source`` as the user sees it, and its ``code`` as Python reads it.

    ``number`` counts all cells of the notebook from 1, those of text included. The code has the rows and the columns
    of the source.
    """

    number: int
    source: str
    code: str


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook as read: its ``json``, the cells that hold Python, and the line that parts them in the program."""

    json: str
    cells: tuple[Cell, ...]
    marker: str

    @property
    def program(self) -> str:
        """The code of all cells as one module."""
        return f"{self.marker}\n".join(f"{cell.code}\n" for cell in self.cells)

    def split(self, program: str) -> list[str]:
        """The code of each cell in a program that edits have changed. Raises :class:`NotebookError`."""
        codes = [
            code.removesuffix("\n") for code in re.split(f"^{re.escape(self.marker)}\n", program, flags=re.MULTILINE)
        ]
        if len(codes) != max(len(self.cells), 1):
            raise NotebookError("the fix goes across cells; left alone")
        return codes[: len(self.cells)]

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
        document = _DECODER.decode(text)
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
    while any(marker in cell.code for cell in python):
        marker += "."
    return Notebook(text, python, marker)


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


# --- writing


@dataclass(frozen=True, slots=True)
class _Written:
    """Where the source of a cell stands in the JSON: a list of strings, or a single one."""

    start: int
    end: int
    is_list: bool
    strings: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A line, or a part of one, as a string of the JSON has it: ``text`` is what ``raw`` means, without the quotes."""

    string: int
    text: str
    raw: str


def changed(notebook: Notebook, program: str) -> list[tuple[int, str, str]]:
    """The number, the source and the new source of each cell that is another in a program. See :func:`rewritten`."""
    codes = notebook.split(program)
    return [
        (cell.number, cell.source, "".join(line for line, _ in _new_lines(cell, code)))
        for cell, code in zip(notebook.cells, codes, strict=True)
        if code != cell.code
    ]


def rewritten(notebook: Notebook, program: str) -> str:
    """The JSON with a changed program in it. Raises :class:`NotebookError` where edits touch what is not Python."""
    written = _sources(notebook.json)
    codes = notebook.split(program)
    parts: list[str] = []
    done = 0
    for cell, code in zip(notebook.cells, codes, strict=True):
        if code != cell.code:
            place = written[cell.number - 1]
            parts += [notebook.json[done : place.start], _source(notebook.json, place, cell, code)]
            done = place.end
    text = "".join([*parts, notebook.json[done:]])
    if [cell.code for cell in read(text).cells] != codes:
        raise NotebookError("the fix does not read back as it was written; left alone")
    return text


def _new_lines(cell: Cell, code: str) -> Iterator[tuple[str, int | None]]:
    """The lines of a changed cell, each with its index among the lines that the cell had, or None where it is new."""
    old, new = _lines(cell.code), _lines(code)
    source = _lines(cell.source)
    kept: set[int] = set()
    lines: list[tuple[str, int | None]] = []
    for tag, first, last, start, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            kept.update(range(first, last))
            lines += [(source[index], index) for index in range(first, last)]
        else:
            lines += [(line, None) for line in new[start:end]]
    if any(old[index] != source[index] for index in set(range(len(old))) - kept):
        raise NotebookError(f"the fix changes a line of cell {cell.number} that only IPython reads; left alone")
    yield from lines


def _lines(text: str) -> list[str]:
    return [line for line in LINE.findall(text) if line]


def _source(text: str, place: _Written, cell: Cell, code: str) -> str:
    """The source of a changed cell as JSON. What is kept stands as it was written, to the byte."""
    pieces = _pieces(text, place)
    of_line = _pieces_of_lines(pieces)
    ascii_only = text.isascii()
    # Each item is a string of the JSON: the string that it was, or None, and what it holds.
    items: list[tuple[int | None, list[str]]] = []
    for line, index in _new_lines(cell, code):
        if index is None:
            raws = [(None if place.is_list else 0, _escaped(line, ascii_only))]
        else:
            raws = [(piece.string, piece.raw) for piece in of_line[index]]
        for string, raw in raws:
            if string is not None and items and items[-1][0] == string:
                items[-1][1].append(raw)
            else:
                items.append((string, [raw]))
    if not place.is_list:
        return f'"{"".join(raw for _, raws in items for raw in raws)}"'
    return _list(text, place, items)


def _pieces(text: str, place: _Written) -> list[_Piece]:
    pieces: list[_Piece] = []
    for string, (start, end) in enumerate(place.strings):
        meaning: list[str] = []
        raw: list[str] = []
        for match in _CHARACTER.finditer(text, start + 1, end - 1):
            character = json.loads(f'"{match[0]}"') if match[0].startswith("\\") else match[0]
            if meaning and _ends_line(meaning[-1], character):
                pieces.append(_Piece(string, "".join(meaning), "".join(raw)))
                meaning, raw = [], []
            meaning.append(character)
            raw.append(match[0])
        if meaning:
            pieces.append(_Piece(string, "".join(meaning), "".join(raw)))
    return pieces


def _ends_line(character: str, following: str) -> bool:
    return character == "\n" or (character == "\r" and following != "\n")


def _pieces_of_lines(pieces: list[_Piece]) -> list[list[_Piece]]:
    """The pieces of each line: a list may break its strings anywhere."""
    lines: list[list[_Piece]] = []
    is_open = False
    for piece in pieces:
        if is_open and not (lines[-1][-1].text.endswith("\r") and piece.text[0] != "\n"):
            lines[-1].append(piece)
        else:
            lines.append([piece])
        is_open = not piece.text.endswith("\n")
    return lines


def _list(text: str, place: _Written, items: list[tuple[int | None, list[str]]]) -> str:
    """A list of strings. Between strings that were neighbours stands what stood there."""
    head = text[place.start : place.strings[0][0]]
    tail = text[place.strings[-1][1] : place.end]
    ends = zip(place.strings, place.strings[1:], strict=False)
    between = [text[left[1] : right[0]] for left, right in ends]
    usual = between[0] if between else f",{head[1:] or ' '}"
    parts: list[str] = []
    before: int | None = None
    for count, (string, raws) in enumerate(items):
        neighbours = string is not None and before is not None and string == before + 1
        if count:
            parts.append(between[before] if neighbours and before is not None else usual)
        parts.append(f'"{"".join(raws)}"')
        before = string
    return f"{head}{''.join(parts)}{tail}"


def _escaped(line: str, ascii_only: bool) -> str:
    """A line as JSON writes it, without quotes; half a surrogate pair has no other form than its escape."""
    raw = json.dumps(line, ensure_ascii=ascii_only)[1:-1]
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", raw)


# --- where sources stand in the JSON, which is known to be valid


def _sources(text: str) -> list[_Written]:
    """Where the source of each cell stands; of a cell without one, the empty place at the start of the text."""
    found: list[_Written] = []

    def read_member(key: str, at: int) -> int:
        if key != "cells":
            return _skip(text, at)
        found.clear()  # of two members of one name, the last counts
        return _each(text, at, read_cell)

    def read_cell(at: int) -> int:
        found.append(_Written(0, 0, is_list=False, strings=()))
        return _members(text, at, read_field)

    def read_field(key: str, at: int) -> int:
        if key != "source":
            return _skip(text, at)
        strings: list[tuple[int, int]] = []

        def read_string(start: int) -> int:
            end = _skip(text, start)
            strings.append((start, end))
            return end

        is_list = text[at] == "["
        end = _each(text, at, read_string) if is_list else read_string(at)
        found[-1] = _Written(at, end, is_list, tuple(strings))
        return end

    _members(text, _past_space(text, 0), read_member)
    return found


def _members(text: str, at: int, read: Callable[[str, int], int]) -> int:
    """Read the members of an object: ``read`` is given each key and where its value starts, and says where it ends."""

    def read_one(start: int) -> int:
        key, end = _DECODER.raw_decode(text, start)
        colon = _past_space(text, end)
        return read(key, _past_space(text, colon + 1))

    return _each(text, at, read_one)


def _each(text: str, at: int, read: Callable[[int], int]) -> int:
    """Read what stands between a pair of brackets, parted by commas. Returns where the bracket closes, and one more."""
    at = _past_space(text, at + 1)
    while text[at] not in "]}":
        at = _past_space(text, read(at))
        if text[at] == ",":
            at = _past_space(text, at + 1)
    return at + 1


def _skip(text: str, at: int) -> int:
    return _DECODER.raw_decode(text, at)[1]


def _past_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None  # it matches nothing, too
    return match.end()
