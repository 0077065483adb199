"""A finding whose place another's fix rewrote is told so, and counts as fixed only where linting finds it no more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mha_lint.files import decode
from mha_lint.findings import Edit, Finding, Fix, Position
from mha_lint.linter import lint
from mha_lint.settings import Settings
from mha_lint.succession import successors, why_gone

WIDTH_OF_THE_MODEL = """import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.dim, self.heads = dim, heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).unbind(2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        scores = q @ k.transpose(-2, -1) * self.dim ** -0.5
        weights = torch.softmax(scores, dim=-1)
        context = weights @ v
        return self.out(context.transpose(1, 2).reshape(b, t, c))
"""
OF_THE_CONSTRUCTOR = WIDTH_OF_THE_MODEL.replace(
    "self.dim, self.heads = dim, heads", "self.heads = heads\n        self.scale = dim ** -0.5"
).replace("self.dim ** -0.5", "self.scale")
ON_THE_CPU = OF_THE_CONSTRUCTOR.replace("dim ** -0.5", "(dim // heads) ** -0.5").replace(
    "        scores = q @ k.transpose(-2, -1) * self.scale\n",
    "        hidden = torch.triu(torch.ones(t, t), diagonal=1).bool()\n"
    '        scores = (q @ k.transpose(-2, -1) * self.scale).masked_fill(hidden, float("-inf"))\n',
)


def run(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "attention.py").write_text(text, encoding="utf-8")
    always = ["--isolated", "--no-cache", "--device", "cpu"]
    command = [sys.executable, "-m", "mha_lint", *always, *options, "attention.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def codes_left(folder: Path) -> list[str]:
    source = decode(folder / "attention.py", (folder / "attention.py").read_bytes())
    return [finding.code for finding in lint(source, Settings()).findings]


@pytest.mark.parametrize("text", [WIDTH_OF_THE_MODEL, OF_THE_CONSTRUCTOR], ids=["where it is used", "constructor"])
def test_a_diff_tells_each_of_two_overlapping_fixes_once(text: str, tmp_path: Path) -> None:
    """MHA201 rewrites the statement that MHA104 corrects: it is tried again on top of that."""
    pytest.importorskip("torch")
    assert [finding.code for finding in lint(decode(Path("a.py"), text.encode()), Settings()).findings] == [
        "MHA104", "MHA201",
    ]  # fmt: skip
    shown = run(tmp_path, text, "--diff", "--unsafe-fixes")
    assert "scaled_dot_product_attention" in shown.stdout
    assert "not tried" not in shown.stderr
    assert "would not be fixed" not in shown.stderr
    assert "Found 2 findings (1 error, 1 warning): 2 would be fixed (validated on cpu)." in shown.stderr


def test_what_another_fix_took_with_it_is_told_so(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    fixed = run(tmp_path, ON_THE_CPU, "--fix", "--fixable", "MHA201")
    assert codes_left(tmp_path) == []
    assert "MHA110 warning: [fixed]" in fixed.stdout
    assert "= gone: its place was rewritten by the fix of MHA201" in fixed.stdout
    assert "2 fixed (validated on cpu)" in fixed.stdout

    shown = run(tmp_path, ON_THE_CPU, "--diff", "--fixable", "MHA201")
    assert "MHA110 would be gone: its place was rewritten by the fix of MHA201" in shown.stderr
    assert "2 would be fixed (validated on cpu)" in shown.stderr

    report: list[dict[str, Any]] = json.loads(
        run(tmp_path, ON_THE_CPU, "--fix", "--fixable", "MHA201", "--output-format", "json").stdout
    )["findings"]
    told = {entry["code"]: (entry.get("gone"), (entry["validation"] or {}).get("verdict")) for entry in report}
    assert told == {
        "MHA110": ("its place was rewritten by the fix of MHA201", None),
        "MHA201": (None, "validated"),
    }


def test_what_is_still_found_after_a_rewrite_of_its_place_is_not_fixed(tmp_path: Path) -> None:
    """The wrong scale moves into the call of fused attention."""
    pytest.importorskip("torch")
    fixed = run(tmp_path, OF_THE_CONSTRUCTOR, "--fix")
    assert codes_left(tmp_path) == ["MHA104"]
    assert "1 fixed, 1 fixable only with --unsafe-fixes (validated on cpu)" in fixed.stdout


def finding(code: str, row: int, message: str = "wrong", edit: Edit | None = None) -> Finding:
    fix = Fix("safe", "equivalent", "mend it", (edit,)) if edit else None
    place = Position(row, 1), Position(row, 9)
    return Finding(code, "name", "warning", message, "", "a.py", *place, "A.forward", row, fix)


def test_of_several_alike_the_one_at_the_same_place_is_the_same() -> None:
    edits = [Edit(Position(2, 1), Position(2, 5), "a\nb")]
    old = [finding("X1", 1), finding("X1", 3), finding("X2", 5)]
    new = [finding("X1", 4), finding("X2", 9, "put otherwise")]
    assert successors(old, new, edits) == [None, new[0], new[1]]


def test_a_finding_away_from_the_edit_was_mended_by_it_too() -> None:
    applied = [finding("X2", 5, edit=Edit(Position(5, 1), Position(5, 9), ""))]
    assert why_gone(finding("X1", 5), applied) == "its place was rewritten by the fix of X2"
    assert why_gone(finding("X1", 1), applied) == "the fix of X2 mended it too"
