"""Finds the comments that silence findings."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Sequence

from mha_lint.findings import Finding

# As flake8 reads it: alone it silences all, with codes after a colon those that start so. Case does not matter.
_INLINE = re.compile(r"#\s*noqa(?:\s*:\s*(?P<codes>(?:[A-Z]+[0-9]+(?:[,\s]+)?)+))?", re.IGNORECASE)
_WHOLE_FILE = re.compile(r"#\s*(?:mha-lint|flake8)[:=]\s*noqa(?P<codes>:\s?[A-Z0-9,\s]+)?\s*$", re.IGNORECASE)

ALL = ("",)  # every code starts with the empty prefix


def suppressed(text: str, findings: Sequence[Finding]) -> tuple[list[Finding], list[Finding]]:
    """Split ``findings`` into those to keep and those that a comment in ``text`` silences.

    A comment counts on a finding's first row, its last row, and its ``noqa_row``; where a row ends within a string or
    with a backslash, on the row where that string or statement goes on to its end.
    ``# mha-lint: noqa`` or ``# flake8: noqa`` on a line of its own silences the whole file (with codes, those codes).
    """
    if not findings or "noqa" not in text.lower():
        return list(findings), []
    whole, rows = _comments(text)
    kept: list[Finding] = []
    dropped: list[Finding] = []
    for finding in findings:
        places = {finding.location.row, _last_row(finding), finding.noqa_row}
        prefixes = (*whole, *(prefix for row in places for prefix in rows.get(row, ())))
        (dropped if finding.code.startswith(prefixes) else kept).append(finding)
    return kept, dropped


def _last_row(finding: Finding) -> int:
    """A span that ends before the first column of a row ends on the row before."""
    end = finding.end_location
    return end.row - 1 if end.column == 1 and end.row > finding.location.row else end.row


def _comments(text: str) -> tuple[tuple[str, ...], dict[int, tuple[str, ...]]]:
    """The code prefixes silenced in the whole file, and by row.

    As in flake8, rows that a string or a backslash joins are one, since the last alone has room for a comment.
    """
    whole: list[str] = []
    rows: dict[int, tuple[str, ...]] = {}
    first, inline = None, list[str]()
    for token in _tokens(text):
        if token.type in (tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            continue
        first = first or token.start[0]
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            match = _WHOLE_FILE.match(token.string)
            if match and alone:
                whole += _prefixes(match["codes"])
            elif match := _INLINE.search(token.string):
                inline += _prefixes(match["codes"])
        elif token.type in (tokenize.NEWLINE, tokenize.NL):
            rows.update(dict.fromkeys(range(first, token.end[0] + 1), tuple(inline)))
            first, inline = None, []
    if first is not None:  # the text breaks off
        rows.update(dict.fromkeys(range(first, text.count("\n") + 2), tuple(inline)))
    return tuple(whole), rows


def _tokens(text: str) -> Iterable[tokenize.TokenInfo]:
    try:
        yield from tokenize.generate_tokens(io.StringIO(text, newline=None).readline)
    except (tokenize.TokenError, SyntaxError):  # the comments so far still count
        return


def _prefixes(codes: str | None) -> tuple[str, ...]:
    found = tuple(code.upper() for code in re.split(r"[:,\s]+", codes or "") if code)
    return found or ALL
