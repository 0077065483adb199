"""Hints: what the model tells validation of the inputs that a class takes."""

from __future__ import annotations

from mha_lint.model.attention import analyse
from mha_lint.model.hints import input_hints
from mha_lint.syntax.module import Module

SOURCE = """
import torch
from torch import nn


class Cross(nn.Module):
    def __init__(self, dim, memory_dim, heads):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(memory_dim, 2 * dim)

    def forward(self, x, memory, mask=None, scale=1.0):
        b, t, c = x.shape
        _, s, _ = memory.shape
        q = self.q(x).view(b, t, self.heads, -1)
        k, v = self.kv(memory).view(b, s, 2, self.heads, -1).unbind(2)
        return torch.einsum("bthd,bshd->bhts", q, k).softmax(-1) @ v.transpose(1, 2)
"""


def test_hints_name_the_layers_whose_width_an_input_has_and_share_letters() -> None:
    hints = input_hints(analyse(Module(SOURCE)), "Cross.forward")
    assert hints == {"x": ("b", "t", "self.q.in_features"), "memory": ("b", "s", "self.kv.in_features")}


def test_a_size_that_a_branch_tells_is_no_size_of_the_input() -> None:
    source = SOURCE.replace(
        "        b, t, c = x.shape\n", "        b, t, c = x.shape\n        step = t == 1 and scale < 2\n"
    )
    source = source.replace("return torch", "q = q * 2 if step else q\n        return torch")
    hints = input_hints(analyse(Module(source)), "Cross.forward")
    assert hints["x"] == ("b", "t", "self.q.in_features")


def test_no_hint_for_a_function() -> None:
    assert input_hints(analyse(Module("def f(x):\n    return x\n")), "f") == {}
