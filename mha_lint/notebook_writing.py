"""Puts a changed program back into its notebook: what is not changed stays as it is written, to the byte.

A changed line takes the place of its string in the JSON, and where a cell is one string, its place in that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from difflib import SequenceMatcher

from msgspec import Struct

from mha_lint.ipython import LINE
from mha_lint.notebook import DECODER, Cell, Notebook, NotebookError, read

_SPACE = re.compile(r"[ \t\r\n]*")
_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\\]", re.DOTALL
)
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Written(Struct, frozen=True):
    """Where the source of a cell stands in the JSON: a list of strings, or a single one."""

    start: int
    end: int
    is_list: bool
    strings: tuple[tuple[int, int], ...]


class _Piece(Struct, frozen=True):
    """A line, or a part of one, in a string of the JSON: ``text``, and how each of its characters is written there."""

    string: int
    text: str
    raw: tuple[str, ...]


def changed(notebook: Notebook, program: str) -> list[tuple[int, str, str]]:
    """The number, the source and the new source of each cell that is another in a program. See :func:`rewritten`."""
    codes = notebook.split(program)
    return [
        (cell.number, cell.source, "".join(line.text for line in _new_lines(cell, code)))
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
    if [each.code for each in read(text).cells] != codes:
        raise NotebookError("the fix does not read back as it was written; left alone")
    return text


class _Line(Struct, frozen=True):
    """A line of a changed cell: ``kept`` is the index of the old line that it is, ``replaces`` of another one."""

    text: str
    kept: int | None = None
    replaces: int | None = None


def _new_lines(cell: Cell, code: str) -> list[_Line]:
    """The lines of a changed cell. Raises :class:`NotebookError` where one that Python does not read is not kept."""
    old, new = _lines(cell.code), _lines(code)
    source = _lines(cell.source)
    kept: set[int] = set()
    lines: list[_Line] = []
    for tag, first, last, start, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            kept.update(range(first, last))
            lines += [_Line(source[index], kept=index) for index in range(first, last)]
            continue
        for index, line in enumerate(new[start:end], start=first):
            lines.append(_Line(line, replaces=index if index < last else None))
    if any(old[index] != source[index] for index in set(range(len(old))) - kept):
        raise NotebookError(f"the fix changes a line of cell {cell.number} that only IPython reads; left alone")
    return lines


def _lines(text: str) -> list[str]:
    return [line for line in LINE.findall(text) if line]


def _source(text: str, place: _Written, cell: Cell, code: str) -> str:
    """The source of a changed cell as JSON. What is kept stands as it was written, to the byte."""
    pieces = _pieces(text, place)
    of_line = _pieces_of_lines(pieces)
    ascii_only = text.isascii()
    # Each item is a string of the JSON: the string that it was, or None, and what it holds.
    items: list[tuple[int | None, list[str]]] = []
    for line in _new_lines(cell, code):
        raws: list[tuple[int | None, str]]
        if line.kept is not None:
            raws = [(piece.string, "".join(piece.raw)) for piece in of_line[line.kept]]
        else:
            old = of_line[line.replaces] if line.replaces is not None else []
            raws = [(None if place.is_list else 0, _written_like(line.text, old, ascii_only))]
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
                pieces.append(_Piece(string, "".join(meaning), tuple(raw)))
                meaning, raw = [], []
            meaning.append(character)
            raw.append(match[0])
        if meaning:
            pieces.append(_Piece(string, "".join(meaning), tuple(raw)))
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
    if not items:
        return "[]"
    head = text[place.start : place.strings[0][0]] if place.strings else "["
    tail = text[place.strings[-1][1] : place.end] if place.strings else "]"
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


def _written_like(line: str, old: list[_Piece], ascii_only: bool) -> str:
    """A changed line as JSON writes it. What it begins and ends with as before is written as before."""
    before = "".join(piece.text for piece in old)
    raw = [each for piece in old for each in piece.raw]
    first = _in_common(before, line)
    last = _in_common(before[first:][::-1], line[first:][::-1])
    middle = line[first : len(line) - last]
    return "".join([*raw[:first], _escaped(middle, ascii_only), *raw[len(raw) - last :]])


def _in_common(one: str, other: str) -> int:
    """Count the characters that two texts begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


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
        key, end = DECODER.raw_decode(text, start)
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
    return DECODER.raw_decode(text, at)[1]


def _past_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None  # it matches nothing, too
    return match.end()
