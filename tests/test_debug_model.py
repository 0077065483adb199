"""``--debug-model``: what it prints for a module of each kind of attention."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.cli import main

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

CACHED = """\
import torch
from torch import nn


class CrossAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x, memory, past_key=None):
        b, t, c = x.shape
        s = memory.size(1)
        q = self.q(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)
        k = self.k(memory).view(b, s, self.heads, c // self.heads).transpose(1, 2)
        v = self.v(memory).view(b, s, self.heads, c // self.heads).transpose(1, 2)
        if past_key is not None:
            k = torch.cat([past_key, k], dim=2)
        mask = torch.ones(t, s)
        scores = (q @ k.transpose(-2, -1)).masked_fill(mask == 0, float("-inf"))
        weights = scores.softmax(-1)
        y = weights @ v
        y = y.transpose(1, 2).reshape(b, t, c)
        return self.o(y)
"""


def printed(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["--debug-model", str(path)]) == 0
    return capsys.readouterr().out


def row(text: str, name: str) -> str:
    """The first row about a name."""
    return next(line for line in text.splitlines() if line.split()[1:2] == [name])


def test_roles_shapes_and_layouts_stand_beside_the_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cross.py"
    file.write_text(CACHED, encoding="utf-8")
    text = printed(file, capsys)
    assert text.startswith("CrossAttention.forward · cross-attention, key-value cache\n")
    assert row(text, "q").split()[0] == "14"
    assert "query" in row(text, "q") and "memory b·t·" in row(text, "q")
    assert row(text, "v").endswith("value")
    assert row(text, "weights").endswith("weights")
    assert row(text, "y").endswith("context")
    assert "merged heads" in text
    assert row(text, "return").endswith("after the output projection")


def test_sizes_are_told_in_the_functions_own_names(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(EXAMPLES / "needless_contiguous.py", capsys)
    assert "grouped-query" in text.splitlines()[0]
    assert "(b, num_heads, t, self.head_dim)" in row(text, "q")


def test_a_file_that_is_no_python_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "broken.py"
    file.write_text("def f(:\n", encoding="utf-8")
    assert main(["--debug-model", str(file)]) == 2
    assert "broken.py" in capsys.readouterr().err
