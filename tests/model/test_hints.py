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


WINDOWS = """
from torch import nn


class Windows(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.q = nn.Linear(dim, dim)

    def forward(self, x):
        SHAPE
        return self.q(x).view(b, h * w, p * q, c).softmax(-1)
"""


def test_free_sizes_are_no_head_counts_and_no_two_of_them_share_a_letter() -> None:
    source = WINDOWS.replace("SHAPE", "b, h, w, p, q, c = x.shape")
    hints = input_hints(analyse(Module(source)), "Windows.forward")
    assert hints == {"x": ("b", "t", "s", "H", "W", "self.q.in_features")}


def test_more_free_sizes_than_letters_are_no_hint() -> None:
    source = WINDOWS.replace("SHAPE", "b, h, w, p, q, c = x.shape\n        d, e, f, g, i, c = y.shape")
    source = source.replace("self, x", "self, x, y").replace("self.q(x)", "(self.q(x) + self.q(y).mean())")
    hints = input_hints(analyse(Module(source)), "Windows.forward")
    assert hints == {"x": ("b", "t", "s", "H", "W", "self.q.in_features")}
