"""Layers without ``batch_first=True`` that another file builds are told at the call that leads there with (b, t, c)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.files import decode
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.settings import Settings

BLOCK = """
from torch import nn


class Block(nn.Module):
    def __init__(self, c, heads=4, dropout=0.1):
        super().__init__()
        self.attend = nn.MultiheadAttention(c, heads, dropout=dropout)
        self.norm = nn.LayerNorm(c)

    def forward(self, x):
        y = self.norm(x)
        return x + self.attend(y, y, y, need_weights=False)[0]
"""
MODEL = """
import torch
from torch import nn

from .block import Block


class Images(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.patches = nn.Conv2d(3, c, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, c))
        self.block = Block(c)

    def forward(self, x):
        b, _, h, w = x.shape
        x = self.patches(x).flatten(2).permute(0, 2, 1)
        x = torch.cat([self.token.expand(b, -1, -1), x], dim=1)
        x = self.block(x)
        return x[:, 0]
"""


def found(folder: Path, *, block: str = BLOCK, model: str = MODEL) -> list[Finding]:
    (folder / "__init__.py").touch()
    (folder / "block.py").write_text(block)
    path = folder / "model.py"
    path.write_text(model)
    return list(lint(decode(path, path.read_bytes()), Settings(select=("MHA117",))).findings)


def test_the_call_that_leads_there_is_told(tmp_path: Path) -> None:
    (finding,) = found(tmp_path)
    assert MODEL.splitlines()[finding.location.row - 1].strip() == "x = self.block(x)"
    assert finding.symbol == "Images.forward"
    assert finding.no_fix_reason == "the layer is built in another file"


def test_the_file_that_builds_the_layer_says_nothing_by_itself(tmp_path: Path) -> None:
    found(tmp_path)
    path = tmp_path / "block.py"
    assert lint(decode(path, path.read_bytes()), Settings(select=("MHA117",))).findings == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("dropout=dropout)", "dropout=dropout, batch_first=True)"),
        ("dropout=dropout)", "dropout=dropout, batch_first=False)"),
        ("dropout=dropout)", "**{'dropout': dropout})"),
        ("y = self.norm(x)", "y = self.norm(x).transpose(0, 1)"),
        ("class Block", "class AcrossFrames"),
    ],
)
def test_layers_that_are_given_what_they_take_are_left_alone(tmp_path: Path, before: str, after: str) -> None:
    block = BLOCK.replace(before, after)
    name = "AcrossFrames" if "AcrossFrames" in after else "Block"
    assert found(tmp_path, block=block, model=MODEL.replace("Block", name)) == []


def test_a_block_that_is_handed_tokens_first_is_left_alone(tmp_path: Path) -> None:
    turned = MODEL.replace("self.block(x)", "self.block(x.transpose(0, 1)).transpose(0, 1)")
    assert found(tmp_path, model=turned) == []
