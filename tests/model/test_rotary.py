"""Rotary tables and rotations are followed as data: how they are written makes no difference."""

from pathlib import Path

import pytest

from mha_lint.files import read_source
from mha_lint.linter import lint
from mha_lint.settings import Settings
from tests.model.linting import found

MODULE = """import math
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import einsum, nn


class Attention(nn.Module):
    def __init__(self, width, heads, longest=512):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        d = width // heads
        FREQUENCIES
        ANGLES
        LAID
        KEPT

    def turn(self, x):
        TURN

    def rotate(self, x, cos, sin):
        SUM

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, self.heads, -1).transpose(1, 2).chunk(3, dim=-1)
        READ
        y = F.scaled_dot_product_attention(self.rotate(q, cos, sin), self.rotate(k, cos, sin), v)
        return self.out(y.transpose(1, 2).flatten(2))
"""
FREQUENCIES = [
    "f = 1.0 / (10000 ** (torch.arange(0, d, 2).float() / d))",
    "f = 10000.0 ** (-torch.arange(0, d, 2, dtype=torch.float32) / d)",
    "f = torch.exp(torch.arange(0, d, 2).float() * -(math.log(10000.0) / d))",
    "f = torch.exp(-math.log(10000.0) * torch.arange(d // 2).float() / (d // 2))",
    "f = 1.0 / torch.pow(10000.0, torch.arange(0, d, 2).float().div(d))",
    "f = torch.pow(10000.0, torch.arange(0, d, 2)[: d // 2].float() / d).reciprocal()",
]
ANGLES = [
    "a = torch.outer(torch.arange(longest).float(), f)",
    "a = torch.einsum('i,j->ij', torch.arange(longest).float(), f)",
    "a = einsum('n , d -> n d', torch.arange(longest).float(), f)",
    "a = torch.arange(longest)[:, None] * f[None, :]",
    "a = torch.arange(longest).unsqueeze(1) * f",
    "a = (f[:, None] @ torch.arange(longest).float()[None, :]).transpose(0, 1)",
    "a = torch.outer(f, torch.arange(longest)).T",
]
HALVES = [
    "a = torch.cat((a, a), dim=-1)",
    "a = torch.cat([a, a], 1)",
    "a = torch.cat((a,) * 2, -1)",
    "a = torch.cat(tensors=(a, a), dim=-1)",
    "a = a.repeat(1, 2)",
    "a = repeat(a, '... n -> ... (r n)', r=2)",
    "a = torch.stack((a, a), dim=-2).flatten(-2)",
    "a = rearrange(torch.stack((a, a), dim=-1), '... d r -> ... (r d)')",
]
NEIGHBOURS = [
    "a = a.repeat_interleave(2, dim=-1)",
    "a = torch.repeat_interleave(a, 2, dim=1)",
    "a = torch.stack((a, a), dim=-1).flatten(-2)",
    "a = torch.stack([a, a], -1).reshape(longest, -1)",
    "a = repeat(a, 'n f -> n (f r)', r=2)",
    "a = a.unsqueeze(-1).repeat(1, 1, 2).flatten(-2)",
    "a = a[..., None].expand(-1, -1, 2).reshape(longest, d)",
    "a = rearrange(torch.stack((a, a), dim=-1), '... d r -> ... (d r)')",
]
KEPT = [
    (
        "self.register_buffer('cos', a.cos(), persistent=False); self.register_buffer('sin', a.sin())",
        "cos, sin = self.cos[:t], self.sin[:t]",
    ),
    (
        "self.register_buffer('cos', a.cos()[None, None]); self.register_buffer('sin', torch.sin(a)[None, None, :, :])",
        "cos, sin = self.cos[:, :, :t], self.sin[:, :, :t, ...]",
    ),
    ("self.register_buffer('angles', a)", "a = self.angles[:t].to(q); cos, sin = a.cos() * 0.5, a.sin() * 0.5"),
    (
        "self.cos, self.sin = a.cos(), a.sin()",
        "cos, sin = self.cos[:t].unsqueeze(0).unsqueeze(1), self.sin[:t].unsqueeze(0).unsqueeze(1)",
    ),
    (
        "self.cos = nn.Buffer(a.cos(), persistent=False); self.sin = nn.Buffer(a.sin(), persistent=False)",
        "pos = torch.arange(t, device=x.device); cos, sin = self.cos[pos], self.sin[pos]",
    ),
]
BY_HALVES = [
    "x1, x2 = x.chunk(2, dim=-1); return torch.cat((-x2, x1), dim=-1)",
    "x1 = x[..., : x.shape[-1] // 2]; x2 = x[..., x.shape[-1] // 2 :]; return torch.cat((-x2, x1), dim=-1)",
    "h = x.shape[-1] // 2; return torch.cat([-x[..., h:], x[..., :h]], -1)",
    "x1, x2 = rearrange(x, '... (j d) -> ... j d', j=2).unbind(dim=-2); return torch.cat((-x2, x1), dim=-1)",
    "x1, x2 = x.unflatten(-1, (2, -1)).unbind(-2); return torch.stack((-x2, x1), -2).flatten(-2)",
    "h = x.shape[-1] // 2; x1, x2 = x.split([h, h], dim=-1); return torch.cat((-x2, x1), dim=-1)",
]
BY_NEIGHBOURS = [
    "x1 = x[..., ::2]; x2 = x[..., 1::2]; return torch.stack((-x2, x1), dim=-1).flatten(-2)",
    "return torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).reshape(x.shape)",
    "x1 = x[:, :, :, ::2]; x2 = x[:, :, :, 1::2]; return torch.stack([-x2, x1], dim=-1).flatten(3)",
    "x1, x2 = rearrange(x, '... (d r) -> ... d r', r=2).unbind(dim=-1); "
    "return rearrange(torch.stack((-x2, x1), dim=-1), '... d r -> ... (d r)')",
    "x1, x2 = x.view(*x.shape[:-1], -1, 2).unbind(-1); return torch.stack((-x2, x1), dim=-1).flatten(start_dim=-2)",
    "p = x.reshape(*x.shape[:-1], -1, 2); return torch.stack((-p[..., 1], p[..., 0]), dim=-1).view_as(x)",
]
SUMS = [
    "return x * cos + self.turn(x) * sin",
    "return (x.float() * cos + self.turn(x).float() * sin).type_as(x)",
    "a = x * cos; b = self.turn(x) * sin; return a + b",
    "y = x * cos; y += self.turn(x) * sin; return y",
    "return torch.add(cos * x, sin * self.turn(x))",
    "return torch.addcmul(x * cos, self.turn(x), sin)",
]


def mixed(
    laid: str,
    turn: str,
    *,
    frequencies: str = FREQUENCIES[0],
    angles: str = ANGLES[0],
    kept: tuple[str, str] = KEPT[0],
    summed: str = SUMS[0],
) -> bool:
    """Tell whether MHA119 is found in a module that is written so."""
    parts = {"FREQUENCIES": frequencies, "ANGLES": angles, "LAID": laid, "TURN": turn, "SUM": summed}
    parts |= {"KEPT": kept[0], "READ": kept[1]}
    text = MODULE
    for name, part in parts.items():
        text = text.replace(f"        {name}\n", f"        {part}\n")
    return [finding.code for finding in found(text) if finding.code == "MHA119"] == ["MHA119"]


@pytest.mark.parametrize("turn", BY_NEIGHBOURS)
@pytest.mark.parametrize("laid", HALVES)
def test_halves_do_not_fit_neighbours(laid: str, turn: str) -> None:
    assert mixed(laid, turn)


@pytest.mark.parametrize("turn", BY_HALVES)
@pytest.mark.parametrize("laid", NEIGHBOURS)
def test_neighbours_do_not_fit_halves(laid: str, turn: str) -> None:
    assert mixed(laid, turn)


@pytest.mark.parametrize("laid", HALVES)
@pytest.mark.parametrize("turn", BY_HALVES)
def test_halves_fit_halves(laid: str, turn: str) -> None:
    assert not mixed(laid, turn)


@pytest.mark.parametrize("laid", NEIGHBOURS)
@pytest.mark.parametrize("turn", BY_NEIGHBOURS)
def test_neighbours_fit_neighbours(laid: str, turn: str) -> None:
    assert not mixed(laid, turn)


@pytest.mark.parametrize("angles", ANGLES)
@pytest.mark.parametrize("frequencies", FREQUENCIES)
def test_angles_are_told_by_frequencies_and_positions(frequencies: str, angles: str) -> None:
    assert mixed(HALVES[0], BY_NEIGHBOURS[0], frequencies=frequencies, angles=angles)
    assert not mixed(HALVES[0], BY_HALVES[0], frequencies=frequencies, angles=angles)


@pytest.mark.parametrize("summed", SUMS)
@pytest.mark.parametrize("kept", KEPT)
def test_tables_are_kept_and_terms_are_added(kept: tuple[str, str], summed: str) -> None:
    assert mixed(NEIGHBOURS[0], BY_HALVES[0], kept=kept, summed=summed)
    assert not mixed(NEIGHBOURS[0], BY_NEIGHBOURS[0], kept=kept, summed=summed)


@pytest.mark.parametrize(
    ("laid", "turn"),
    [
        ("a = torch.cat((a, a + 1), dim=-1)", BY_NEIGHBOURS[0]),  # two axes, or what else
        ("a = torch.cat((a, a), dim=-1); a = torch.cat((a, a), dim=-1)", BY_NEIGHBOURS[0]),
        ("a = torch.cat((a, a), dim=-1)[:, torch.randperm(d)]", BY_NEIGHBOURS[0]),
        ("a = torch.cat((a, a), dim=0)", BY_NEIGHBOURS[0]),
        ("a = torch.cat((a, a), dim=-1)[..., : d // 2].repeat_interleave(2, -1)", BY_NEIGHBOURS[0]),
        ("a = a.repeat_interleave(2, dim=0)", BY_HALVES[0]),
        ("a = a.repeat_interleave(4, dim=-1)", BY_HALVES[0]),
        (NEIGHBOURS[0], "x1, x2 = x.chunk(2, dim=1); return torch.cat((-x2, x1), dim=1)"),
        (NEIGHBOURS[0], "x1, x2 = x.chunk(2, dim=-1); return torch.cat((x2, x1), dim=-1)"),
        (NEIGHBOURS[0], "x1, x2 = x[..., :3], x[..., 5:]; return torch.cat((-x2, x1), dim=-1)"),
        (HALVES[0], "return torch.cat((-x[..., 1::2], x[..., ::2]), dim=-1)"),
    ],
)
def test_what_is_put_together_in_another_way_is_not_known(laid: str, turn: str) -> None:
    assert not mixed(laid, turn)


TABLE = """import torch


class Table(torch.nn.Module):
    def __init__(self, d):
        super().__init__()
        self.register_buffer("inv_freq", 1.0 / (10000 ** (torch.arange(0, d, 2).float() / d)))

    def forward(self, t):
        angles = torch.outer(torch.arange(t, device=self.inv_freq.device).float(), self.inv_freq)
        angles = angles.repeat_interleave(2, dim=-1)
        return angles.cos(), angles.sin()


def rotate_half(x):
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)
"""
USE = """import torch
from torch import nn
from .tables import Table, rotate_half


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.table, self.query, self.key = Table(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        cos, sin = self.table(x.shape[1])
        q, k = self.query(x), self.key(x)
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        return (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
"""


def test_a_rotation_is_flagged_where_parts_of_other_files_meet(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "tables.py").write_text(TABLE)
    (tmp_path / "use.py").write_text(USE)
    findings = lint(read_source(tmp_path / "use.py"), Settings()).findings
    rotations = [finding for finding in findings if finding.code == "MHA119"]
    assert [finding.location.row for finding in rotations] == [14, 15]
    assert all(finding.fix is None and "another file" in finding.no_fix_reason for finding in rotations)
    (tmp_path / "tables.py").write_text(
        TABLE.replace("angles.repeat_interleave(2, dim=-1)", "torch.cat((angles,) * 2, -1)")
    )
    assert "MHA119" not in [each.code for each in lint(read_source(tmp_path / "use.py"), Settings()).findings]


HANDED = """import torch
import torch.nn.functional as F
from torch import nn


class Rotary(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inv_freq = nn.Buffer(1.0 / (10000 ** (torch.arange(0, width, 2).float() / width)))

    def forward(self, x, positions):
        angles = positions[..., None].float() * self.inv_freq.float()
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


def rotate_half(x):
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)


def rotate(q, k, cos, sin, dim=1):
    cos, sin = cos.unsqueeze(dim), sin.unsqueeze(dim)
    return q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv = heads, nn.Linear(width, 3 * width)

    def forward(self, x, tables):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, self.heads, -1).transpose(1, 2).chunk(3, dim=-1)
        cos, sin = tables
        q, k = rotate(q, k, cos, sin)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c)


class Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads)

    def forward(self, x, tables=None):
        return x + self.attention(self.norm(x), tables)


class Model(nn.Module):
    def __init__(self, width, heads, depth):
        super().__init__()
        self.embedding = nn.Embedding(1000, width)
        self.layers = nn.ModuleList([Layer(width, heads) for _ in range(depth)])
        self.rotary = Rotary(width // heads)

    def forward(self, ids):
        x = self.embedding(ids)
        positions = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
        tables = self.rotary(x, positions)
        for layer in self.layers:
            x = layer(x, tables=tables)
        return x
"""
_LAID = "torch.cat((angles, angles), dim=-1)"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (_LAID, "angles.repeat_interleave(2, dim=-1)"),
        (_LAID, "torch.stack((angles, angles), dim=-1).flatten(-2)"),
        ("torch.cat((-x2, x1), dim=-1)", "torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)"),
    ],
)
def test_tables_that_a_model_hands_to_its_layers_are_followed(right: str, wrong: str) -> None:
    assert "MHA119" not in [each.code for each in found(HANDED)]
    assert "MHA119" in [each.code for each in found(HANDED.replace(right, wrong))]


@pytest.mark.parametrize(
    "wrong", ["inv_freq.to(x.dtype)", "inv_freq.half()", "inv_freq.type_as(x)", "inv_freq.bfloat16()"]
)
def test_frequencies_that_a_model_has_computed_for_its_layers_are_followed(wrong: str) -> None:
    assert "MHA120" not in [each.code for each in found(HANDED)]
    assert "MHA120" in [each.code for each in found(HANDED.replace("inv_freq.float()", wrong))]


def test_the_type_of_positions_under_another_name_may_be_any() -> None:
    """The function is called with what it calls otherwise itself."""
    text = """import torch
from torch import nn


def waves(box, d):
    frequencies = 100 ** (torch.arange(d) / d)
    angles = frequencies.to(box.dtype) * box.unsqueeze(-1)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


class Attention(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.d, self.proj = d, nn.Linear(8 * d, d)

    def forward(self, boxes, x):
        q = self.proj(waves(boxes, self.d))
        return (q @ x.mT).softmax(-1) @ x
"""
    assert "MHA120" not in [each.code for each in found(text)]
    like = text.replace("waves(box, d)", "waves(box, d, x)").replace("waves(boxes, self.d)", "waves(boxes, self.d, x)")
    assert "MHA120" in [each.code for each in found(like.replace("box.dtype", "x.dtype"))]


HALVED = """    cos, sin = cos.unsqueeze(dim), sin.unsqueeze(dim)
    cos = cos[..., : cos.shape[-1] // 2].repeat_interleave(2, dim=-1)
    sin = sin[..., : sin.shape[-1] // 2].repeat_interleave(2, dim=-1)
"""


def test_the_first_half_of_a_table_by_halves_has_each_angle_once() -> None:
    text = HANDED.replace("    cos, sin = cos.unsqueeze(dim), sin.unsqueeze(dim)\n", HALVED)
    assert "MHA119" in [each.code for each in found(text)]
    by_neighbours = "torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)"
    assert "MHA119" not in [each.code for each in found(text.replace("torch.cat((-x2, x1), dim=-1)", by_neighbours))]
    for other in ("// 4]", "- 2]"):
        assert "MHA119" not in [each.code for each in found(text.replace("// 2]", other))]
