"""Which names and attributes have no one value, by the text alone."""

from __future__ import annotations

import ast

import pytest

from mha_lint.syntax.changes import ANY, Changes, read


def changes(text: str) -> Changes:
    return read(ast.parse(text))


@pytest.mark.parametrize(
    "again",
    [
        "X = 2",
        "X: int = 2",
        "X += 1",
        "del X",
        "import X",
        "import a as X",
        "from a import X",
        "def X(): pass",
        "async def X(): pass",
        "class X: pass",
        "for X in a: pass",
        "for _, (*X, _) in a: pass",
        "with a as X: pass",
        "with a as (X, _): pass",
        "if (X := 2): pass",
        "while f(X := 2): pass",
        "f(X := 2)",
        "y = (X := 2)",
        "[X, _] = a",
        "if a: X = 2",
        "if a: pass\nelif b: X = 2",
        "try: X = 2\nexcept A: pass",
        "try: pass\nexcept A: X = 2",
        "try: pass\nexcept A as X: pass",
        "try: pass\nexcept A: pass\nelse: X = 2",
        "try: pass\nfinally: X = 2",
        "for _ in a: pass\nelse: X = 2",
        "match a:\n  case X: pass",
        "match a:\n  case A(b=X): pass",
        "match a:\n  case 1 as X: pass",
        "match a:\n  case [_, *X]: pass",
        "match a:\n  case {'b': 1, **X}: pass",
        "match a:\n  case 1:\n    X = 2",
        "def f():\n  global X",
        "globals()['X'] = 2",
        "from a import *",
        "x = 0; X = 2",
    ],
)
def test_a_name_of_the_module_that_is_bound_again_has_no_one_value(again: str) -> None:
    assert "X" in changes(f"X = 1\n{again}\n").rebound


@pytest.mark.parametrize(
    "other",
    [
        "def f():\n  X = 2",
        "class A:\n  X = 2",
        "def f(X): pass",
        "y = [X for X in a]",
        "X: int",
        "a.X = 2",
        "import X.y",
        "import a.X",
        "match a:\n  case _: pass",
        "match a:\n  case b.X: pass",
    ],
)
def test_the_same_name_elsewhere_is_another(other: str) -> None:
    assert "X" not in changes(f"X = 1\n{other}\n").rebound


@pytest.mark.skipif(not hasattr(ast, "TryStar"), reason="except* came with Python 3.11")
def test_exception_groups_bind_as_other_handlers_do() -> None:
    assert "X" in changes("X = 1\ntry: pass\nexcept* A as X: pass\n").rebound
    assert "X" in changes("X = 1\ntry: pass\nexcept* A: X = 2\n").rebound


def test_overloads_of_a_function_are_one() -> None:
    text = "@typing.overload\ndef f(a): ...\n@overload\ndef f(b): ...\ndef f(c): ...\n"
    assert "f" not in changes(text).rebound


def test_each_class_has_names_of_its_own() -> None:
    tree = ast.parse("class A:\n  x = 1\n  x = 2\nclass B:\n  x = 1\n  def f(self):\n    x = 3\n")
    first, second = tree.body
    found = read(tree)
    assert isinstance(first, ast.ClassDef) and isinstance(second, ast.ClassDef)
    assert found.rebound_in[first] == {"x"}
    assert found.rebound_in[second] == frozenset()


def attribute_changes(body: str, name: str) -> list[tuple[str | None, str | None]]:
    """The class that each change belongs to, and its value, as text."""
    text = f"class A:\n  def f(self, other):\n    {body}\n"
    return [
        (change.owner.name if change.owner else None, ast.unparse(change.value) if change.value else None)
        for change in changes(text).attributes.get(name, [])
    ]


@pytest.mark.parametrize(
    ("body", "change"),
    [
        ("self.x = 1", ("A", "1")),
        ("self.x: int = 1", ("A", "1")),
        ("other.x = 1", (None, "1")),
        ("self.x, y = 1, 2", ("A", None)),
        ("self.x[0] = 1", ("A", None)),
        ("del self.x", ("A", None)),
        ("for self.x in y: pass", ("A", None)),
        ("with y as self.x: pass", ("A", None)),
        ("if y: self.x = 1", ("A", "1")),
        ("self.x.append(1)", ("A", None)),
        ("setattr(self, 'x', 1)", (None, "1")),
        ("setattr(other, 'x', 1)", (None, "1")),
        ("object.__setattr__(other, 'x', 1)", (None, "1")),
    ],
)
def test_an_attribute_that_a_method_sets_changes(body: str, change: tuple[str | None, str | None]) -> None:
    assert attribute_changes(body, "x") == [change]


def test_a_value_that_is_added_to_has_changed_twice() -> None:
    assert attribute_changes("self.x += 1", "x") == [("A", None), ("A", None)]


@pytest.mark.parametrize("body", ["setattr(self, name, 1)", "self.__dict__.update(a)"])
def test_a_computed_attribute_may_be_any(body: str) -> None:
    assert attribute_changes(body, ANY) == [("A", None)]


def test_a_constructor_changes_nothing_of_its_own() -> None:
    assert not changes("class A:\n  def __init__(self):\n    self.x = 1\n    self.x.append(2)\n").attributes


def test_a_function_that_a_method_makes_changes_its_object() -> None:
    (change,) = changes("class A:\n  def f(self):\n    def g():\n      self.x = 1\n").attributes["x"]
    assert change.owner is not None
    assert change.owner.name == "A"
