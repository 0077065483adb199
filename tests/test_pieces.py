"""A fix is read by the statements that it touches, and told as if the whole file were read."""

from __future__ import annotations

import ast
import cProfile
import pstats
import re
from pathlib import Path

import pytest
from corpus_files import CORPUS, corpus
from msgspec.structs import replace

from mha_lint.edits import apply, compiles, position, row_starts
from mha_lint.files import Source, decode
from mha_lint.findings import Edit, Fix
from mha_lint.fixers.completing import completed
from mha_lint.fixers.pieces import pieces
from mha_lint.linter import lint
from mha_lint.settings import Settings

UNSAFE = Settings(extend_select=("MHA005",))


def edit(text: str, old: str, new: str) -> Edit:
    """Replace the first ``old`` of a text."""
    starts, at = row_starts(text), text.index(old)
    return Edit(position(starts, at), position(starts, at + len(old)), new)


def is_offered(text: str, *edits: Edit) -> bool:
    fix = Fix("safe", "repaired", "", edits)
    return isinstance(completed(fix, text, "attention.py", "MHA001"), Fix)


TEXT = '''from __future__ import annotations

import math


class Attention:
    # a comment
    width = 3; height = 4

    @property
    def scale(self):
        scale = 1
        try:
            scale = math.sqrt(2)
        except ValueError: pass
        text = """
    def not_code(self):
        """
        return scale  # the last

    def empty(self):
        return None

    async def wait(self):
        yield 1

    class Inner:
        def method(self, a):
            b = a
            return b


def count():
    number = 0

    def add():
        nonlocal number
        number += 1

    return add


TABLE = [
    1,
]; OTHER = \\
    2
'''
CHANGES = (
    ("scale = 1", "scale = (1"),
    ("scale = 1", "scale = 2  # more"),
    ("        scale = 1\n", ""),
    ("        scale = 1\n", "    scale = 1\n"),
    ("        scale = 1\n", "        if scale:\n"),
    ("        scale = 1\n", "        scale = 1 \\\n"),
    ("        scale = 1\n", '        scale = """\n'),
    ("scale = 1", "global scale"),
    ("scale = 1", "await scale"),
    ("scale = 1", "break"),
    ("scale = 1\n", "scale = 1"),
    ("scale = 1\n        ", "scale = 1; "),
    ("        return None\n", ""),
    ("        return None\n", "        # nothing\n"),
    ("return None", "return"),
    ("yield 1", "return 1"),
    ("yield 1", "yield 1\n        return 1"),
    ("    number = 0\n", ""),
    ("number += 1", "number -= 1"),
    ("            b = a\n", ""),
    ("            b = a\n            return b\n", ""),
    ("            b = a\n            return b\n", "            pass\n"),
    ("b = a", "b = nonlocal"),
    ("        def method", "    def method"),
    ("    # a comment\n", "    # another\n"),
    ("    # a comment\n", ""),
    ("width = 3;", ""),
    ("width = 3;", "return;"),
    ("@property\n    ", ""),
    ("@property", "@"),
    ("import math\n", "from __future__ import annotations\n"),
    ("import math\n", "from __future__ import division\nimport math\n"),
    ("from __future__ import annotations\n", "import os\n"),
    ("class Attention:", "class Attention"),
    ("class Attention:\n", "class Attention:\n    global width\n"),
    ("TABLE", "return TABLE"),
    ("    1,\n]", "    1,\n"),
    ("    2\n", "    2"),
    ("    2\n", "    2; x = ("),
    ("    2\n", "    2\nx = 1\n"),
    ("\n\ndef count", "\n\nx = 1\ndef count"),
    ("\n\ndef count", "x = 1\n\ndef count"),
    ("def count():", "def count(:"),
)


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_a_fix_is_offered_where_the_whole_file_compiles_with_it_and_nowhere_else(old: str, new: str) -> None:
    change = edit(TEXT, old, new)
    assert is_offered(TEXT, change) == compiles(apply(TEXT, [change]))


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_newlines_of_any_kind_part_the_statements(newline: str) -> None:
    text = TEXT.replace("\n", newline)
    for old, new in CHANGES:
        change = edit(text, old.replace("\n", newline), new.replace("\n", newline))
        assert is_offered(text, change) == compiles(apply(text, [change])), (old, new)


def test_two_changes_are_told_together_as_by_the_whole_file() -> None:
    for index, (old, new) in enumerate(CHANGES):
        for other, replacement in CHANGES[index + 1 :]:
            both = edit(TEXT, old, new), edit(TEXT, other, replacement)
            try:
                after = apply(TEXT, both)
            except ValueError:
                assert not is_offered(TEXT, *both), "the two overlap"
                continue
            assert is_offered(TEXT, *both) == compiles(after), (old, new, other, replacement)


def test_the_statements_of_the_pieces_are_those_that_the_whole_file_has_there() -> None:
    """Names are counted in the pieces, so that each must hold just what stands in its rows."""
    tree = ast.dump(ast.parse(TEXT))
    for old, new in CHANGES:
        found = pieces(TEXT, [edit(TEXT, old, new)])
        after = apply(TEXT, [edit(TEXT, old, new)])
        for piece in found:
            for statement in piece.before:
                assert ast.dump(statement) in tree
            if piece.after is not None:
                whole = ast.dump(ast.parse(after))
                assert all(ast.dump(statement) in whole for statement in piece.after), (old, new)


def test_global_names_keep_a_module_in_one_piece() -> None:
    text = "x = 1\ny = 2\nif y:\n    global z\n"
    assert is_offered(text, edit(text, "x = 1", "x = 2"))
    assert not is_offered(text, edit(text, "x = 1", "z = 2"))


def test_nothing_but_a_docstring_comes_before_an_import_from_the_future() -> None:
    text = '"""Attention."""\nfrom __future__ import annotations\n'
    assert is_offered(text, edit(text, "Attention", "Heads"))
    assert not is_offered(text, edit(text, '"""Attention."""', "import os"))


def test_a_deleted_nonlocal_name_is_missed_by_the_function_that_says_it() -> None:
    text = "def f():\n    x = 1\n\n    def g():\n        nonlocal x\n    return g\n"
    assert not is_offered(text, edit(text, "x = 1", "y = 1"))


def test_the_first_words_of_a_file_without_a_newline_at_its_end_are_not_parted_from_what_is_added() -> None:
    text = "import a\nx = a"
    end = Edit(position(row_starts(text), len(text)), position(row_starts(text), len(text)), "b")
    fix = completed(Fix("safe", "repaired", "", (end,)), text, "attention.py", "MHA001")
    assert isinstance(fix, Fix)
    assert apply(text, fix.edits) == "x = ab"


# --- large files


def many(name: str, count: int) -> Source:
    """A corpus file with its classes repeated under new names."""
    text = (CORPUS / f"{name}.py").read_text(encoding="utf-8")
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    lines = text.splitlines(keepends=True)
    head = "".join(lines[: classes[0].lineno - 1])
    written = "".join("".join(lines[cls.lineno - 1 : cls.end_lineno]) + "\n\n" for cls in classes)
    names = "|".join(cls.name for cls in classes)
    copies = [re.sub(rf"\b({names})\b", rf"\1_{number}", written) for number in range(count)]
    return decode(Path("attention.py"), (head + "".join(copies)).encode())


@pytest.mark.parametrize(
    "name", ["mixed/gpt_two_smells", "scale/multiplied", "unbind/vit_timm", "projection/residual_and_norm"]
)
def test_twice_as_many_findings_take_twice_as_long(name: str) -> None:
    counts = []
    for count in (15, 30):
        source = many(name, count)
        lint(source, UNSAFE)
        profile = cProfile.Profile()
        profile.enable()
        findings = lint(replace(source, text=f"{source.text}\n", data=source.data + b"\n"), UNSAFE).findings
        profile.disable()
        assert len(findings) >= count
        counts.append(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]  # typeshed lacks it
    assert counts[1] < 2.3 * counts[0]


METHOD = """
    def attend_{0}(self, x):
        b, n, _ = x.shape
        q = self.q(x).view(b, n, self.heads, -1).transpose(1, 2)
        k = self.k(x).view(b, n, self.heads, -1).transpose(1, 2)
        return (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
"""
CLASS = """import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.head_dim = width // heads
        self.scale = width ** -0.5
        self.q, self.k = nn.Linear(width, width), nn.Linear(width, width)
"""


def test_methods_that_read_one_attribute_are_looked_at_once_for_all_their_findings() -> None:
    counts = []
    for count in (20, 40):
        text = CLASS + "".join(METHOD.format(number) for number in range(count))
        lint(decode(Path("attention.py"), text.encode()), UNSAFE)
        profile = cProfile.Profile()
        profile.enable()
        findings = lint(decode(Path("attention.py"), f"{text}\n".encode()), UNSAFE).findings
        profile.disable()
        assert len(findings) == count
        counts.append(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]  # typeshed lacks it
    assert counts[1] < 2.3 * counts[0]


def test_the_pieces_of_a_fix_do_not_grow_with_the_file() -> None:
    for name in ("mixed/gpt_two_smells", "unbind/vit_timm"):
        for count in (2, 30):
            source = many(name, count)
            for finding in lint(source, UNSAFE).findings:
                edits = finding.fix.edits if finding.fix else ()
                assert sum(len(piece.text) for piece in pieces(source.text, edits)) < 1500


def test_every_fix_of_the_corpus_can_be_read_by_its_pieces() -> None:
    for file in corpus():
        for finding in lint(decode(file.path, file.text.encode()), UNSAFE).findings:
            if finding.fix is not None:
                found = pieces(file.text, finding.fix.edits)
                assert all(piece.compiles for piece in found)
                assert sum(len(piece.text) for piece in found) < len(file.text) + 200
