"""Sizes are learnt from what the code insists on, and from names that mean one size."""

import pytest

from tests.model.linting import codes

INSISTS = """import torch
from torch import nn

from .kernels import cached, weights_of


class Attend(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.d, self.value = heads, dim // heads, nn.Linear(dim, dim)

    def forward(self, x):
        t, b, c = x.size()
        v = cached(self.value(x).view(t, b * self.heads, self.d).transpose(0, 1))
        y = torch.bmm(weights_of(x), v)
        {insists}
        return y.transpose(0, 1).{merged}(t, b, c)
"""


@pytest.mark.parametrize(
    "insists",
    [
        "assert list(y.size()) == [b * self.heads, t, self.d]",
        "assert tuple(y.shape) == (b * self.heads, t, self.d), 'shape'",
        "assert y.shape == (b * self.heads, t, self.d)",
        "assert y.size() == torch.Size([b * self.heads, t, self.d])",
        "assert (b * self.heads, t, self.d) == y.shape",
        "assert y.shape[0] == b * self.heads and y.shape[1] == t and y.shape[2] == self.d",
        "assert y.size(0) == b * self.heads; assert y.size(1) == t; assert y.size(2) == self.d",
        "assert y.shape[:2] == (b * self.heads, t)",
        "torch._assert(y.shape == (b * self.heads, t, self.d), 'shape')",
        "torch._assert(y.size(0) == b * self.heads and y.size(1) == t and y.size(2) == self.d, '')",
        "torch._check(y.shape == (b * self.heads, t, self.d))",
        "if y.shape != (b * self.heads, t, self.d): raise ValueError(y.shape)",
        "if list(y.size()) != [b * self.heads, t, self.d]: raise ValueError(y.shape)",
        "if not y.shape == (b * self.heads, t, self.d): raise ValueError(y.shape)",
        "if y.size(0) != b * self.heads or y.size(1) != t or y.size(2) != self.d: raise ValueError(y.shape)",
    ],
)
def test_sizes_are_learnt_from_what_the_code_insists_on(insists: str) -> None:
    lines = insists.replace("; ", "\n        ").replace(": raise", ":\n            raise")
    assert codes(INSISTS.format(insists=lines, merged="view")) == ["MHA001"]
    assert codes(INSISTS.format(insists=lines, merged="reshape")) == []
    assert codes(INSISTS.format(insists="assert y is not None", merged="view")) == []


@pytest.mark.parametrize(
    "insists",
    [
        "if y.shape == (b * self.heads, t, self.d): raise ValueError(y.shape)",
        "assert y.shape != (b * self.heads, t, self.d)",
    ],
)
def test_other_tests_of_a_shape_tell_no_size(insists: str) -> None:
    lines = insists.replace(": raise", ":\n            raise")
    assert codes(INSISTS.format(insists=lines, merged="view")) == []


RANK = """import torch


def merge(x, y):
    INSISTS
    y = torch.relu(y).transpose(1, 2).contiguous().transpose(1, 2)
    return y.VIEW(y.size(0), -1)
"""


@pytest.mark.parametrize("insists", ["assert y.dim() == 3", "assert y.ndim == 3", "assert len(y.shape) == 3"])
def test_a_rank_is_learnt_from_what_the_code_insists_on(insists: str) -> None:
    assert codes(RANK.replace("INSISTS", insists).replace("VIEW", "view")) == ["MHA001"]
    assert codes(RANK.replace("INSISTS", "pass").replace("VIEW", "view")) == []


IMAGES = """from torch import nn


class TokensFromImage(nn.Module):
    def __init__(self, heads, channel, dim):
        super().__init__()
        self.heads, self.scale = heads, channel**-0.5
        self.to_q, self.to_out = nn.Linear(dim, heads * channel), nn.Linear(heads * channel, dim)

    def forward(self, x, z):
        FIRST, m, d = z.shape
        SECOND, c, h, w = x.shape
        pixels = x.flatten(2).transpose(1, 2).unsqueeze(1)
        q = self.to_q(z).view(b, self.heads, m, c)
        weights = (q @ pixels.transpose(2, 3) * self.scale).softmax(dim=-1)
        return z + self.to_out((weights @ pixels).transpose(1, 2).flatten(2))
"""


def test_a_name_that_means_the_batch_of_two_inputs_means_one_size() -> None:
    assert codes(IMAGES.replace("FIRST", "b").replace("SECOND", "b")) == ["MHA102"]
    assert codes(IMAGES.replace("FIRST", "a").replace("SECOND", "b")) == []
