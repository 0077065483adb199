"""Which assignments reach a statement, and whether a value is read after it."""

from __future__ import annotations

import ast
import textwrap

import pytest

from mha_lint.syntax import usage
from mha_lint.syntax.module import Module
from mha_lint.syntax.places import Places


def at(body: str) -> tuple[Places, ast.stmt]:
    """The places of a function with this body, and its statement ``use(x)``."""
    places = Places(Module(f"def f(x, a):\n{textwrap.indent(body, '    ')}\n"))
    (statement,) = (
        node for node in ast.walk(places.module.tree) if isinstance(node, ast.Expr) and places.source(node) == "use(x)"
    )
    return places, statement


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ("use(x)", False),
        ("use(x)\nreturn x", True),
        ("use(x)\nx = 1\nreturn x", False),
        ("use(x)\nx = x + 1", True),
        ("use(x)\nx += 1", True),
        ("use(x)\nx, y = 1, 2\nreturn x", False),
        ("use(x)\nx.y = 1", True),
        ("use(x); return x", True),
        ("if a: use(x)\nreturn x", True),
        ("use(x)\nif a: x = 1\nreturn x", True),
        ("use(x)\nif a: x = 1\nelse: x = 2\nreturn x", False),
        ("use(x)\nif a: x = 1\nelif x: pass", True),
        ("use(x)\ndef g(): return x", True),
        ("use(x)\ny = lambda: x", True),
        ("for _ in a:\n  x = 1\n  use(x)", False),
        ("for _ in a:\n  print(x)\n  use(x)", True),
        ("for _ in a:\n  use(x)\nelse:\n  print(x)", True),
        ("while x > 1:\n  x = 1\n  use(x)", True),
        ("while a:\n  x = 1\n  use(x)", False),
        ("while a:\n  x = 1\n  if a: use(x)\nreturn x", True),
        ("try:\n  use(x)\nexcept A:\n  print(x)", True),
        ("try:\n  use(x)\nexcept A:\n  x = 1", False),
        ("try:\n  use(x)\nexcept A: pass\nelse:\n  print(x)", True),
        ("try:\n  use(x)\nfinally:\n  print(x)", True),
        ("try: pass\nexcept A:\n  use(x)\nfinally:\n  print(x)", True),
        ("try: pass\nexcept A:\n  use(x)\nexcept B:\n  print(x)", False),
        ("try: pass\nexcept A: pass\nelse:\n  use(x)\nfinally:\n  print(x)", True),
        ("try: pass\nfinally:\n  use(x)", False),
        ("with a:\n  use(x)\nreturn x", True),
        ("match a:\n  case 1:\n    use(x)\nreturn x", True),
        ("match a:\n  case 1:\n    use(x)\n  case _:\n    print(x)", False),
        ("use(x)\nmatch a:\n  case [*x]: pass", True),
        ("use(x)\nmatch a:\n  case {**x}: pass", True),
    ],
)
def test_a_value_is_read_later_where_some_way_on_reads_it(body: str, read: bool) -> None:
    places, statement = at(body)
    assert usage.read_later(statement, "x", places) is read


@pytest.mark.parametrize("head", ["", "class A:\n    "])
def test_a_name_of_a_module_or_a_class_may_be_read_by_others(head: str) -> None:
    places = Places(Module(f"{head}x = 1\n"))
    (statement,) = (node for node in ast.walk(places.module.tree) if isinstance(node, ast.Assign))
    assert usage.read_later(statement, "x", places)


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ("x = 1\nuse(x)", ["1"]),
        ("x = 1; use(x)", ["1"]),
        ("x = 1\nx = 2\nuse(x)", ["2"]),
        ("x = 1\ny = a\nuse(x)", ["1"]),
        ("if a: x = 1\nelse: x = 2\nuse(x)", ["1", "2"]),
        ("x = 0\nif a: x = 1\nuse(x)", ["1", "0"]),
        ("if a: x = 1\nelif b: x = 2\nelse: x = 3\nuse(x)", ["1", "2", "3"]),
        ("use(x)", []),
        ("x = 1\nprint(x)\nuse(x)", []),
        ("x, y = 1, 2\nuse(x)", []),
        ("x = y = 1\nuse(x)", []),
        ("x += 1\nuse(x)", []),
        ("for x in a: pass\nuse(x)", []),
        ("x = 1\nif x: x = 2\nuse(x)", []),
        ("if a: x = 1\nuse(x)", []),
        ("x = 1\nif a: use(x)", []),
        ("x = 1\nmatch a:\n  case [*x]: pass\nuse(x)", []),
        ("x = 1\nimport x\nuse(x)", []),
        ("x = 1\nimport x.y\nuse(x)", []),
        ("x = 1\ntry: pass\nexcept A as x: pass\nuse(x)", []),
    ],
)
def test_the_plain_assignments_that_reach_a_statement(body: str, values: list[str]) -> None:
    places, statement = at(body)
    assert [places.source(each.value) for each in usage.reaching(statement, "x", places)] == values


@pytest.mark.parametrize(
    "text", ["import x", "import x.y", "from a import x", "import a as x", "global x", "def x(): pass"]
)
def test_bindings_are_mentions(text: str) -> None:
    assert usage.mentions(ast.parse(text), "x")
    assert not usage.mentions(ast.parse(text), "y")
