"""``--add-noqa``: what it writes, where, and that nothing else changes."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from checkout import ROOT
from installed import lint
from samples import BROKEN, ROW, SYNTAX_ERROR

LINE = BROKEN.splitlines()[ROW - 1]
assert LINE.endswith(".view(b, t, c)")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def broken(*lines: str) -> str:
    """The sample with other rows in place of the one where its finding is."""
    return BROKEN.replace(LINE, "\n".join(lines))


VIEW = "(weights @ v).transpose(1, 2).view(b, t, c)"
CASES = {
    "plain": ([f"        y = {VIEW}"], [f"        y = {VIEW}  # noqa: MHA001"]),
    "another comment": ([f"        y = {VIEW}  # why"], [f"        y = {VIEW}  # why  # noqa: MHA001"]),
    "type comment": (
        [f"        y = {VIEW}  # type: ignore[no-any]"],
        [f"        y = {VIEW}  # type: ignore[no-any]  # noqa: MHA001"],
    ),
    "codes of others": ([f"        y = {VIEW}  # noqa: E501"], [f"        y = {VIEW}  # noqa: E501, MHA001"]),
    "codes with words": (
        [f"        y = {VIEW}  # noqa:E501,W291 too long # and more"],
        [f"        y = {VIEW}  # noqa:E501,W291, MHA001 too long # and more"],
    ),
    "codes in small letters": ([f"        y = {VIEW}  #noqa:e501"], [f"        y = {VIEW}  #noqa:e501, MHA001"]),
    "trailing spaces and a tab": ([f"        y = {VIEW}  \t"], [f"        y = {VIEW}  # noqa: MHA001  \t"]),
    "a second statement": ([f"        y = {VIEW}; z = 1"], [f"        y = {VIEW}; z = 1  # noqa: MHA001"]),
    "backslashes": (
        ["        y = (weights @ v) \\", "            .transpose(1, 2) \\", "            .view(b, t, c)"],
        [
            "        y = (weights @ v) \\",
            "            .transpose(1, 2) \\",
            "            .view(b, t, c)  # noqa: MHA001",
        ],
    ),
    "a string over rows": (
        [f'        y, z = {VIEW}, """# noqa: E501', '# noqa"""'],
        [f'        y, z = {VIEW}, """# noqa: E501', '# noqa"""  # noqa: MHA001'],
    ),
    "a call over rows": (
        [
            "        y = (",
            "            (weights @ v).transpose(1, 2).view(",
            "                b,  # batch",
            "                t, c)",
            "        )",
        ],
        [
            "        y = (",
            "            (weights @ v).transpose(1, 2).view(  # noqa: MHA001",
            "                b,  # batch",
            "                t, c)",
            "        )",
        ],
    ),
    "in a string with fields": (
        [f'        y = f"""{{{VIEW}}}', '"""'],
        [f'        y = f"""{{{VIEW}}}', '"""  # noqa: MHA001'],
    ),
}


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_a_comment_comes_where_it_counts_and_no_other_byte_changes(newline: str) -> None:
    texts = {
        Path(f"{case}.py"): [broken(*rows).replace("\n", newline).encode() for rows in sides]
        for case, sides in CASES.items()
    }
    for path, (before, _) in texts.items():
        path.write_bytes(before)
    assert f"{len(CASES)} errors" in lint(".", "--select", "MHA001", status=1)
    assert lint(".", "--select", "MHA001", "--add-noqa") == f"Added {len(CASES)} noqa comments.\n"
    for path, (_, after) in texts.items():
        assert path.read_bytes() == after
    assert lint(".", "--select", "MHA001") == "All checks passed.\n"
    assert lint(".", "--select", "MHA001", "--add-noqa") == "Added 0 noqa comments.\n"
    for path, (_, after) in texts.items():
        assert path.read_bytes() == after


def test_a_file_with_a_bom_a_coding_line_and_no_last_newline_stays_so() -> None:
    for name, head, encoding in (
        ("bom.py", "", "utf-8-sig"),
        ("latin.py", "# coding: latin-1\nname = 'é'\n", "latin-1"),
    ):
        text = head + broken(LINE, f"        return {VIEW}").rpartition("        return self.out")[0].rstrip("\n")
        Path(name).write_bytes(text.encode(encoding))
        assert lint(name, "--add-noqa", "--select", "MHA001") == "Added 2 noqa comments.\n"
        silenced = "".join(row.replace(VIEW, f"{VIEW}  # noqa: MHA001") for row in text.splitlines(keepends=True))
        assert Path(name).read_bytes() == silenced.encode(encoding)
        assert lint(name, "--select", "MHA001") == "All checks passed.\n"


def test_several_codes_of_a_row_go_into_one_comment() -> None:
    Path("a.py").write_text(broken(LINE.replace(".view", ".contiguous().reshape")).replace(", weights\n", "\n"))
    found = lint("a.py", "--select", "ALL", "--output-format", "concise", status=1)
    lint("a.py", "--select", "ALL", "--add-noqa")
    assert lint("a.py", "--select", "ALL") == "All checks passed.\n"
    codes = {line.split()[1] for line in found.splitlines() if line.startswith("a.py:")}
    assert {code for code in codes if code in Path("a.py").read_text()} == codes


REASONS = {
    "": "  # noqa: MHA001 as it was, see #12",
    "  # noqa: E501": "  # noqa: E501, MHA001 as it was, see #12",
    "  # noqa: E501 it is long": "  # noqa: E501, MHA001 it is long",
    "  # noqa: E501 # type: ignore": "  # noqa: E501, MHA001 as it was, see #12 # type: ignore",
}


def test_a_reason_comes_behind_the_codes_where_none_is_there() -> None:
    for number, comment in enumerate(REASONS):
        Path(f"{number}.py").write_text(broken(LINE + comment))
    lint("--add-noqa", "--reason", "as it was, see #12")
    for number, silenced in enumerate(REASONS.values()):
        assert Path(f"{number}.py").read_text() == broken(LINE + silenced)
    assert lint() == "All checks passed.\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--add-noqa", "--reason", "H100 alone"], "--reason begins like a code"),
        (["--add-noqa", "--reason", "one\ntwo"], "--reason must be one line"),
        (["--reason", "old"], "--reason needs --add-noqa"),
        (["--add-noqa", "--fix"], "--add-noqa executes nothing"),
        (["--add-noqa", "-"], "--add-noqa writes files"),
    ],
)
def test_what_does_not_go_together_is_refused_and_nothing_is_written(arguments: list[str], told: str) -> None:
    Path("a.py").write_text(BROKEN)
    assert lint(*arguments, status=2, stdin=BROKEN).startswith(f"error: {told}")
    assert Path("a.py").read_text() == BROKEN


def test_of_a_notebook_the_lines_change_that_have_findings_and_no_other_byte() -> None:
    before = (ROOT / "examples/nine_ways_to_attend.ipynb").read_text("utf-8")
    Path("a.ipynb").write_text(before, "utf-8")
    found = json.loads(lint("a.ipynb", "--output-format", "json", "-q", status=1))["findings"]
    assert lint("a.ipynb", "--add-noqa") == f"Added {len(found)} noqa comments.\n"
    after = Path("a.ipynb").read_text("utf-8")
    changed = [(old, new) for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert len(changed) == len(found)
    for old, new in changed:
        start = old.rstrip(",").removesuffix('"').removesuffix("\\n")
        assert new.startswith(f"{start}  # noqa: MHA")
    assert lint("a.ipynb") == "All checks passed.\n"


def test_what_cannot_be_silenced_or_written_is_told_and_the_run_goes_on() -> None:
    Path("syntax.py").write_text(SYNTAX_ERROR)
    Path("latin.py").write_bytes(b"# coding: latin-1\n" + BROKEN.encode())
    Path("good.py").write_text(BROKEN)
    told = lint(".", "--add-noqa", "--reason", "→ later", status=2)
    assert "syntax.py:3:7: syntax error" in told
    assert "nothing silences it" in told
    assert "latin.py: cannot hold" in told
    assert "Added 1 noqa comment." in told
    assert Path("syntax.py").read_text() == SYNTAX_ERROR
    assert Path("latin.py").read_bytes() == b"# coding: latin-1\n" + BROKEN.encode()
    assert ast.dump(ast.parse(Path("good.py").read_text())) == ast.dump(ast.parse(BROKEN))
