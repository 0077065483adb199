"""The bench's mistakes with caches of rotated keys: each is written where it is one, and the rule finds it there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mha_lint.files import decode
from mha_lint.linter import lint
from mha_lint.settings import Settings
from tests.bench.injection.silence import POSITIONS_HANDED_IN
from tests.bench.injection.sites import Site, sites_of

HEAD = """import torch
import torch.nn.functional as F
from torch import nn


def rotate_half(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


class Rotary(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.register_buffer("inv_freq", 10000 ** (-torch.arange(0, dim, 2) / dim))

    def forward(self, x, offset=0):
        positions = torch.arange(x.shape[-2], device=x.device) + offset
        angles = torch.outer(positions.float(), self.inv_freq)
        angles = torch.cat((angles, angles), dim=-1)
        return x * angles.cos() + rotate_half(x) * angles.sin()


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.d = heads, dim // heads
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.rotary = Rotary(self.d)

"""
MADE = """        b, t, c = x.shape
        q = self.q(x).view(b, t, self.heads, self.d).transpose(1, 2)
        k = self.k(x).view(b, t, self.heads, self.d).transpose(1, 2)
        v = self.v(x).view(b, t, self.heads, self.d).transpose(1, 2)
"""
CACHED = f"""    def forward(self, x, past=None):
{MADE}        offset = past[0].shape[2] if past is not None else 0
        q, k = self.rotary(q, offset=offset), self.rotary(k, offset=offset)
        if past is not None:
            k = torch.cat((past[0], k), dim=2)
            v = torch.cat((past[1], v), dim=2)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c), (k, v)
"""
BARE = f"""    def forward(self, x):
{MADE}        q, k = self.rotary(q), self.rotary(k)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c)
"""


def cached_sites(tmp_path: Path, body: str) -> dict[str, Site]:
    path = tmp_path / "attention.py"
    path.write_text(HEAD + body)
    return {
        site.injection.form: site
        for site in sites_of(path, frozenset({"MHA119"}))
        if "table" not in site.injection.form
    }


def rows(text: bytes) -> list[int]:
    findings = lint(decode(Path("attention.py"), text), Settings(select=("MHA119",))).findings
    return [finding.location.row for finding in findings]


@pytest.mark.parametrize("form", ["cached keys rotated again", "positions from 0"])
def test_a_class_with_a_cache_gets_both_mistakes_and_the_rule_finds_them(tmp_path: Path, form: str) -> None:
    site = cached_sites(tmp_path, CACHED)[form]
    assert rows(site.right) == []
    assert len(rows(site.wrong)) == 1
    assert site.silent == ""


def test_a_class_that_counts_positions_gets_a_cache_of_which_they_know_nothing(tmp_path: Path) -> None:
    found = cached_sites(tmp_path, BARE)
    site = found["planted cache without offset"]
    assert rows(site.right) == []
    assert len(rows(site.wrong)) == 1
    assert "planted cache kept after rotation" not in found


def test_a_class_that_is_given_positions_gets_a_cache_of_rotated_keys(tmp_path: Path) -> None:
    given = BARE.replace("(self, x)", "(self, x, pos)").replace(
        "rotary(q), self.rotary(k)", "rotary(q, pos), self.rotary(k, pos)"
    )
    found = cached_sites(tmp_path, given)
    site = found["planted cache kept after rotation"]
    assert rows(site.right) == []
    assert len(rows(site.wrong)) == 1
    assert "planted cache without offset" not in found


def test_no_cache_is_planted_beside_another(tmp_path: Path) -> None:
    assert not any("planted" in form for form in cached_sites(tmp_path, CACHED))


def test_keys_are_not_rotated_later_where_they_join_no_cache(tmp_path: Path) -> None:
    assert "cached keys rotated again" not in cached_sites(tmp_path, BARE)


def test_the_reason_for_silence_is_told_where_the_file_counts_no_positions(tmp_path: Path) -> None:
    path = tmp_path / "attention.py"
    path.write_text(HEAD.partition("class Rotary")[0] + HEAD[HEAD.index("class Attention") :] + CACHED)
    found = [site for site in sites_of(path, frozenset({"MHA119"})) if site.injection.form == "positions from 0"]
    assert [site.silent for site in found] == [POSITIONS_HANDED_IN]
