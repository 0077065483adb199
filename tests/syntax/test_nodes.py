"""Questions about single nodes."""

from __future__ import annotations

import ast

import pytest

from mha_lint.syntax import nodes


def expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def call(text: str) -> ast.Call:
    node = expression(text)
    assert isinstance(node, ast.Call)
    return node


def function(text: str) -> nodes.Function:
    (node,) = ast.parse(text).body
    assert isinstance(node, nodes.FUNCTIONS)
    return node


def test_children_are_all_that_python_itself_tells_of_but_operators_and_contexts() -> None:
    text = (
        "@a\nasync def f(x, /, y: int = 1, *z, k=2, **w) -> b:\n"
        "  async with c as d, e: pass\n"
        "  async for i in [j async for j in k if l]: del m[n:o:p, ...]\n"
        "  try: raise q from r\n  except s as t: return (yield u)\n  else: await v\n  finally: global g\n"
        "  match aa:\n    case [1, *bb] | {'c': dd, **ee} | ff(gg, hh=ii) as jj if kk: pass\n"
        "  ll = mm if not nn else lambda oo=pp: {**qq, 'rr': f'{ss!r:>{tt}}'}\n"
        "  assert (uu := vv) < ww in xx, -yy @ zz\n"
    )
    apart = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, apart):
            expected = [child for child in ast.iter_child_nodes(node) if not isinstance(child, apart)]
            assert nodes.children(node) == expected


def test_walking_meets_each_node_once() -> None:
    tree = ast.parse("f(a.b, [c])")
    met = list(nodes.walk(tree))
    assert len(met) == len(set(met)) == 8


@pytest.mark.parametrize(
    ("text", "simple"),
    [("x = 1", True), ("import a", True), ("pass", True), ("x", True), ("if a: pass", False), ("class A: pass", False),
     ("async def f(): pass", False), ("match a:\n  case 1: pass", False), ("try: pass\nfinally: pass", False),
     ("with a: pass", False), ("while a: pass", False), ("for a in b: pass", False)],
)  # fmt: skip
def test_statements_that_hold_others_are_not_simple(text: str, simple: bool) -> None:
    (statement,) = ast.parse(text).body
    assert nodes.is_simple(statement) is simple


def test_an_expression_is_no_simple_statement() -> None:
    assert not nodes.is_simple(expression("x"))


@pytest.mark.parametrize(
    ("text", "name"), [("a", "a"), ("a.b.c", "a.b.c"), ("f().b", None), ("a[0].b", None), ("1", None)]
)
def test_dotted_names(text: str, name: str | None) -> None:
    assert nodes.dotted(expression(text)) == name


@pytest.mark.parametrize(("text", "name"), [("a", "a"), ("a.b", "b"), ("f().b", "b"), ("f()", ""), ("1", "")])
def test_the_last_name(text: str, name: str) -> None:
    assert nodes.last_name(expression(text)) == name


@pytest.mark.parametrize(
    ("text", "spelled"), [("'a'", "a"), ("'a' \"b\"", "ab"), ("b'a'", None), ("f'a'", None), ("a", None), ("1", None)]
)
def test_what_a_string_spells(text: str, spelled: str | None) -> None:
    assert nodes.text_of(expression(text)) == spelled


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", True), ("1.5", True), ("0x1", True), ("1j", False), ("True", False), ("-1", False), ("'1'", False)],
)
def test_literals_of_numbers(text: str, number: bool) -> None:
    assert nodes.is_number(expression(text)) is number


def test_parameters_and_their_defaults() -> None:
    made = function("def f(a, /, b, c=1, *d, e, g=2, **h): pass")
    assert [each.arg for each in nodes.parameters(made)] == ["a", "b", "c"]
    assert [each.arg for each in nodes.every_parameter(made)] == ["a", "b", "c", "e", "g"]
    assert {name: ast.unparse(value) for name, value in nodes.defaults(made).items()} == {"c": "1", "g": "2"}
    assert nodes.defaults(function("def f(a, b): pass")) == {}
    assert nodes.receiver(made) == "a"
    assert nodes.receiver(function("def f(*args): pass")) == "self"


def test_static_methods() -> None:
    assert nodes.is_static(function("@staticmethod\ndef f(): pass"))
    assert not nodes.is_static(function("@classmethod\ndef f(cls): pass"))
    lambda_ = expression("lambda: 1")
    assert isinstance(lambda_, ast.Lambda)
    assert not nodes.is_static(lambda_)


@pytest.mark.parametrize(
    ("text", "found"),
    [("f(1, 2)", "2"), ("f(1, dim=2)", "2"), ("f(1, axis=2)", "2"), ("f(1)", None), ("f(*a, 2)", None),
     ("f(*a, dim=2)", "2"), ("f(1, **k)", None)],
)  # fmt: skip
def test_an_argument_by_place_or_name(text: str, found: str | None) -> None:
    node = nodes.argument(call(text), 1, "dim", "axis")
    assert (node if node is None else ast.unparse(node)) == found


@pytest.mark.parametrize(("text", "starred"), [("f(a)", False), ("f(b=a)", False), ("f(*a)", True), ("f(**a)", True)])
def test_starred_calls(text: str, starred: bool) -> None:
    assert nodes.is_starred(call(text)) is starred


@pytest.mark.parametrize(
    ("text", "all_", "first"),
    [("x[0]", ["0"], "0"), ("x[0, 1:2]", ["0", "1:2"], "0"), ("x[:, 0]", [":", "0"], None), ("x[()]", [], None)],
)
def test_indices_of_a_subscript(text: str, all_: list[str], first: str | None) -> None:
    node = expression(text)
    assert isinstance(node, ast.Subscript)
    assert [ast.unparse(each) for each in nodes.indices(node)] == all_
    found = nodes.first_index(node)
    assert (found if found is None else ast.unparse(found)) == first
