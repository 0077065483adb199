"""Rows, columns and spans are Python's own, whatever stands between them."""

from __future__ import annotations

import ast

import pytest

from mha_lint.findings import Position
from mha_lint.syntax.module import Module

# Characters at which ``str.splitlines`` breaks a row, and Python does not.
NO_NEWLINES = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


def value(module: Module) -> ast.expr:
    """The value of the last statement."""
    last = module.tree.body[-1]
    assert isinstance(last, (ast.Assign, ast.Expr))
    return last.value


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_rows_end_where_python_ends_them(newline: str) -> None:
    text = newline.join([f'note = "{NO_NEWLINES}"  # {NO_NEWLINES}', "", "é = f(x)"])
    module = Module(text)
    node = value(module)
    assert module.source(node) == "f(x)"
    assert module.position(module.span(node)[0]) == Position(3, 5)
    assert module.line(3) == "é = f(x)"
    assert module.line(2) == newline
    assert module.newline == newline


def test_columns_count_characters_and_spans_count_bytes() -> None:
    module = Module('"漢字𝐪é"; y = "é".join(x)')
    node = value(module)
    start, end = module.span(node)
    assert (start, end) == (len('"漢字𝐪é"; y = '.encode()), len(module.text.encode()))
    assert module.position(start) == Position(1, len('"漢字𝐪é"; y = ') + 1)
    assert module.position(end) == Position(1, len(module.text) + 1)


@pytest.mark.parametrize("text", ["x", "x\n", "", "x = 1\n\n"])
def test_the_end_of_the_text_has_a_position(text: str) -> None:
    module = Module(text)
    assert module.position(0) == Position(1, 1)
    end = module.position(len(text))
    assert module.line(end.row)[: end.column - 1] == text.split("\n")[end.row - 1] + "\n" * text.endswith("\n")


def test_the_first_newline_is_that_of_the_text() -> None:
    assert [Module(text).newline for text in ("", "x", "a\r\nb\n", "a\nb\r\n", "a\rb")] == [
        "\n",
        "\n",
        "\r\n",
        "\n",
        "\r",
    ]


def test_the_text_of_a_statement_begins_with_its_decorators() -> None:
    module = Module("@first\n@second(\n    1,\n)\nasync def f(): pass\n")
    (function,) = module.tree.body
    assert module.source(function) == "async def f(): pass"
    assert module.whole(function) == "first\n@second(\n    1,\n)\nasync def f(): pass"


def test_a_tree_that_is_there_already_is_not_made_again() -> None:
    tree = ast.parse("x = 1\n")
    assert Module("x = 1\n", tree).tree is tree
