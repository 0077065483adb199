"""Mistakes are written into rotations of vectors that were taken apart under their own name."""

from pathlib import Path
from typing import Any

import pytest

from tests.bench.injection.sites import sites_of

torch = pytest.importorskip("torch")

TEXT = """import torch
import torch.nn.functional as F
from torch import nn


class Rotary(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inv_freq = nn.Buffer(1.0 / (10000 ** (torch.arange(0, width, 2).float() / width)))

    def forward(self, x, positions):
        freqs = torch.outer(positions.float(), self.inv_freq.float())
        freqs = torch.cat((freqs, freqs), dim=-1)
        return freqs.cos(), freqs.sin()


def rotate_half(x):
    x = x.unflatten(-1, (2, -1))
    x1, x2 = x.unbind(-2)
    return torch.cat((-x2, x1), dim=-1)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv, self.rotary = heads, nn.Linear(width, 3 * width), Rotary(width // heads)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, self.heads, -1).transpose(1, 2).chunk(3, dim=-1)
        cos, sin = self.rotary(x, torch.arange(t))
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c)
"""


def test_a_vector_that_was_taken_apart_is_put_together_before_it_turns_by_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "attention.py"
    path.write_text(TEXT)
    (site,) = [site for site in sites_of(path) if site.injection.form == "rotation by neighbours"]
    scope: dict[str, Any] = {}
    exec(site.wrong.decode(), scope)
    x = torch.arange(1.0, 9.0).view(1, 8)
    assert scope["rotate_half"](x).tolist() == [[-2.0, 1.0, -4.0, 3.0, -6.0, 5.0, -8.0, 7.0]]
