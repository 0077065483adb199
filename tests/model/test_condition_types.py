"""Conditions are told apart by what they are, not by how they are spelled."""

import ast

import pytest

from mha_lint.model.conditions import IS_NONE, Condition, Conditions, Relation, negates
from mha_lint.model.values import State, integer
from tests.model.linting import codes


def read(*texts: str) -> list[Condition]:
    conditions = Conditions(ast.unparse)
    return [conditions.of(ast.parse(text, mode="eval").body) for text in texts]


@pytest.mark.parametrize(
    ("one", "other"),
    [("x.y is None", "x.y is not None"), ("n == 1", "n != 1"), ("f(x)", "f( x )"), ("self.training", "self.training")],
)
def test_tests_that_ask_the_same_are_one_condition(one: str, other: str) -> None:
    first, second = read(one, other)
    assert first is second


@pytest.mark.parametrize(("one", "other"), [("x is None", "x == None"), ("x", "y"), ("n < 1", "n > 1"), ("x", "x.y")])
def test_tests_that_ask_something_else_are_others(one: str, other: str) -> None:
    first, second = read(one, other)
    assert first is not second


def test_a_condition_knows_its_subject_and_what_is_asked() -> None:
    (none,) = read("self.mask is None")
    assert (none.subject, none.relation, none.question) == (("self", "mask"), Relation.IS, IS_NONE)
    assert none.is_none
    (compared,) = read("n == m")
    assert (compared.question, compared.is_none, compared.compares) == (None, False, True)
    one, true = read("n == 1", "n == True")
    assert one.question != true.question
    (inner,) = read("f(mask).dim() > 2")
    assert (inner.subject, inner.attributes) == ((), {"dim"})


def test_is_not_and_unequal_alone_negate_their_condition() -> None:
    tests = ["x is not y", "x != y", "x is y", "x == y", "x < y", "x != y != z"]
    nodes = [ast.parse(text, mode="eval").body for text in tests]
    assert [isinstance(node, ast.Compare) and negates(node) for node in nodes] == [True, True, *[False] * 4]


@pytest.mark.parametrize(
    ("text", "assigned", "forgotten"),
    [
        ("x.y is None", ("x",), True),
        ("f(a, x)", ("x",), True),
        ("a.x is None", ("x",), False),
        ("self.k.z", ("self", "k"), True),
        ("self.key", ("self", "k"), False),
        ("kind == 'x'", ("x",), False),
    ],
)
def test_an_assignment_ends_what_was_known_of_conditions_that_name_it(
    text: str, assigned: tuple[str, ...], forgotten: bool
) -> None:
    (condition,) = read(text)
    state = State(conditions={condition: True})
    state.forget_conditions_on(assigned)
    assert (not state.conditions) is forgotten


def test_conditions_on_local_variables_do_not_hold_in_other_methods() -> None:
    of_self, of_local, of_module = read("self.mode == 1", "self.mode == n", "self.mode == MODE")
    state = State({"n": integer(1)}, conditions={of_self: True, of_local: True, of_module: True})
    assert set(state.conditions_on_self) == {of_self, of_module}


def test_a_parameter_is_not_the_local_variable_of_that_name_in_the_caller() -> None:
    text = """import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, mode):
        super().__init__()
        self.mode = mode
        self.qkv = nn.Linear(dim, 3 * dim)

    def forward(self, x, n):
        if self.mode == n:
            return self.merged(x, n + 1)
        return x

    def merged(self, x, n):
        if self.mode == n:
            return x
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, 4, c // 4).unbind(2)
        att = (q.transpose(1, 2) @ k.transpose(1, 2).transpose(-2, -1)).softmax(-1)
        return (att @ v.transpose(1, 2)).transpose(1, 2).view(b, t, c)
"""
    assert "MHA001" in codes(text)
