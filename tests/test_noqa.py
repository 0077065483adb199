"""Which comments silence which findings."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mha_lint.findings import Finding, Position
from mha_lint.noqa import suppressed


def finding(row: int, code: str = "MHA001", noqa_row: int | None = None) -> Finding:
    here = Position(row, 1)
    return Finding(code, "name", "error", "message", "why", "a.py", here, here, "", noqa_row or row)


def is_silenced(text: str, row: int, code: str = "MHA001") -> bool:
    kept, dropped = suppressed(text, [finding(row, code)])
    assert len(kept) + len(dropped) == 1
    return bool(dropped)


@pytest.mark.parametrize(
    ("comment", "silenced"),
    [
        ("# noqa", True),
        ("#noqa", True),
        ("# NoQA", True),
        ("# noqa: MHA001", True),
        ("# noqa:MHA001", True),
        ("#noqa:MHA001", True),
        ("#noqa:mha001", True),
        ("# noqa:  MHA001", True),
        ("# noqa : MHA001", True),
        ("# noqa:  E501", False),
        ("# noqa: mha001", True),
        ("# noqa: E501,MHA001", True),
        ("# noqa: E501 MHA001", True),
        ("# noqa: MHA0", True),
        ("# noqa: MHA001 because it is measured", True),
        ("# type: ignore  # noqa: MHA001", True),  # data: a comment may follow one that is for another tool
        ("# noqa: E501", False),
        ("# noqa: MHA002", False),
        ("# noqa: MHA1", False),
        ("# no qa", False),
        ("", False),
    ],
)
def test_a_comment_silences_the_codes_it_names(comment: str, silenced: bool) -> None:
    assert is_silenced(f"x = y.view(1)  {comment}\n", 1) is silenced


def test_a_comment_silences_its_own_line_only() -> None:
    text = "x = 1\n\n# noqa on a line of its own\ny = 2  # noqa\nz = 3\n"
    assert [is_silenced(text, row) for row in (1, 3, 4, 5)] == [False, True, True, False]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("commented", "silenced"), [(1, False), (2, True), (3, False), (4, False), (5, True), (6, False)]
)
def test_of_a_finding_over_several_rows_the_first_and_the_last_count(
    newline: str, commented: int, silenced: bool
) -> None:
    lines = ["before = (", "    y.transpose(", "        1,", "        2,", "    )", ")", ""]
    lines[commented - 1] += "  # noqa: MHA001"
    made = replace(finding(2), end_location=Position(5, 6))
    kept, dropped = suppressed(newline.join(lines), [made])
    assert len(kept) + len(dropped) == 1
    assert bool(dropped) is (commented in (2, 5))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_comment_after_backslashes_counts_for_all_rows_that_they_join(newline: str) -> None:
    text = newline.join(["x = 1", "y = x \\", "    .transpose(1, 2) \\", "    .view(b)  # noqa", "z = 3", ""])
    assert [is_silenced(text, row) for row in range(1, 6)] == [False, True, True, True, False]


def test_a_comment_after_a_multiline_string_counts_for_its_first_line() -> None:
    text = 'f("""\ntext\n""")  # noqa\ng()\n'
    assert [is_silenced(text, row) for row in (1, 2, 3, 4)] == [True, True, True, False]


def test_the_noqa_row_of_a_finding_counts_too() -> None:
    kept, dropped = suppressed("a = 1\nb = 2  # noqa\n", [finding(1, noqa_row=2)])
    assert not kept
    assert dropped


def test_a_string_that_holds_noqa_is_no_comment() -> None:
    assert not is_silenced('x = "# noqa"\n', 1)
    assert not is_silenced('"""\n# mha-lint: noqa\n"""\nx = 1\n', 4)


@pytest.mark.parametrize(
    ("comment", "silenced"),
    [
        ("# mha-lint: noqa", ["MHA001", "MHA002"]),
        ("# flake8: noqa", ["MHA001", "MHA002"]),
        ("# MHA-LINT: NOQA", ["MHA001", "MHA002"]),
        ("# mha-lint: noqa: MHA001", ["MHA001"]),
        ("# ruff: noqa", []),
        ("x = 1  # mha-lint: noqa", []),
    ],
)
def test_a_comment_on_a_line_of_its_own_silences_the_file(comment: str, silenced: list[str]) -> None:
    text = f"import torch\n\n{comment}\nx = 1\n"
    assert [code for code in ("MHA001", "MHA002") if is_silenced(text, 4, code)] == silenced


def test_text_that_does_not_tokenize_still_honours_the_comments_before() -> None:
    assert is_silenced("x = 1  # noqa\ny = (\n", 1)
