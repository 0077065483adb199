"""MHA099: codes in comments that silence nothing, and their removal, for which nothing is executed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from installed import lint
from samples import BROKEN, FIXED, ROW

from mha_lint.files import decode
from mha_lint.linter import lint as lint_source
from mha_lint.rules import codes
from mha_lint.settings import Settings

LINE = FIXED.splitlines()[ROW - 1]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(text: str, settings: Settings | None = None, name: str = "a.py") -> list[str]:
    """The messages of MHA099 about a text."""
    source = decode(Path(name), text.encode())
    found = lint_source(source, settings or Settings(extend_select=("MHA099",))).findings
    return [finding.message for finding in found if finding.code == "MHA099"]


def commented(comment: str, text: str = FIXED) -> str:
    rows = text.splitlines(keepends=True)
    rows[ROW - 1] = f"{rows[ROW - 1].rstrip()}  {comment}\n"
    return "".join(rows)


@pytest.mark.parametrize(
    ("comment", "idle"),
    [
        ("# noqa: MHA001", "MHA001 silences nothing here"),
        ("# noqa:mha001", "mha001 silences nothing here"),
        ("# noqa: MHA001, E501, MHA101 words", "MHA001 and MHA101 silence nothing here"),
        ("# type: ignore # noqa: MHA12", "MHA12 silences nothing here"),
        ("# noqa", ""),
        ("# noqa: E501", ""),
        ("# noqa: MHA005", ""),  # off by default
        ("# noqa: MHA00", ""),  # MHA005 is one of them
        ("# noqa: MHA777", ""),  # of no rule that is installed
        ("# noqa: MHA000", ""),
        ("# noqa: MHA001, MHA099", ""),
    ],
)
def test_codes_of_rules_that_run_and_find_nothing_are_told(comment: str, idle: str) -> None:
    assert told(commented(comment)) == ([f"unused `noqa`: {idle}"] if idle else [])


@pytest.mark.parametrize("comment", ["# noqa: MHA001", "# noqa: MHA00", "# noqa: E501 MHA001"])
def test_codes_that_silence_something_are_not(comment: str) -> None:
    for text in (commented(comment, BROKEN), f"# mha-lint: {comment[2:]}\n{BROKEN}"):
        assert told(text, Settings(select=("ALL",))) == []


def test_each_row_where_a_comment_counts_is_a_use() -> None:
    spread = BROKEN.replace(
        ".view(b, t, c)", ".view(  # noqa: MHA001\n            b,  # noqa: MHA001\n            t, c)"
    )
    assert len(told(spread)) == 1
    joined = BROKEN.replace("(weights @ v).tr", "(weights @ v) \\\n.tr").replace(", t, c)", ", t, c)  # noqa: MHA001")
    assert told(joined) == []


def test_a_comment_for_the_whole_file_is_looked_at_and_silences_this_rule_too() -> None:
    assert told(f"# mha-lint: noqa: MHA001\n{FIXED}") == ["unused `noqa`: MHA001 silences nothing in this file"]
    for head in ("# mha-lint: noqa", "# flake8: noqa", "# mha-lint: noqa: MHA099"):
        assert told(f"{head}\n{commented('# noqa: MHA001')}") == []


def test_it_is_off_by_default_and_silent_where_the_rule_does_not_run() -> None:
    text = commented("# noqa: MHA001")
    assert told(text, Settings()) == []
    on = ("MHA099",)
    assert len(told(text, Settings(extend_select=on))) == 1
    assert told(text, Settings(select=on)) == []
    assert told(text, Settings(extend_select=on, ignore=("MHA001",))) == []
    assert told(text, Settings(extend_select=on, per_file_ignores={"a.py": ("MHA001",)})) == []
    assert told(text, Settings(extend_select=on, per_file_ignores={"a.py": on})) == []


def test_files_without_attention_are_looked_at_when_they_name_our_codes() -> None:
    assert len(told("x = 1  # noqa: MHA001\n")) == 1
    Path("a.py").write_text("x = 1  # noqa: MHA001\n")
    assert lint("a.py") == "All checks passed.\n"
    assert "a.py:1:8: MHA099" in lint("a.py", "--extend-select", "MHA099", status=1)


def test_no_line_of_a_notebook_is_told_that_is_not_read() -> None:
    cells = [
        FIXED.replace(LINE, f"{LINE}  # noqa: MHA001"),
        "%time x = 1  # noqa: MHA001",
        "x = = 1  # noqa: MHA001",
        "y = 1  # noqa: MHA001",
    ]
    made = [{"cell_type": "code", "metadata": {}, "source": cell, "outputs": []} for cell in cells]
    text = json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    assert len(told(text, name="a.ipynb")) == 2


REMOVALS = {
    "# noqa: MHA001": "",
    "# noqa: MHA001 because of #12": "",
    "# why  # noqa: MHA001": "  # why",
    "# noqa: MHA001 # type: ignore": "  # type: ignore",
    "# noqa: MHA001, E501": "  # noqa: E501",
    "# noqa:E501,MHA001,W291 words": "  # noqa:E501,W291 words",
    "# noqa: E501 MHA101 MHA001": "  # noqa: E501",
    "# noqa: MHA101,  E501,MHA001,  W1": "  # noqa: E501,  W1",
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_fix_takes_out_the_codes_alone_and_needs_no_torch(newline: str) -> None:
    Path("torch.py").write_text("raise SystemError('torch was imported')\n")
    for number, comment in enumerate(REMOVALS):
        Path(f"m{number}.py").write_bytes(commented(comment).replace("\n", newline).encode())
    Path("whole.py").write_bytes(f"x = 1\n    # mha-lint: noqa: MHA001\n{FIXED}".replace("\n", newline).encode())
    arguments = ["--extend-select", "MHA099"]
    printed = lint("--fix", *arguments)
    assert printed.count("= validated: comment only") == len(REMOVALS) + 1
    assert f"Found {len(REMOVALS) + 1} findings ({len(REMOVALS) + 1} info): {len(REMOVALS) + 1} fixed.\n" in printed
    for number, kept in enumerate(REMOVALS.values()):
        after = FIXED.replace(LINE, f"{LINE}{kept}")
        assert Path(f"m{number}.py").read_bytes() == after.replace("\n", newline).encode()
        assert ast.dump(ast.parse(after)) == ast.dump(ast.parse(FIXED))
    assert Path("whole.py").read_bytes() == f"x = 1\n{FIXED}".replace("\n", newline).encode()
    assert lint(*arguments) == "All checks passed.\n"


def test_flake8_which_applies_comments_itself_is_told_nothing() -> None:
    pytest.importorskip("flake8")
    Path("a.py").write_text(commented("# noqa: MHA001"))
    assert "MHA099" in lint("--extend-select", "MHA099", status=1)
    Path("mha-lint.toml").write_text('extend-select = ["MHA099"]\n')
    assert "MHA099" in lint(status=1)  # and it is in the cache, which flake8 reads
    command = [sys.executable, "-m", "flake8", "--isolated", "--select", "MHA", "a.py"]
    for more in ([], ["--mha-no-cache"], ["--disable-noqa"]):
        done = subprocess.run([*command, *more], capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_add_noqa_and_this_rule_end_together() -> None:
    Path("a.py").write_text(commented("# noqa: MHA101", BROKEN))
    lint("--extend-select", "MHA099", "--add-noqa")
    assert "# noqa: MHA101, MHA001, MHA099\n" in Path("a.py").read_text()
    assert lint("--extend-select", "MHA099") == "All checks passed.\n"


def test_it_is_a_rule_as_others_are() -> None:
    assert "MHA099" in codes()
    assert lint("--explain", "unused-noqa").startswith("# MHA099 unused-noqa\n")
