"""Equations and patterns are read however their strings are put together."""

import pytest

from tests.model.linting import codes

EQUATION = """import torch
from einops import rearrange, repeat
from math import sqrt
{top}

def attend(q, k, v, first=True):
    {before}
    w = torch.einsum({equation}) * q.shape[-1] ** -0.5
    w = torch.softmax(w, dim={dim})
    return torch.einsum("bhts,bhsd->bhtd", w, v)
"""


@pytest.mark.parametrize(
    ("before", "equation", "top"),
    [
        ("pass", '"bhtd,bhsd->bhts", q, k', ""),
        ("pass", '"bhtd,bhsd", q, k', ""),
        ("pass", '"...td,...sd->...ts", q, k', ""),
        ('axes = "bh"', 'f"{axes}td,{axes}sd->{axes}ts", q, k', ""),
        ('axes = "b h" if first else "h b"', 'f"{axes} t d,{axes} s d->{axes} t s", q, k', ""),
        ('axes = "bh"', 'axes + "td," + axes + "sd->" + axes + "ts", q, k', ""),
        ('axes = "bh"', '"{0}td,{0}sd->{0}ts".format(axes), q, k', ""),
        ('axes = "bh"', '"{a}td,{a}sd->{a}ts".format(a=axes), q, k', ""),
        ('axes = "bh"', '"%std,%ssd->%sts" % (axes, axes, axes), q, k', ""),
        ('left = "b h t d"', 'left + "," + left.replace("t", "s") + "-> b h t s", q, k', ""),
        ("pass", '",".join(["bhtd", "bhsd"]) + "->bhts", q, k', ""),
        ("pass", "SCORES, q, k", 'SCORES = "bhtd,bhsd->bhts"'),
        ("pass", "SCORES, q, k", 'AXES = "bh"\nSCORES = f"{AXES}td,{AXES}sd->{AXES}ts"'),
        ("pass", "SCORES, q, k", 'SCORES = "{0}td,{0}sd->{0}ts".format("bh")'),
        ("pass", "SCORES, q, k", 'LEFT = "bhtd"\nSCORES = LEFT + "," + LEFT.replace("t", "s") + "->bhts"'),
        ("pass", "q, [0, 1, 2, 3], k, [0, 1, 4, 3], [0, 1, 2, 4]", ""),
    ],
)
def test_an_equation_is_read_however_it_is_put_together(before: str, equation: str, top: str) -> None:
    assert codes(EQUATION.format(before=before, equation=equation, top=top, dim=-2)) == ["MHA105"]
    assert codes(EQUATION.format(before=before, equation=equation, top=top, dim=-1)) == []


@pytest.mark.parametrize("name", ["torch.functional.einsum", "torch.einsum", "opt_einsum.contract"])
def test_einsum_is_known_by_its_other_names(name: str) -> None:
    text = EQUATION.replace("torch.einsum({", f"{name}({{")
    text = text.format(before="pass", equation='"bhtd,bhsd->bhts", q, k', top="import opt_einsum", dim=-2)
    assert codes(text) == ["MHA105"]


def test_a_string_with_a_part_that_is_not_known_tells_nothing() -> None:
    for equation in (
        'f"{first}td,bhsd->bhts", q, k',
        '"%s,bhsd->bhts" % first, q, k',
        '"bh{:>2}->t".format("t"), q, k',
    ):
        assert codes(EQUATION.format(before="pass", equation=equation, top="", dim=-2)) == []


HEADS = """import torch
from einops import rearrange
from torch import nn
{top}

class Attention(nn.Module):
    {inside}
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.pattern = "b n (three h d) -> three b h n d"

    def forward(self, x):
        q, k, v = rearrange(self.qkv(x), {pattern}, h=self.heads, three=3)
        w = torch.softmax(q @ k.transpose(-2, -1) * q.shape[-1] ** {power}, dim=-1)
        return w @ v
"""


@pytest.mark.parametrize(
    ("pattern", "top", "inside"),
    [
        ('"b n (three h d) -> three b h n d"', "", ""),
        ("self.pattern", "", ""),
        ("self.SPLIT", "", 'SPLIT = "b n (three h d) -> three b h n d"'),
        ("SPLIT", 'SPLIT = "b n (three h d) -> three b h n d"', ""),
        ('f"b n ({self.PACKED}) -> three b h n d"', "", 'PACKED = "three h d"'),
        ('f"b n (three h d)" + " -> three b h n d"', "", ""),
    ],
)
def test_a_pattern_is_read_wherever_it_is_kept(pattern: str, top: str, inside: str) -> None:
    assert "MHA104" in codes(HEADS.format(pattern=pattern, top=top, inside=inside, power="0.5"))
    assert "MHA104" not in codes(HEADS.format(pattern=pattern, top=top, inside=inside, power="-0.5"))


ELLIPSIS = """import torch
from einops import rearrange
from einops.layers.torch import Rearrange
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads, d):
        super().__init__()
        self.heads, self.scale = heads, d ** {power}
        self.query, self.key, self.value = (nn.Linear(width, heads * d) for _ in range(3))
        self.split = Rearrange("... n (h d) -> ... h n d", h=heads)

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        q, k, v = ({split} for y in (q, k, v))
        w = torch.einsum("...td,...sd->...ts", q, k) * self.scale
        return torch.einsum("...ts,...sd->...td", w.softmax(-1), v)
"""


@pytest.mark.parametrize(
    "split",
    [
        'rearrange(y, "... n (h d) -> ... h n d", h=self.heads)',
        'rearrange(y, "b ... n (h d) -> b h ... n d", h=self.heads)',
        'rearrange(y, "b ... (h d) -> (b h) ... d", h=self.heads)',
        "self.split(y)",
        'rearrange(y, "… n (h d) -> … h n d", h=self.heads)',
        'rearrange(rearrange(y, "... (h d) -> ... h d", h=self.heads), "... n h d -> ... h n d")',
    ],
)
def test_the_width_of_a_head_is_known_though_the_rank_is_not(split: str) -> None:
    assert codes(ELLIPSIS.format(split=split, power="0.5")) == ["MHA104"]
    assert codes(ELLIPSIS.format(split=split, power="-0.5")) == []
