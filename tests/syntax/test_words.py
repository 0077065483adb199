"""The names that code says: identifiers of its tree, whatever stands in comments and in strings."""

from __future__ import annotations

import ast

import pytest

from mha_lint.syntax.words import names_in, names_said
from mha_lint.vocabulary import CACHE, ROTATION


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.b(c, d=e)", ["a", "b", "c", "d", "e"]),
        ("def f(x, *, y=1):\n    return x\n", ["f", "x", "x", "y"]),
        ("past['key'] # cached", ["key", "past"]),
        ("print('no name at all')", ["print"]),
        ("f'{head_dim} of {width}'", ["head_dim", "width"]),
        ("q @ k", ["k", "matmul", "q"]),
        ("class A(B):\n    def f(self):\n        if x:\n            return y\n", ["A", "B", "f", "self", "x", "y"]),
    ],
)  # fmt: skip
def test_names(text: str, names: list[str]) -> None:
    assert sorted(names_in(ast.parse(text))) == names


def test_statements_inside_are_counted_once() -> None:
    tree = ast.parse("if a:\n    b = a\n")
    branch = tree.body[0]
    assert isinstance(branch, ast.If)
    (inner,) = branch.body
    assert sorted(names_in(inner)) == ["a", "b"]
    assert sorted(names_in(tree)) == ["a", "a", "b"]


def test_meanings_are_asked_of_names_alone() -> None:
    assert names_said(CACHE, ast.parse("torch.cat([past_k, k])"))
    assert not names_said(CACHE, ast.parse("torch.cat([  # of the cache\n    x, 'a cache'])"))
    assert names_said(ROTATION, ast.parse("(cos + 1) * q"))
    assert not names_said(ROTATION, ast.parse("costs * q"))
