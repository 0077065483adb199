"""Each node of ``ast`` has its LibCST node, and edits written on it touch nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import libcst as cst
import pytest

from mha_lint.edits import apply
from mha_lint.files import Source, decode
from mha_lint.linter import parse
from mha_lint.syntax.exact import _KINDS, Exact, Unreadable
from mha_lint.syntax.places import NameOf

# Every kind of expression, in and out of parentheses, among rows and characters of all kinds.
EVERYTHING = '''\
import torch  # é\u2028\x0c
NOTE = "\x0c\x1c\u2028"; DOC = """
\x0c"""; 漢字 = (torch . float \\
  .real)
@first
@second(
    (torch.float),
)
class A((B), metaclass=(M)):
    x: (int) = ((1))
    async def f(self, x, /, y=(1, 2), *z, k=(lambda q=(3): (q)), **w) -> (int):
        async with (a) as b, c() as (d): pass
        async for i in (j async for j in (k) if (l)): del m[n:(o):p, ...], (r)
        return (yield), (await (x)), await x, (yield from ((1), *z))
def g(x, *z):
    (a), b = (((x, 1))), [(x), *z]; c = {(1): 2, **x}; d = {(1), 2}
    f(i for i in x), f((i for i in x)), f(((i) for i in x), 1), sum([i for i in x])
    s = {i for i in x}, {i: (i) for i in x}, ((a := 1)), x[(1, 2)], x[1, 2], x[a:(b)]
    t = (not a) and (b or c) or (d), -(-a) ** (~b), a < (b) <= c is not d not in e
    u = f"{a!r:>{b}}" "x" 'y', b"z", 1j, 0x1F, True, None, ..., "a" "b"
    v = (a if (b) else (c)), (x).y.z(1, b=(2), **w)[0]().q, (
        x  # )
        . view  # (
        (1, 2,)
    )
    match (x):
        case a.b | -1 | [1, *q] | {"k": w, **r} | C(1, k=(2)) if (y): pass
    if (x): y = (1); z = x.view(1)
    return
'''


def source(text: str) -> Source:
    return decode(Path("module.py"), text.encode())


def exact(text: str) -> Exact:
    read = source(text)
    return Exact(parse(read))


def newlines(text: str) -> dict[str, str]:
    return {"lf": text, "crlf": text.replace("\n", "\r\n"), "cr": text.replace("\n", "\r")}


def formatted(tree: ast.AST) -> set[ast.AST]:
    """All that stands in f-strings: Python before 3.12 does not know where."""
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    return {below for string in strings for below in ast.walk(string) if below is not string}


@pytest.mark.parametrize("text", newlines(EVERYTHING).values(), ids=newlines(EVERYTHING).keys())
def test_every_node_has_its_node_of_libcst(text: str) -> None:
    places = exact(text)
    inside = formatted(places.module.tree)
    kinds = set()
    for node in ast.walk(places.module.tree):
        if type(node) not in _KINDS or node in inside:
            continue
        found = places.node(node)
        if isinstance(node, ast.Tuple) and not places.source(node).startswith("(") and found is None:
            assert isinstance(places.parent(node), ast.Subscript)
            continue
        assert found is not None, places.source(node)
        kinds.add(type(node))
        if isinstance(node, ast.expr):
            written = ast.parse(f"({cst.Module([]).code_for_node(found)}\n)", mode="eval").body
            same = ast.unparse(written).replace(r"\n\n", r"\n\x0c")  # LibCST is given a form feed as a newline
            assert same == ast.unparse(node)
            assert ast.unparse(ast.parse(f"({places.whole(node)}\n)", mode="eval").body) == ast.unparse(node)
    assert kinds == set(_KINDS)


@pytest.mark.parametrize(
    ("text", "whole", "parenthesized"),
    [
        ("y = x", "x", False),
        ("y = ((x))", "((x))", True),
        ("y = ( # a\n x)", "( # a\n x)", True),
        ("y = (1, 2)", "(1, 2)", True),
        ("y = 1, 2", "1, 2", False),
        ("y = ((1, 2))", "((1, 2))", True),
        ("y = f(x)", "f(x)", False),
        ("y = f((x))", "f((x))", False),
        ("y = (a)(b)", "(a)(b)", False),
        ("y = ((a)(b))", "((a)(b))", True),
    ],
)
def test_parentheses_around_an_expression_are_its_own(text: str, whole: str, parenthesized: bool) -> None:
    places = exact(text + "\n")
    (assign,) = places.module.tree.body
    assert isinstance(assign, ast.Assign)
    assert places.whole(assign.value) == whole
    assert places.is_parenthesized(assign.value) is parenthesized
    assert text.endswith(whole)
    assert places.end_of_whole(assign.value) == places.module.position(len(text))


def test_a_generator_shares_the_parentheses_of_its_call() -> None:
    places = exact("f(i for i in x)\nf((i for i in x))\n")
    bare, own = (node for node in ast.walk(places.module.tree) if isinstance(node, ast.GeneratorExp))
    assert (places.source(bare), places.source(own)) == ("i for i in x", "i for i in x")
    assert (places.is_parenthesized(bare), places.is_parenthesized(own)) == (False, True)


def test_names_are_found_as_they_are_spelled() -> None:
    places = exact("class A: pass\n@a\nasync  def  f(): pass\n(x) . 𝐯𝐢𝐞𝐰\n")
    spots = [*places.module.tree.body[:2]]
    (attribute,) = (node for node in ast.walk(places.module.tree) if isinstance(node, ast.Attribute))
    assert [places.source(NameOf(each)) for each in (*spots, attribute)] == ["A", "f", "𝐯𝐢𝐞𝐰"]


# --- texts that LibCST does not give back ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "\fx = 1\n\fy = x.view(1)\n",
        "if a:\n\f    y = x.view(1)\n",
        "if a:\n  \f    y = x.view(1)\n",
        "if a:\n    b = 1\n    \f    y = x.view(1)\n",
        "if a:\n\f\n \f \n    y = x.view(1)\n\f",
        "if a:\n    y = \\\n\f x.view(1)\n",
        'b = "a\\\n\fb"; y = x.view(1)\n',
        'b = """\n\f  b"""; y = x.view(1)\n',
        "b =\f1;\fy =\fx.view(1)  # \f\n",
        "if a:\n    y = (\n\f1, x.view(1))\n",
        "y = x.view(1)\n  \n\t\f\n ",
        "y = x.view(1)  # the end",
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_form_feeds_and_newlines_of_every_kind_leave_each_node_in_its_place(text: str, newline: str) -> None:
    text = text.replace("\n", newline)
    places = exact(text)
    (call,) = (node for node in ast.walk(places.module.tree) if isinstance(node, ast.Call))
    found = places.node(call)
    assert isinstance(found, cst.Call)
    assert isinstance(call.func, ast.Attribute)
    changed = apply(text, [places.replace(NameOf(call.func), "reshape")])
    assert changed == text.replace("view", "reshape")


def test_what_libcst_refuses_is_told_at_its_own_row() -> None:
    text = "x = 1\n\f\f\f\n\fy = 2\n(z): int = 3\n"
    places = exact(text)
    with pytest.raises(Unreadable) as refused:
        places.read(4)
    assert refused.value.place.row == 4


# --- edits -------------------------------------------------------------------------------------------------------


def edited(text: str, *, delete: str = "", behind: str = "") -> str:
    """The text after the statement ``delete`` is deleted, or after lines are written behind a statement."""
    places = exact(text)
    (statement,) = (
        node
        for node in ast.walk(places.module.tree)
        if isinstance(node, ast.stmt) and places.source(node) == (delete or behind)
    )
    edit = places.without_statement(statement) if delete else places.lines_after(statement, ["new", "", "newer"])
    return apply(text, [edit])


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\nx = 1\nb\n", "a\nb\n"),
        ("a\r\nx = 1\r\nb\r\n", "a\r\nb\r\n"),
        ("a\rx = 1\rb\r", "a\rb\r"),
        ("a\nx = 1", "a\n"),
        ("a\nx = 1;", "a\n"),
        ("a\nx = 1 ; \nb\n", "a\nb\n"),
        ("if a:\n    b\n    x = 1  # why\n", "if a:\n    b\n    # why\n"),
        ("if a:\n    b\n    x = 1;  # why\n", "if a:\n    b\n    # why\n"),
    ],
)
def test_a_statement_goes_with_its_line_and_its_semicolon(text: str, left: str) -> None:
    assert edited(text, delete="x = 1") == left


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("x = 1", "x = 1\nnew\n\nnewer"),
        ("x = 1;  # why\nb\n", "x = 1;  # why\nnew\n\nnewer\nb\n"),
        ("if a:\r\n\tx = 1\r\n", "if a:\r\n\tx = 1\r\n\tnew\r\n\r\n\tnewer\r\n"),
        ("if a:\n  b = '''\n'''; x = 1\n", "if a:\n  b = '''\n'''; x = 1\n  new\n\n  newer\n"),
    ],
)
def test_new_lines_follow_a_statement_with_its_indentation(text: str, after: str) -> None:
    assert edited(text, behind="x = 1") == after
    ast.parse(after)


def test_a_call_before_a_method_keeps_comments_and_rows() -> None:
    text = "y = (\n    x  # )\n    .view(1)\n)\n"
    places = exact(text)
    (function,) = (node for node in ast.walk(places.module.tree) if isinstance(node, ast.Attribute))
    changed = apply(text, [places.call_before(function, "contiguous()")])
    assert changed == text.replace(".view", ".contiguous()\n    .view")
    assert places.end_of_receiver(function).row == 3  # behind the comment


def test_the_comma_behind_the_last_argument_is_found() -> None:
    places = exact("f(1, 2 , )\nf(1)\nf()\n")
    calls = [node for node in ast.walk(places.module.tree) if isinstance(node, ast.Call)]
    ends = [places.comma_behind(call) for call in calls]
    assert [end and end.column for end in ends] == [9, None, None]
