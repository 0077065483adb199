"""What stands around a node, and how its lines look."""

from __future__ import annotations

import ast
from typing import Any, TypeVar

import pytest

from mha_lint.syntax.module import Module
from mha_lint.syntax.places import NameOf, Places

Node = TypeVar("Node", bound=ast.AST)


def places(text: str) -> Places:
    return Places(Module(text))


def found(read: Places, kind: type[Node], source: str) -> Node:
    """The node of a kind whose text is ``source``."""
    (node,) = (each for each in ast.walk(read.module.tree) if isinstance(each, kind) and read.source(each) == source)
    return node


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("x.view", "view"),
        ("x . view", "view"),
        ("x.\\\n  view", "view"),
        ("(x.  # of a.b\n  view)", "view"),
        ("'a.b c'.join", "join"),
        ("x.𝐯𝐢𝐞𝐰", "𝐯𝐢𝐞𝐰"),  # Python reads it as ``view``
        ("é.ﬁt", "ﬁt"),
    ],
)
def test_the_name_of_an_attribute_is_what_stands_behind_its_last_dot(spelled: str, name: str) -> None:
    read = places(spelled)
    (attribute,) = (node for node in ast.walk(read.module.tree) if isinstance(node, ast.Attribute))
    assert read.source(NameOf(attribute)) == name


def test_what_encloses_a_node_is_known_from_the_inside_out() -> None:
    read = places("class A:\n    async def f(self):\n        with a: return lambda: x.view(1)\n")
    call = found(read, ast.Call, "x.view(1)")
    kinds = [type(parent) for parent in read.parents(call)]
    assert kinds == [ast.Lambda, ast.Return, ast.With, ast.AsyncFunctionDef, ast.ClassDef, ast.Module]
    assert getattr(read.function(call), "name", None) == "f"
    assert getattr(read.class_(call), "name", None) == "A"
    assert read.parent(call) is next(read.parents(call))


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("y = f(x)\n", "y = f(x)"),
        ("a = 1; y = f(x); b = 2\n", "y = f(x)"),
        ("if a: y = f(x)\n", "y = f(x)"),
        ("match a:\n    case 1: y = f(x)\n", "y = f(x)"),
        ("if f(x): pass\n", None),
        ("for _ in f(x): pass\n", None),
        ("with f(x): pass\n", None),
        ("match a:\n    case _ if f(x): pass\n", None),
        ("y = lambda: f(x)\n", None),
        ("def g(y=f(x)): pass\n", None),
        ("@f(x)\ndef g(): pass\n", None),
        ("class A(f(x)): pass\n", None),
    ],
)
def test_a_node_in_a_header_or_a_lambda_stands_in_no_simple_statement(text: str, statement: str | None) -> None:
    read = places(text)
    node = read.statement(found(read, ast.Call, "f(x)"))
    assert (node if node is None else read.source(node)) == statement


@pytest.mark.parametrize(
    "text",
    [
        "if a:\n    y = 1\n    z = 2\n",
        "if a:\n    pass\nelse:\n    y = 1\n    z = 2\n",
        "try:\n    pass\nexcept A:\n    y = 1\n    z = 2\n",
        "try:\n    pass\nfinally:\n    y = 1\n    z = 2\n",
        "match a:\n    case 1:\n        y = 1\n        z = 2\n",
        "while a: y = 1; z = 2\n",
    ],
)
def test_the_block_of_a_statement_is_the_list_that_it_stands_in(text: str) -> None:
    read = places(text)
    assert [read.source(each) for each in read.block(found(read, ast.Assign, "y = 1"))] == ["y = 1", "z = 2"]


@pytest.mark.parametrize(
    ("text", "alone"),
    [
        ("y = 1\n", True),
        ("y = 1", True),
        ("    y = 1  # why\n", True),
        ("y = 1;\n", True),
        ("y = 1 ;  # why\n", True),
        ("y = 1; z = 2\n", False),
        ("z = 2; y = 1\n", False),
        ("if a: y = 1\n", False),
        ('z = """\n"""; y = 1\n', False),
    ],
)
def test_a_statement_stands_alone_where_its_lines_hold_no_other(text: str, alone: bool) -> None:
    read = places(f"if b:\n{text}" if text.startswith(" ") else text)
    assert read.stands_alone(found(read, ast.Assign, "y = 1")) is alone


@pytest.mark.parametrize(
    ("text", "indent"),
    [
        ("if a:\n    y = 1\n", "    "),
        ("if a:\n\ty = 1\n", "\t"),
        ("if a:\n    z = 2; y = 1\n", "    "),
        ("if a: y = 1\n", ""),
        ("if b:\n  if a: y = 1\n", "  "),
        ("if b:\n  if (a and\n      b): y = 1\n", "  "),  # the header's own, not that of its last row
        ("if b:\n  try: pass\n  except A: y = 1\n", "  "),
        ("match a:\n  case 1: y = 1\n", "  "),
        ('if a:\n    z = """\n"""; y = 1\n', "    "),  # the row on which it stands begins within a string
        ('if a:\n    x = """\n"""; z = """\n"""; y = 1\n', "    "),
        ("if a:\n    z = (1,\n  2); y = 1\n", "    "),
    ],
)
def test_the_indentation_is_that_of_the_statements_line(text: str, indent: str) -> None:
    read = places(text)
    assert read.indent(found(read, ast.Assign, "y = 1")) == indent


def test_rows_are_all_that_a_node_touches() -> None:
    read = places("y = (\n    1 +\n    2)\n")
    assert read.rows(read.module.tree.body[0]) == (1, 2, 3)


def test_attributes_that_others_set_on_the_tree_change_nothing() -> None:
    """Other plugins of flake8 write on the nodes that they share with this one."""
    text = "class A:\n    def f(self, x):\n        return x.view(1)\n"
    marked: Any = ast.parse(text)
    for node in ast.walk(marked):
        for child in ast.iter_child_nodes(node):
            for name in ("parent", "_parent", "_pyflakes_parent", "previous_sibling", "next_sibling"):
                setattr(child, name, node)
        node.children = list(ast.iter_child_nodes(node))  # type: ignore[attr-defined]  # as other plugins do
    read = Places(Module(text, marked))
    call = found(read, ast.Call, "x.view(1)")
    kinds = [type(parent) for parent in read.parents(call)]
    assert kinds == [ast.Return, ast.FunctionDef, ast.ClassDef, ast.Module]
