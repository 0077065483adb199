"""Calls that torch refuses are unknown to the model; whatever else a shape function raises is told as a crash."""

from __future__ import annotations

import ast

import pytest

from mha_lint.model.attention import analyse
from mha_lint.model.layout import Refused, place
from mha_lint.model.operations import TABLE, possible
from mha_lint.model.run import Call
from mha_lint.model.values import NOTHING, State, Value
from mha_lint.syntax.module import Module

HEAD = """import torch
from torch import nn


class Attention(nn.Module):
    def forward(self, a):
        b, t, c = a.shape
        y = torch.zeros(t, c)
        weights = torch.softmax(a @ a.transpose(1, 2), -1)
"""
TENSORS = ("torch.zeros(b, t, c)", "torch.zeros(())", "weights", "a.view(b, t, 2, c // 2).transpose(1, 2)")
REFUSED = (
    "9",
    "-9",
    "9, 9",
    "0, 9",
    "(9, 0), (1, 9)",
    "0, 0",
    "()",
    "(9,) * 9",
    "dim=9",
    "9, (2, 0)",
    "y, 9",
    "other=y",
)
SEVERAL = ("(x, x), 9", "(x, x), -9", "[]", "x, x, x", "x", "'bij,jk->bk', x", "y, x, 9")


@pytest.mark.parametrize("name", sorted(name for name in TABLE if name.isidentifier()))
def test_no_operation_crashes_over_what_torch_refuses(name: str) -> None:
    for tensor in TENSORS:
        calls = [f"x.{name}({arguments})" for arguments in REFUSED]
        calls += [f"torch.{name}({arguments})" for arguments in SEVERAL]
        body = "".join(f"        z = {call}\n" for call in calls)
        analyse(Module(f"{HEAD}        x = {tensor}\n{body}        return z\n", None))


def test_a_dimension_that_is_not_there_is_refused() -> None:
    assert [place(dim, 3) for dim in (-3, -1, 0, 2)] == [0, 2, 0, 2]
    for dim, rank in ((3, 3), (-4, 3), (0, 0), (-1, 0)):
        with pytest.raises(Refused):
            place(dim, rank)


@pytest.mark.parametrize("error", [IndexError, ValueError, ZeroDivisionError])
def test_a_fault_of_a_shape_function_is_told(error: type[Exception]) -> None:
    def raising(kind: type[Exception]) -> Value:
        def transfer(_: Call) -> Value:
            raise kind

        call = Call(None, State(), ast.Constant(0), (), {})  # type: ignore[arg-type]  # nothing asks it
        return possible(transfer)(call)

    assert raising(Refused) == NOTHING
    with pytest.raises(error):
        raising(error)
