"""What a module of another file tells of batch and tokens, where it makes tokens of an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.files import decode
from mha_lint.linter import lint
from mha_lint.settings import Settings

EMBED = """
from torch import nn


class PatchEmbed(nn.Module):
    def __init__(
        self, c, size=None, flatten=True, bias=True, strict=True, pad=False, norm=None, tokens_first=False,
        device=None, dtype=None,
    ):
        super().__init__()
        self.size = size
        self.flatten = flatten
        self.strict = strict
        self.pad = pad
        self.proj = nn.Conv2d(3, c, kernel_size=16, stride=16, bias=bias, device=device, dtype=dtype)
        self.tokens_first = tokens_first
        self.norm = norm(c) if norm else nn.Identity()

    def forward(self, x):
        B, C, H, W = x.shape
        if self.size is not None:
            if self.strict:
                assert H == self.size[0], f"the height {H} is not {self.size[0]}"
                assert W == self.size[1], f"the width {W} is not {self.size[1]}"
        if self.pad:
            x = nn.functional.pad(x, (0, -W % 16, 0, -H % 16))
        x = self.proj(x)
        if self.flatten:
            x = x.flatten(2).TURNED
        if self.tokens_first:
            x = x.transpose(0, 1)
        return self.norm(x)
"""
MODEL = """
import torch
from torch import nn

from .embed import PatchEmbed


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = nn.LayerNorm(c)

    def forward(self, x):
        y = self.norm(x)
        return x + (y @ y.transpose(-2, -1)).softmax(-1) @ y


class Model(nn.Module):
    def __init__(self, c, n, embed_layer=PatchEmbed, device=None, dtype=None):
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        CHANGED
        self.embed = embed_layer(c, **dd)
        self.table = nn.Parameter(torch.zeros(1, n, c, **dd))
        self.block = Block(c)

    def features(self, x):
        x = self.embed(x)
        return self.block(x + self.table.transpose(0, 1)[: x.size(0)])

    def forward(self, x):
        x = self.embed(x)
        return self.block(x + self.table.transpose(0, 1)[: x.size(0)]).mean(-1)
"""


def found(folder: Path, *, turned: str = "transpose(1, 2)", changed: str = "", model: str = MODEL) -> list[int]:
    """The rows of the model in which positions run along the batch."""
    (folder / "__init__.py").touch()
    (folder / "embed.py").write_text(EMBED.replace("TURNED", turned))
    path = folder / "model.py"
    path.write_text(model.replace("CHANGED", changed))
    findings = lint(decode(path, path.read_bytes()), Settings(select=("MHA116",))).findings
    return [finding.location.row for finding in findings]


def rows(text: str) -> list[int]:
    return [number for number, row in enumerate(text.splitlines(), start=1) if "+ self.table" in row]


def test_an_imported_embedding_tells_in_each_method_that_the_batch_comes_first(tmp_path: Path) -> None:
    assert found(tmp_path) == rows(MODEL)


def test_an_embedding_that_gives_tokens_first_is_left_alone(tmp_path: Path) -> None:
    assert found(tmp_path, turned="permute(2, 0, 1)") == []


@pytest.mark.parametrize(
    "changed", ['dd["tokens_first"] = True', "dd.update(tokens_first=True)", "dd = {**dd}", "more(dd)"]
)
def test_a_dictionary_that_is_changed_tells_no_arguments(tmp_path: Path, changed: str) -> None:
    assert found(tmp_path, changed=changed) == []


def test_a_dictionary_that_is_spread_says_which_defaults_hold(tmp_path: Path) -> None:
    without = MODEL.replace('"dtype": dtype}', '"dtype": dtype, "tokens_first": True}')
    assert found(tmp_path, model=without) == []
