"""Nodes of ``ast`` are found in the LibCST tree, with their parentheses and commas, however the text is written."""

from __future__ import annotations

import ast

import libcst as cst
import pytest

from mha_lint.edits import apply
from mha_lint.findings import Edit
from mha_lint.syntax.exact import _KINDS, Exact
from mha_lint.syntax.module import Module
from mha_lint.syntax.nodes import walk
from mha_lint.syntax.places import NameOf

TEXTS = {
    "tuples": """
        x = a, b,
        y = (a, b), (c)
        z = ((a, b))
        none = ()
        for i in a, b: pass
        for i in (a, b): pass
        try: pass
        except (A, B): pass
        (x, y), *z = 1, (2), *rest
        def pair(): return a, b
        def more(): x = yield a, b
    """,
    "generators": """
        f(x for x in y)
        f((x for x in y))
        f(((x for x in y)), )
        f(  # (not this one
            x for x in y  # ) nor this one (
        )
        g((f  # ( no
         ( x for x in y )))
        h(x for x in y) (x for x in z)
        h(k=(x for x in y), *(x for x in y), **(k))
    """,
    "nested parentheses": """
        print(((a)), ( ( b ) ), c=((d)))
        ((a)).b((c))[(d)]
        not ( a ) and b or ( c and d ) and e
        a < ( b ) < c
        -(-(a)) ** (b)
        lambda a=(b): (c, d)
        print(a if (b) else (c), [(f) for f in (g)], {(a): (b)}, {*(a), (b)})
        (y := (x))
        x: (int) = (3)
    """,
    "comments": """
        x = (  # one
            a  # two )
            # three (
            + (b)
            .c(  # four
                d,  # five
                # six
            )
        )  # seven
        class K(  # (
            A,
        ):  # )
            pass
    """,
    "definitions": """
        @ a . b ( c )
        # between
        @ b
        class K ( A , m = (1) ) :
            @ property
            async   def m(self, *, a=(1)) -> (int): ...
            def n(self): pass
        @a
        def f(): pass
        async def h():
            await (x)
            return [i async for i in y]
        def generate():
            x = y = (yield)
            yield from (z)
    """,
    "strings": """
        "a" "b" f"{c}"
        f"{a}: {b!r:>{c}} {{d}}" rf'{(e)}'
        (
            b"a"
            b"b"
        )
        1, 1.0, 1j, ..., None, True
        '''a
        b''' .strip()
    """,
    "characters beyond ASCII": """
        größe = (ñ) . ö
        x = "é", größe, (größe), "日本"  # 長さ
        ﬁ.ﬁ(ﬁ)
    """,
    "backslashes": """
        x = \\
          ( a
          ), \\
          b
        y = a \\
            . b \\
            (c)
    """,
    "form feeds": """
        x = (a)
        \f
        y = (b), \f (c)
    """,
    "patterns": """
        match x, (y):
            case K.a: pass
            case (a, b): pass
            case K(a=-1): pass
    """,
}  # fmt: skip


def dedented(text: str) -> str:
    return text.replace("\n        ", "\n").strip() + "\n"


def exact(text: str) -> Exact:
    return Exact(Module(text))


def asked_for(places: Exact) -> list[ast.AST]:
    """The nodes of the kinds that fixers ask for, but for those that LibCST has no node for."""
    found = [node for node in walk(places.module.tree) if type(node) in _KINDS]
    inside = {each for node in found if isinstance(node, ast.JoinedStr) for each in walk(node) if each is not node}
    return [node for node in found if node not in inside and not is_several_indices(node, places)]


def is_several_indices(node: ast.AST, places: Exact) -> bool:
    parent = places.parent(node)
    in_brackets = isinstance(node, ast.Tuple) and isinstance(parent, ast.Subscript) and parent.slice is node
    return in_brackets and not places.module.source(node).startswith("(")


def squeezed(text: str) -> str:
    """The text without white space: LibCST writes a node by itself with less indentation."""
    return "".join(text.split())


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("name", TEXTS)
def test_every_node_is_found_with_its_kind_and_its_text(name: str, newline: str) -> None:
    places = exact(dedented(TEXTS[name]).replace("\n", newline))
    nodes = asked_for(places)
    assert nodes
    for node in nodes:
        found = places.node(node)
        assert found is not None, f"{name}: {places.module.source(node)}"
        assert isinstance(found, _KINDS[type(node)])
        if isinstance(found, (cst.ClassDef, cst.FunctionDef)):
            assert found.name.value == places.source(NameOf(node))
        else:
            assert squeezed(places.whole(node)) == squeezed(cst.Module([]).code_for_node(found))


@pytest.mark.parametrize("name", TEXTS)
def test_no_two_nodes_are_the_same_node(name: str) -> None:
    places = exact(dedented(TEXTS[name]))
    found = [places.node(node) for node in asked_for(places)]
    assert len(set(found)) == len(found)


def test_several_indices_have_no_node_of_their_own_unless_they_are_in_parentheses() -> None:
    places = exact("x[a, b:c]\nx[(a, b)]\nx[a,]\n")
    several = [node for node in walk(*places.module.tree.body) if isinstance(node, ast.Tuple)]
    kinds = {places.source(node): type(places.node(node)) for node in several}
    assert kinds == {"a, b:c": type(None), "a, b": cst.Tuple, "a,": type(None)}


def value(text: str) -> tuple[Exact, ast.expr]:
    """The expression in the first statement of a text."""
    places = exact(text)
    statement = places.module.tree.body[0]
    assert isinstance(statement, (ast.Expr, ast.Assign))
    return places, statement.value


@pytest.mark.parametrize(
    ("text", "source", "whole"),
    [
        ("x = ((a, b))\n", "a, b", "((a, b))"),
        ("x = a, (b),\n", "a, (b),", "a, (b),"),
        ("x = ( # one\n  a)\n", "a", "( # one\n  a)"),
        ("x = (a) + (b)\n", "(a) + (b)", "(a) + (b)"),
        ("x = ((y for y in z))\n", "y for y in z", "((y for y in z))"),
        ("x = ((é)).ö\n", "((é)).ö", "((é)).ö"),
        ("x = ()\n", "", "()"),
    ],
)
def test_the_source_is_without_parentheses_and_the_whole_with_them(text: str, source: str, whole: str) -> None:
    places, node = value(text)
    assert (places.source(node), places.whole(node)) == (source, whole)
    assert places.is_parenthesized(node) == (source != whole)


def test_a_bare_generator_is_without_the_parentheses_of_its_call() -> None:
    places, call = value("f(  # (\n    x for x in y  # )\n)\n")
    assert isinstance(call, ast.Call)
    (generator,) = call.args
    assert places.source(generator) == places.whole(generator) == "x for x in y"
    assert not places.is_parenthesized(generator)


@pytest.mark.parametrize(
    ("text", "behind"),
    [("f(a, )\n", ""), ("f(a, b)\n", None), ("f()\n", None), ("f((a),  # b,\n  **(c)  ,  # d\n)\n", "  # d")],
)
def test_the_comma_behind_the_last_argument(text: str, behind: str | None) -> None:
    places, call = value(text)
    assert isinstance(call, ast.Call)
    comma = places.comma_behind(call)
    if behind is None:
        assert comma is None
    else:
        assert comma is not None
        line = places.line(comma.row).rstrip("\n")
        assert line[: comma.column - 1].endswith(",")
        assert line[comma.column - 1 :].strip(" )") == behind.strip()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("x.a()\n", "x"),
        ("(x).a()\n", "(x)"),
        ("(\n    x\n    .b()\n    .a()\n)\n", "(\n    x\n    .b()\n)\n"),
        ("((x)  # why\n .a())\n", "((x)  # why\n )"),
    ],
)
def test_a_call_is_deleted_behind_its_receiver(text: str, wanted: str) -> None:
    places, call = value(text)
    assert isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
    deleted = Edit(places.end_of_receiver(call.func), places.end(call), "")
    assert apply(text, [deleted]).strip() == wanted.strip()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("x.a()\n", "x.new().a()\n"),
        ("(x) . a()\n", "(x) . new().a()\n"),
        ("(\n    x\n    .a()\n)\n", "(\n    x\n    .new()\n    .a()\n)\n"),
        ("y = ñ.ﬁ()\n", "y = ñ.new().ﬁ()\n"),
    ],
)
def test_a_call_is_inserted_before_a_method(text: str, wanted: str) -> None:
    places, call = value(text)
    assert isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
    assert apply(text, [places.call_before(call.func, "new()")]) == wanted


def test_lines_are_added_behind_a_statement_and_deleted_with_it() -> None:
    text = "if a:\r\n\tb = (\r\n\t\t1\r\n\t)  # one\r\n\tc = 2\r\n"
    places = exact(text)
    (condition,) = places.module.tree.body
    assert isinstance(condition, ast.If)
    first, second = condition.body
    added = places.lines_after(first, ["d = 3", "", "e = 4"])
    assert apply(text, [added]) == text.replace("# one\r\n", "# one\r\n\td = 3\r\n\r\n\te = 4\r\n")
    assert apply(text, [places.without_statement(second)]) == text.replace("\tc = 2\r\n", "")
    assert apply(text, [places.without_statement(first)]) == "if a:\r\n\t# one\r\n\tc = 2\r\n"
