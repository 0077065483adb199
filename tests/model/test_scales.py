"""A scale of something else than the width of a head is found, whatever that is called."""

import pytest

from tests.model.linting import found

SCALED = """import math
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads, scale=None):
        super().__init__()
        self.dim, self.heads = dim, heads
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        INIT

    def split(self, x):
        b, t, c = x.shape
        return x.view(b, t, self.heads, c // self.heads).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        FORWARD
        return weights @ v
"""
BY_ATTRIBUTE = "weights = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)"
FUNCTION = "\n\ndef attend(q, k, head_dim):\n    return (q @ k.transpose(-2, -1) / math.sqrt(head_dim)).softmax(-1)\n"
METHOD = FUNCTION.replace("\n\ndef attend(", "\ndef attend(self, ").replace("\n", "\n    ").rstrip() + "\n"
PROPERTY = "\n    @property\n    def head_dim(self):\n        return self.dim\n"


def scaled(init: str = "", forward: str = BY_ATTRIBUTE, more: str = "") -> str:
    """Attention with these statements, each on a row of its own."""
    lines = {"INIT": init or "self.head_dim = dim // heads", "FORWARD": forward}
    text = SCALED
    for word, statements in lines.items():
        text = text.replace(word, statements.replace("; ", "\n        "))
    return text + more


def scales_of(text: str) -> list[str]:
    return [finding.message for finding in found(text) if finding.code == "MHA104"]


def by_scores(scores: str) -> str:
    return f"weights = ({scores}).softmax(-1)".replace("SCORES", "(q @ k.transpose(-2, -1))")


@pytest.mark.parametrize(
    "text",
    [
        # a name for the width of a head is given another
        scaled("head_dim = dim; self.scale = head_dim ** -0.5"),
        scaled("self.head_dim = dim; self.scale = self.head_dim ** -0.5"),
        scaled("head_dim: int = dim; self.scale = head_dim ** -0.5"),
        scaled("heads, head_dim = heads, dim; self.scale = head_dim ** -0.5"),
        scaled("self.head_dim = head_dim = dim; self.scale = head_dim ** -0.5"),
        scaled("head_dim = heads; self.scale = head_dim ** -0.5"),
        scaled("head_dim = dim // 1; self.scale = head_dim ** -0.5"),
        scaled("head_dim = dim // heads * heads; self.scale = head_dim ** -0.5"),
        scaled("head_dim = dim // heads; head_dim *= heads; self.scale = head_dim ** -0.5"),
        scaled("pass", by_scores("SCORES / math.sqrt(self.head_dim)"), PROPERTY),
        # the last size of what isn't split
        scaled(forward="_, _, d_k = x.shape; " + by_scores("SCORES / math.sqrt(d_k)")),
        scaled(forward="_, _, head_dim = x.size(); " + by_scores("SCORES * head_dim ** -0.5")),
        scaled(forward="d_k = x.shape[-1]; " + by_scores("SCORES * d_k ** -0.5")),
        scaled(forward=by_scores("SCORES / math.sqrt(x.size(-1))")),
        scaled(forward=by_scores("SCORES * x.shape[-1] ** -0.5")),
        # an argument
        scaled(forward="weights = attend(q, k, head_dim=self.dim)", more=FUNCTION),
        scaled(forward="weights = attend(q, k, self.dim)", more=FUNCTION),
        scaled(forward="weights = self.attend(q, k, self.dim)", more=METHOD),
        # a root that something is multiplied by, or an inverse that something is divided by
        scaled(forward=by_scores("SCORES.mul(self.head_dim ** 0.5)")),
        scaled(forward=by_scores("SCORES.div(self.head_dim ** -0.5)")),
        scaled("head_dim = dim // heads; self.root = head_dim ** -0.5", by_scores("SCORES * (1 / self.root)")),
        scaled("head_dim = dim // heads; self.scale: float = head_dim ** 0.5"),
        scaled("head_dim = dim // heads; self.scale, self.bias = head_dim ** 0.5, None"),
        scaled("head_dim = dim // heads; root = head_dim ** 0.5; self.scale = root"),
        scaled("head_dim = dim // heads; self.scale = scale or head_dim ** 0.5"),
    ],
)
def test_a_wrong_scale_is_found_whatever_its_parts_are_called_and_however_they_are_handed_on(text: str) -> None:
    assert scales_of(text)


@pytest.mark.parametrize(
    "text",
    [
        scaled("head_dim = dim // heads; self.scale = head_dim ** -0.5"),
        scaled("self.head_dim = int(dim / heads); self.scale = 1 / math.sqrt(self.head_dim)"),
        scaled("head_dim = dim // heads; self.scale = scale or head_dim ** -0.5"),
        scaled(forward=by_scores("SCORES / math.sqrt(self.head_dim)")),
        scaled(forward=by_scores("SCORES / math.sqrt(q.size(-1))")),
        scaled(forward="b, h, t, d_k = q.shape; " + by_scores("SCORES * d_k ** -0.5")),
        scaled(forward="weights = attend(q, k, self.head_dim)", more=FUNCTION),
    ],
)
def test_a_scale_by_the_width_of_a_head_is_right(text: str) -> None:
    assert not scales_of(text)
