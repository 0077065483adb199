"""What another module uses wrongly is told at the call of this one that hands it over, and told once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.files import decode
from mha_lint.findings import Finding
from mha_lint.linter import lint
from tests.model.linting import NOT_SPEED

HELPERS = """
import torch
import torch.nn.functional as F


def fused(q, k, v, mask=None, p=0.0, causal=False):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p, is_causal=causal)


def through(q, k, v, **more):
    return fused(q, k, v, **more)


def twice(query, key, value, bias, rate):
    if bias is not None:
        bias = bias[:, None]
    return fused(query, key, value, bias, rate)


def by_hand(q, k, v, mask, fill=float("-inf"), rate=0.0):
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(mask, fill)
    return F.dropout(scores.softmax(-1), rate) @ v


def kept(q, k, v, mask, fill=float("-inf"), rate=0.0, training=False):
    scores = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).float()
    scores = scores.masked_fill(~mask, fill)
    return F.dropout(scores.softmax(-1), rate, training=training) @ v


class Fused(torch.nn.Module):
    def __init__(self, causal=False):
        super().__init__()
        self.causal = causal

    def forward(self, q, k, v, mask=None, p=0.0):
        p = p if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p, is_causal=self.causal)
"""
USER = """
import torch
from torch import nn
from .helpers import Fused, by_hand, fused, kept, through, twice

TABLE = {{"fused": fused, "twice": twice}}


class Attention(nn.Module):
    def __init__(self, width, heads, p=0.1, kind="fused"):
        super().__init__()
        self.heads = heads
        self.p = p
        self.kind = kind
        self.inner = Fused()
        self.to_q, self.to_k, self.to_v, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x):
        b, t, c = x.shape
        return x.view(b, t, self.heads, c // self.heads).transpose(1, 2)

    def forward(self, x, past=None, given=None, prefill=False):
        b, t, c = x.shape
        q, k, v = self.split(self.to_q(x)), self.split(self.to_k(x)), self.split(self.to_v(x))
        future = torch.ones(t, t, device=x.device).triu(1).bool()
        {body}
        return self.out(y.transpose(1, 2).reshape(b, t, c))
"""
WRONG = [
    ("MHA103", "y = fused(q, k, v, p=self.p)", "self.p"),
    ("MHA103", "y = fused(q, k, v, None, self.p)", "self.p"),
    ("MHA103", "y = twice(q, k, v, given, self.p)", "self.p"),
    ("MHA103", "y = by_hand(q, k, v, future, rate=0.1)", "0.1"),
    ("MHA106", "y = fused(q, k, v, future)", "future"),
    ("MHA106", "y = fused(q, k, v, mask=future[None])", "future[None]"),
    ("MHA106", "y = self.inner(q, k, v, future)", "future"),
    ("MHA106", "y = by_hand(q, k, v, ~future)", "~future"),
    ("MHA106", "y = kept(q, k, v, future)", "future"),
    ("MHA106", "y = TABLE[self.kind](q, k, v, future, 0.0)", "future"),
    ("MHA106", "y = TABLE.get(self.kind, fused)(q, k, v, future, 0.0)", "future"),
    ("MHA106", "y = {'fused': fused, 'twice': twice}[self.kind](q, k, v, future, 0.0)", "future"),
    ("MHA113", "y = fused(q, k, v, 1 - future.float())", "1 - future.float()"),
    ("MHA112", "y = fused(q, k, v, given, causal=True)", "True"),
    (
        "MHA109",
        "if past is not None:\n"
        "            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)\n"
        "        y = fused(q, k, v, causal=True)",
        "fused(q, k, v, causal=True)",
    ),
    ("MHA108", "y = by_hand(q, k, v, future, -1e9)", "-1e9"),
    ("MHA111", "y = by_hand(q, k, v, future, fill=-1e-9)", "-1e-9"),
]
RIGHT = [
    "y = fused(q, k, v, p=self.p if self.training else 0.0)",
    "y = self.inner(q, k, v, p=self.p)",
    "y = kept(q, k, v, ~future, rate=self.p, training=self.training)",
    "y = fused(q, k, v, p=0.0)",
    "y = fused(q, k, v, ~future)",
    "y = kept(q, k, v, ~future)",
    "y = by_hand(q, k, v, future)",
    "y = TABLE[self.kind](q, k, v, ~future, 0.0)",
    "y = TABLE['fused'](q, k, v, ~future)",
    "y = fused(q, k, v, given, causal=given is None)",
    "y = fused(q, k, v, given, causal=prefill)",
    "y = kept(q, k, v, ~future, -1e9)",  # it casts
    "y = by_hand(q, k, v, future, fill=-1e4)",
    "if past is not None:\n"
    "            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)\n"
    "        y = fused(q, k, v, causal=q.shape[2] == k.shape[2])",
    "y = through(q, k, v, mask=given, p=0.0)",
]

HELD = """
import torch
import torch.nn.functional as F
from torch import nn


class VoiceAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x, attn_mask=None, is_causal=False):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        k = self.k(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        v = self.v(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, is_causal=is_causal)
        return self.o(y.transpose(1, 2).reshape(b, t, c))
"""
HOLDER = """
from torch import nn
from .voice import VoiceAttention


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attention = VoiceAttention(width, 4)

    def forward(self, x, state, prefill=False):
        mask = {mask}
        return x + self.attention(x, attn_mask=mask, is_causal=prefill)
"""
ADDED = """

def added(q, k, v, mask):
    s = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + mask
    return s.softmax(-1) @ v
"""


def found(path: Path, text: str) -> list[Finding]:
    return [finding for finding in lint(decode(path, text.encode()), NOT_SPEED).findings if finding.severity != "info"]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, text in (("__init__.py", ""), ("helpers.py", HELPERS)):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(("code", "body", "place"), WRONG)
def test_what_is_handed_over_is_told_here(package: Path, code: str, body: str, place: str) -> None:
    text = USER.format(body=body)
    (finding,) = found(package / "user.py", text)
    row = text.splitlines()[finding.location.row - 1]
    shown = row[finding.location.column - 1 : finding.end_location.column - 1]
    assert (finding.code, shown, finding.symbol) == (code, place, "Attention.forward")


@pytest.mark.parametrize("body", RIGHT)
def test_what_is_right_there_is_not_told(package: Path, body: str) -> None:
    assert found(package / "user.py", USER.format(body=body)) == []


def test_the_module_that_uses_it_is_not_accused(package: Path) -> None:
    assert found(package / "helpers.py", HELPERS) == []


def test_a_finding_is_silenced_on_the_line_that_is_told(package: Path) -> None:
    text = USER.format(body="y = fused(q, k, v, future)  # noqa: MHA106")
    assert found(package / "user.py", text) == []


def test_a_fix_that_would_have_to_be_written_elsewhere_says_so(package: Path) -> None:
    (finding,) = found(package / "user.py", USER.format(body="y = fused(q, k, v, future)"))
    assert finding.fix is None
    assert "another file" in finding.no_fix_reason


def test_a_setting_is_looked_up_as_it_was_compared_before(package: Path) -> None:
    """``causal`` hides the future where it is added, and only there."""
    body = (
        "mask = future.float() * -1e4 if self.kind == 'added' else ~future\n"
        "        y = {'added': added, 'chosen': fused}[self.kind](q, k, v, mask)"
    )
    more = ADDED
    assert found(package / "user.py", USER.format(body=body) + more) == []
    other = body.replace("~future", "future")
    assert [each.code for each in found(package / "user.py", USER.format(body=other) + more)] == ["MHA106"]


def test_a_layer_that_only_hands_mask_and_flag_to_another_file_is_told_of(package: Path) -> None:
    (package / "voice.py").write_text(HELD)
    (finding,) = found(package / "layer.py", HOLDER.format(mask="state.mask if prefill else None"))
    assert (finding.code, finding.symbol) == ("MHA112", "Layer.forward")
    for right in ("None if prefill else state.mask", "state.mask", "None"):
        assert found(package / "layer.py", HOLDER.format(mask=right)) == [], right
    assert found(package / "voice.py", HELD) == []
