"""Positions that a module of another file adds along the batch are told at the call that hands it a tensor."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.files import decode
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.settings import Settings

POSITIONS = """
import math

import torch
from torch import nn


class PositionalEncoder(nn.Module):
    def __init__(self, d_model, dropout=0.1, longest=5000):
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        position = torch.arange(longest).unsqueeze(1)
        step = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(longest, 1, d_model)
        pe[:, 0, 0::2] = torch.sin(position * step)
        pe[:, 0, 1::2] = torch.cos(position * step)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return self.dropout(x + self.pe[: x.size(0)])
"""
MODEL = """
from torch import nn

from .positions import PositionalEncoder


class Series(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed = nn.Linear(3, c)
        self.positions = PositionalEncoder(c)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(c, 4, batch_first=True), 2)

    def forward(self, x):
        x = self.embed(x)
        x = self.positions(x)
        return self.encoder(x)
"""


def found(folder: Path, *, positions: str = POSITIONS, model: str = MODEL) -> list[Finding]:
    (folder / "__init__.py").touch()
    (folder / "positions.py").write_text(positions)
    path = folder / "model.py"
    path.write_text(model)
    return list(lint(decode(path, path.read_bytes()), Settings(select=("MHA116",))).findings)


def test_the_call_is_told_where_the_batch_comes_first(tmp_path: Path) -> None:
    (finding,) = found(tmp_path)
    assert finding.location.row == MODEL[: MODEL.index("self.positions(x)")].count("\n") + 1
    assert finding.symbol == "Series.forward"
    assert finding.fix is None
    assert finding.no_fix_reason == "the positions are added in another file"


def test_the_file_that_adds_them_says_nothing_by_itself(tmp_path: Path) -> None:
    found(tmp_path)
    path = tmp_path / "positions.py"
    assert lint(decode(path, path.read_bytes()), Settings(select=("MHA116",))).findings == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (", batch_first=True", ""),
        ("self.positions(x)", "self.positions(x.transpose(0, 1)).transpose(0, 1)"),
    ],
)
def test_tokens_that_come_first_are_left_alone(tmp_path: Path, before: str, after: str) -> None:
    assert found(tmp_path, model=MODEL.replace(before, after)) == []


def test_each_call_is_judged_by_what_it_hands_over(tmp_path: Path) -> None:
    both = MODEL.replace("self.encoder(x)", "self.encoder(x), self.positions(x.transpose(0, 1))")
    (finding,) = found(tmp_path, model=both)
    assert both.splitlines()[finding.location.row - 1].strip() == "x = self.positions(x)"


def test_positions_along_the_tokens_are_left_alone(tmp_path: Path) -> None:
    right = POSITIONS.replace("self.pe[: x.size(0)]", "self.pe[: x.size(1)].transpose(0, 1)")
    assert found(tmp_path, positions=right) == []


def test_what_another_file_tells_is_a_dependency(tmp_path: Path) -> None:
    found(tmp_path)
    path = tmp_path / "model.py"
    dependencies = lint(decode(path, path.read_bytes()), Settings(select=("MHA116",))).dependencies
    assert str(tmp_path / "positions.py") in dependencies
