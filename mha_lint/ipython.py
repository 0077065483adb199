"""Hides from Python what IPython alone understands in a cell: magics, shell lines, questions for help.

Every character keeps its row and its column. A hidden line becomes a comment, in an indented block one behind ``0``,
which is a statement and does nothing. What is assigned from a magic or from the shell becomes the name ``_``, of which
nothing is known.
"""

from __future__ import annotations

import keyword
import re

from mha_lint.parsing import parse

# Cell magics whose cells are Python all the same; ``%%bash``, ``%%html`` and all that are unknown are not.
_PYTHON_CELLS = frozenset(
    "capture debug ipytest memit mprun prun pypy python python3 scalene snakeviz time timeit".split()
)
_CELL_MAGIC = re.compile(r"[ \t]*%%(?P<name>\w+)")

# No statement of Python begins with one of these, and no code ends with a question mark.
_ESCAPED = re.compile(r"[ \t]*[!%?,;/]")
_HELP = re.compile(r"""[^"'#\r\n]*\?[ \t]*$""")
_ASSIGNED = re.compile(r"[ \t]*[\w.,*\[\] \t]+?(?<![=!<>])=[ \t]*(?=!|%[A-Za-z_])")

# IPython takes a line that begins with one of these for a magic, where it is no Python ("pip install torch").
_AUTOMATIC = frozenset(
    "alias autoreload bookmark cat cd clear conda config cp env history less load_ext ls mamba man matplotlib mkdir "
    "more mv pip reload_ext rm rmdir run store time timeit uv who whos".split()
)
_WORDS = re.compile(r"(?P<magic>\w+)[ \t]+(?P<next>[\w./~\"'-]+)")

_NEVER_READ = re.compile("[\0\ud800-\udfff]")  # not even in a comment
LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_TOKEN = re.compile(
    r"""
      (?P<comment> \#[^\r\n]* )
    | (?P<string> \"{3} (?:[^\\]|\\.)*? (?:\"{3}|\Z) | '{3} (?:[^\\]|\\.)*? (?:'{3}|\Z)
                | \" (?:[^"\\\r\n]|\\.)* \"? | ' (?:[^'\\\r\n]|\\.)* '? )
    | (?P<opening> [(\[{] )
    | (?P<closing> [)\]}] )
    | (?P<joined> \\ (?:\r\n|\r|\n) )
    | (?P<newline> \r\n|\r|\n )
    | (?P<rest> [^\#"'()\[\]{}\\\r\n]+ | \\ )
    """,
    re.VERBOSE | re.DOTALL,
)


def as_python(source: str) -> str | None:
    """The Python of a cell, as long as the cell and with its rows; None for a cell that is in no Python at all."""
    parts: list[str] = []
    at = 0
    first = True
    while at < len(source):
        line = _line(source, at)
        magic = _CELL_MAGIC.match(line) if first else None
        if magic and magic["name"] not in _PYTHON_CELLS:
            return None
        first = first and not line.strip()
        if magic or _is_ipython(line):
            end = _end_of_joined(source, at)
            parts.append(_hidden(source[at:end]))
        elif found := _ASSIGNED.match(line):
            end = _end_of_joined(source, at)
            value = at + found.end()
            parts += [source[at:value], _hidden(source[value:end], filler="_")]
        else:
            end = _end_of_statement(source, at)
            parts.append(source[at:end])
        at = end
    return "".join(parts)


def hidden(source: str) -> str:
    """A whole cell as comments, row by row."""
    return "".join(_as_comment(row, "") for row in LINE.findall(source))


def _line(source: str, at: int) -> str:
    match = LINE.match(source, at)
    assert match is not None  # it matches anywhere
    return match[0]


def _is_ipython(line: str) -> bool:
    return bool(_ESCAPED.match(line) or _HELP.match(line.rstrip("\r\n"))) or _is_automatic(line)


def _is_automatic(line: str) -> bool:
    words = _WORDS.match(line)
    if words is None or words["magic"] not in _AUTOMATIC or keyword.iskeyword(words["next"]):
        return False
    try:
        parse(line)
    except (SyntaxError, ValueError):
        return True
    return False


def _end_of_joined(source: str, at: int) -> int:
    """Where a line ends with those that backslashes join to it."""
    while True:
        line = _line(source, at)
        at += len(line)
        if not line.rstrip("\r\n").endswith("\\") or at == len(source):
            return at


def _end_of_statement(source: str, at: int) -> int:
    """Where the rows end that brackets, strings and backslashes make one."""
    depth = 0
    while at < len(source):
        token = _TOKEN.match(source, at)
        assert token is not None  # each character begins one of them
        at = token.end()
        kind = token.lastgroup
        if kind == "opening":
            depth += 1
        elif kind == "closing":
            depth -= 1
        elif kind == "newline" and depth <= 0:
            break
    return at


def _hidden(text: str, filler: str = "0") -> str:
    """Rows of IPython as a comment. The first one begins with the filler, unless it begins where no block does."""
    return "".join(_as_comment(row, filler if at == 0 else "") for at, row in enumerate(LINE.findall(text)))


def _as_comment(row: str, filler: str) -> str:
    row = _NEVER_READ.sub(" ", row)
    code = row.lstrip(" \t").rstrip("\r\n")
    indent = row[: len(row) - len(row.lstrip(" \t"))]
    newline = row[len(indent) + len(code) :]
    if not indent and filler == "0":
        filler = ""
    comment = f"{filler}#{code[len(filler) + 1 :]}" if len(code) > len(filler) else filler
    return f"{indent}{comment if code else ''}{newline}"
