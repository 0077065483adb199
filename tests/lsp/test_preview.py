"""What is shown while someone types, against what the command finds in the same text."""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from mha_lint import notebook
from mha_lint.files import Source, SourceError, decode, read_source
from mha_lint.findings import Finding
from mha_lint.linter import Look, lint, looked, reported
from mha_lint.lsp.analysis import Analysis, Answer
from mha_lint.lsp.document import Document
from mha_lint.lsp.pieces import Edited, Text, read
from mha_lint.lsp.preview import Preview
from mha_lint.lsp.session import Session
from mha_lint.lsp.worker import Worker
from mha_lint.parsing import parse
from mha_lint.settings import Settings

CORPUS = Path(__file__).parents[1] / "corpus"
SETTINGS = Settings(select=("ALL",))
EDITS = 8  # of one file
FILES = sorted(CORPUS.rglob("*.py"))
PATH = Path("attention.py")


def _told(findings: Collection[Finding]) -> list[tuple[object, ...]]:
    return sorted((f.location, f.end_location, f.code, f.message, f.severity, f.noqa_row) for f in findings)


def _looked(text: str, path: Path = PATH) -> Look | None:
    return looked(decode(path, text.encode()), SETTINGS)


def _whole(text: str, path: Path = PATH) -> tuple[Finding, ...] | None:
    source = decode(path, text.encode())
    try:
        look = looked(source, SETTINGS)
    except SourceError:
        return None
    return () if look is None else reported(source, SETTINGS, look.bare())


def _preview(text: str, path: Path = PATH) -> Preview:
    """A preview that knows a text, however short a look at it is."""
    preview, look = Preview(quick=0), _looked(text, path)
    assert look is not None
    preview.know(look, look.bare())
    return preview


def _shown(preview: Preview, text: str, path: Path = PATH) -> list[tuple[int, str]]:
    """The rows, from 0, and the codes of what a preview shows."""
    found = preview.findings(decode(path, text.encode()), SETTINGS)
    assert found is not None
    return [(each.location.row - 1, each.code) for each in found]


def _edited(text: str, randomly: random.Random) -> str:
    """A letter, a word or a row is deleted, doubled, or put elsewhere."""
    rows = text.splitlines(keepends=True)
    row = randomly.randrange(len(rows))
    match randomly.randrange(5):
        case 0:
            del rows[row]
        case 1:
            rows.insert(row, rows[row])
        case 2:
            rows.insert(randomly.randrange(len(rows)), "\n")
        case 3:
            words = rows[row].split(" ")
            words[randomly.randrange(len(words))] = randomly.choice(rows).strip().split(" ")[0]
            rows[row] = " ".join(words) if words[-1].endswith("\n") else " ".join(words) + "\n"
        case _:
            at = randomly.randrange(len(rows[row]))
            rows[row] = rows[row][:at] + randomly.choice("x1(+.") + rows[row][at:]
    return "".join(rows)


# --- against the whole


@pytest.mark.parametrize("chunk", range(2))
def test_random_edits_are_previewed_as_the_whole_would_be_but_for_what_other_code_tells(chunk: int) -> None:
    randomly = random.Random(chunk)
    compared, differ, invented = 0, 0, 0
    for path in randomly.sample(FILES, 40):
        text = known = read_source(path).text
        if not _looked(text, path):
            continue
        preview, before = _preview(text, path), {(each.code, each.message) for each in _whole(text, path) or ()}
        for _ in range(EDITS):
            text = _edited(text, randomly)
            expected = _whole(text, path)
            if expected is None:
                with pytest.raises(SourceError):
                    preview.findings(decode(path, text.encode()), SETTINGS)
                text = known
                continue
            found = preview.findings(decode(path, text.encode()), SETTINGS)
            if found is None:
                continue
            compared += 1
            differ += _told(found) != _told(expected)
            right = {*before, *((each.code, each.message) for each in expected)}
            invented += any((each.code, each.message) not in right for each in found)
        assert _told(preview.findings(decode(path, known.encode()), SETTINGS) or ()) == _told(_whole(known, path) or ())
    assert compared > 150
    assert differ / compared < 0.05  # what a changed import, base or caller tells of other pieces comes later
    assert invented / compared < 0.01


def _analysis(text: str, path: Path, worker: Worker, preview: Preview | None) -> Analysis:
    uri = path.absolute().as_uri()
    document = Document(uri, decode(path, text.encode()), {uri: text}, {uri: 1}, "utf-16", {})
    return Analysis(document, SETTINGS, worker, preview)


def _bare(answer: Answer) -> list[tuple[object, ...]]:
    return _told([each for each in answer.findings if each.code != "MHA000"])


def test_once_nobody_types_random_edits_have_the_findings_of_the_command() -> None:
    randomly, worker = random.Random(7), Worker()
    corrected = 0
    for path in randomly.sample(FILES, 25):
        text = read_source(path).text
        preview = Preview(quick=0)
        for _ in range(EDITS):
            analysis = _analysis(text, path, worker, preview)
            shown = analysis.findings().result(timeout=60)
            corrected += analysis.corrects(analysis.fixes(idle=True).result(timeout=60))
            found = analysis.findings().result(timeout=60)
            try:
                assert _bare(found) == _told(lint(decode(path, text.encode()), SETTINGS).findings)
            except SourceError:
                assert found == shown
                text = read_source(path).text
            text = _edited(text, randomly)
    worker.close()
    assert corrected > 0


# --- what an edit makes, mends and leaves

HEAD = "import torch\nfrom torch import nn\n\n\n"
CLASS = """\
class {name}(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (each.view(b, t, self.heads, -1).transpose(1, 2) for each in self.qkv(x).chunk(3, -1))
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        y = merged(y, b, t, c)
        return self.out(y)

    def half(self, x):
        b, t, c = x.shape
        y = self.qkv(x).chunk(3, -1)[0].view(b, t, self.heads, -1)
        return y.transpose(1, 2).contiguous().view(b, t, c)


"""
HELPER = """\
def merged(y, b, t, c):
    n = b * t
    return y.transpose(1, 2).view(b, t, c)


"""
CALLED = HEAD + CLASS.format(name="Attention") + HELPER.replace(".transpose(1, 2)", "") + CLASS.format(name="Other")


def _row(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n")


def test_an_edit_shows_what_it_makes_and_hides_what_it_mends() -> None:
    text = HEAD + CLASS.format(name="Attention")
    row = _row(text, ".contiguous()")
    broken = text.replace(".contiguous()", "")
    assert _shown(_preview(text), broken) == sorted([*_shown(_preview(text), text), (row, "MHA001")])
    assert (row, "MHA001") not in _shown(_preview(broken), text)
    assert (row + 1, "MHA001") in _shown(
        _preview(broken), broken.replace("        y = self.qkv(x)", "\n        y = self.qkv(x)")
    )


def test_what_only_a_caller_tells_stays_while_its_statement_does() -> None:
    text = HEAD + CLASS.format(name="Attention") + HELPER.replace("y.transpose(1, 2)", "y")
    helper = next(node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
    row = _row(text, "return y.view")
    whole = _whole(text)
    assert whole is not None and (row, "MHA101") in [(each.location.row - 1, each.code) for each in whole]
    source = decode(PATH, text.encode())
    module = read(source).module
    alone = looked(source, SETTINGS, module.tree, only=[n for n in module.tree.body if n.lineno == helper.lineno])
    assert alone is not None and not alone.hits  # a caller tells it
    preview = _preview(text)
    assert (row, "MHA101") in _shown(preview, text.replace("n = b * t", "n = b * t * c"))
    assert (row + 1, "MHA101") in _shown(preview, text.replace("n = b * t", "n = b * t\n    m = n"))
    assert (row, "MHA101") in _shown(preview, text.replace("view(b, t, c)\n\n", "view(b, t, c)  # rows\n\n"))
    mended = text.replace("return y.view(b, t, c)", "return y.transpose(1, 2).reshape(b, t, c)")
    assert (row, "MHA101") not in _shown(preview, mended)
    assert (row, "MHA101") in _shown(preview, text)  # undone


CALLERS_KNOW = """\
import torch


def attended(query, key, value, head_mask=None):
    y, weights = weighed(query, key, value, head_mask)
    return y.transpose(1, 2).flatten(2), weights


def weighed(query, key, value, attention_mask):
    weights = torch.softmax(query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5, dim=-1)
    if attention_mask is not None:
        weights = weights * attention_mask
    return weights @ value, weights
"""


def test_what_callers_know_to_be_right_is_not_shown_because_code_is_looked_at_alone() -> None:
    source = decode(PATH, CALLERS_KNOW.encode())
    tree = read(source).module.tree
    alone = looked(source, SETTINGS, tree, only=tree.body[-1:])
    assert alone is not None and "MHA107" in [each.code for each in alone.bare()]
    assert "MHA107" not in [each.code for each in _whole(CALLERS_KNOW) or ()]
    shown = _shown(_preview(CALLERS_KNOW), CALLERS_KNOW.replace("** 0.5, dim", "** (1 / 2), dim"))
    assert "MHA107" not in [code for _, code in shown]


def test_comments_silence_and_those_that_silence_nothing_are_told_at_once() -> None:
    text = HEAD + HELPER + CLASS.format(name="Attention").replace(".contiguous()", "")
    preview, row = _preview(text), _row(text, ".view(b, t, c)\n\n\n")
    silent = text.replace("view(b, t, c)\n", "view(b, t, c)  # noqa: MHA001\n")
    assert (row, "MHA001") in _shown(preview, text)
    assert "MHA001" not in [code for _, code in _shown(preview, silent)]
    idle = text.replace("self.heads = heads", "self.heads = heads  # noqa: MHA001")
    assert (_row(text, "self.heads = heads"), "MHA099") in _shown(preview, idle)


def test_rows_that_messages_name_move_with_the_text() -> None:
    text = (
        HEAD
        + HELPER
        + CLASS.format(name="Attention").replace("return y.transpose", "merged(y, b, t, c)\n        return y.transpose")
    )
    row = _row(text, "        merged(y") + 1
    assert f"(reached from line {row})" in " ".join(each.message for each in _whole(text) or ())
    preview = _preview(text)
    for moved in ("\n\n" + text, HEAD + "def more():\n    pass\n\n\n" + text.removeprefix(HEAD)):
        found = preview.findings(decode(PATH, moved.encode()), SETTINGS)
        assert found is not None
        assert _told(found) == _told(_whole(moved) or ())


def _notebook(*cells: str) -> Source:
    written = [{"cell_type": "code", "source": cell, "metadata": {}} for cell in cells]
    told = {"cells": written, "metadata": {"language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 5}
    parsed = notebook.read(json.dumps(told))
    return Source(Path("a.ipynb"), parsed.program, "utf-8", False, json.dumps(told).encode(), parsed)


def test_a_notebook_is_previewed_too_with_the_cells_that_are_no_python() -> None:
    cells = HEAD, "%matplotlib inline\n", HELPER, CLASS.format(name="Attention"), "x = 1\n"
    look = looked(_notebook(*cells), SETTINGS)
    assert look is not None
    preview = Preview(quick=0)
    preview.know(look, look.bare())
    for place, old, new in ((3, ".contiguous()", ""), (2, "n = b", "\n    n = t"), (4, "x", "def (")):
        cells = (*cells[:place], cells[place].replace(old, new), *cells[place + 1 :])
        source = _notebook(*cells)
        found = preview.findings(source, SETTINGS)
        assert found is not None and _told(found) == _told(lint(source, SETTINGS).findings)
    assert {"MHA000", "MHA001"} <= {each.code for each in found}


# --- how little is looked at


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of what is interpreted on its own, look by look."""
    import mha_lint.lsp.preview as module

    asked: list[list[str]] = []

    def counted(*given: Any, only: Collection[Any], **others: Any) -> Look | None:
        asked.append(sorted(node.name for node in only))
        return looked(*given, only=only, **others)

    monkeypatch.setattr(module, "looked", counted)
    return asked


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("c = x.shape\n        y =", "c = x.size()\n        y =", ["half"]),
        ("def half(self, x):", "def half(self, x):  # a comment", []),
        ("y = merged", "y = 2 * merged", ["forward"]),
        ("self.heads = heads", "self.heads = heads or 1", ["__init__", "forward"]),
        ("class Attention(nn.Module):", "class Attention(nn.Module):\n    some = 1", ["Attention"]),
        ("n = b * t", "n = t * b", ["merged"]),
        ("import torch\n", "import torch, math\n", []),
        ("    def half", "    def third(self, x):\n        return x\n\n    def half", ["third"]),
        ("return self.out(y)", "return self.half(self.out(y))", ["forward"]),
    ],
)
def test_only_what_changed_is_interpreted(entries: list[list[str]], old: str, new: str, expected: list[str]) -> None:
    assert CALLED.count(old) in (1, 2)
    preview = _preview(CALLED)
    _shown(preview, CALLED.replace(old, new, 1))
    assert bool(entries) == bool(expected) and all(each == expected for each in entries)
    entries.clear()
    _shown(preview, CALLED)
    assert entries == []  # undone


def test_what_mentions_a_changed_method_is_interpreted_too(entries: list[list[str]]) -> None:
    text = CALLED.replace("return self.out(y)", "return self.half(self.out(y))")
    _shown(_preview(text), text.replace("c = x.shape\n        y =", "c = x.size()\n        y =", 1))
    assert entries[-1] == ["forward", "half"]


def test_a_line_that_is_typed_has_the_text_before_it_looked_at_once(entries: list[list[str]]) -> None:
    preview, line = _preview(CALLED), "z = q.transpose(1, 2)"
    for end in (1, 5, 7, 20, 21):
        text = CALLED.replace("        y = merged", f"        {line[:end]}\n        y = merged", 1)
        if _whole(text) is not None:
            _shown(preview, text)
    assert len(entries) == 5  # "z", "z = q", the whole line, and once the text before


def test_a_short_file_and_one_that_changed_in_many_places_are_looked_at_as_a_whole() -> None:
    look = _looked(CALLED)
    assert look is not None
    preview = Preview()
    preview.know(look, look.bare())
    assert preview.findings(decode(PATH, CALLED.encode()), SETTINGS) is None
    many = HEAD + "".join(CLASS.format(name=f"Attention{n}") for n in range(6))
    assert _preview(many).findings(decode(PATH, many.replace("c = x.shape", "c = x.size()").encode()), SETTINGS) is None


# --- pieces

ODD = """\
x = 1; y = 2

if x:
    y = 3
else:
    y = 4


@property
# c
def f(a):
    '''a

    b'''
    return a

\x0cclass A:
    def g(self): return [
        1,
    ]
    é = 'ü'


z = x \\
    + y
w = 1

# end
try: w
except E: w
"""
PARTS = ("x", "\n", "\r", "\\", " ", "    ", "#", "@f", "else:", "'", ";", ")")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_text_that_is_parsed_in_part_has_the_tree_of_the_whole(newline: str) -> None:
    randomly = random.Random(3)
    in_part = 0
    for _ in range(100):
        earlier: Text | None = None
        text = ODD.replace("\n", newline)
        for _ in range(10):
            source = decode(PATH, text.encode())
            try:
                now = read(source, earlier)
            except SourceError:
                with pytest.raises((SyntaxError, ValueError)):
                    parse(source.text)
                text = text if earlier is None else earlier.source.text  # undone
            else:
                expected = ast.dump(parse(source.text), include_attributes=True)
                assert ast.dump(now.module.tree, include_attributes=True) == expected
                if earlier is not None:
                    kept = {id(node) for node in earlier.module.tree.body}
                    in_part += text != earlier.source.text and any(id(node) in kept for node in now.module.tree.body)
                earlier = now
            at = randomly.randrange(len(text))
            inserted = randomly.choice(PARTS) if randomly.random() < 0.6 else ""
            text = text[:at] + inserted + text[at + randomly.randrange(2) :]
    assert in_part > 60


def test_rows_are_followed_through_an_edit() -> None:
    before = "a = 1\n\n\ndef f():\n    b = 1\n    c = 2\n    d = 3\n\n\nclass G:\n    e = 1\n"
    after = "a = 1\nx = 0\n\n\ndef f():\n    b = 1\n    # more\n    c = 5\n    d = 3\n\n\nclass G:\n    e = 1\n"
    edited = Edited(read(decode(PATH, before.encode())), read(decode(PATH, after.encode())))
    assert [edited.row(row) for row in (1, 4, 5, 6, 7, 10, 11)] == [1, 5, 6, None, 9, 12, 13]
    assert not edited.is_changed(1) and edited.is_changed(5) and not edited.is_changed(11)


# --- sessions


def test_a_closed_document_is_forgotten_and_so_is_one_under_other_settings() -> None:
    session = Session()
    document = _analysis(CALLED, PATH, session.worker, None).document
    first = session._preview(document, SETTINGS)
    assert first is not None and session._preview(document, SETTINGS) is first
    other = session._preview(document, Settings())
    assert other is not first and session._preview(document, SETTINGS) is not first
    last = session._preview(document, SETTINGS)
    session.close(document.uri)
    assert session._preview(document, SETTINGS) is not last
    session.worker.close()
