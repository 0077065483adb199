"""A layout or a number that nobody takes is assigned where execution tells that it was meant; else it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.files import decode
from mha_lint.findings import Finding
from mha_lint.fixing import fix_source
from mha_lint.linter import lint
from mha_lint.settings import Settings
from mha_lint.validation import Validator

pytest.importorskip("torch")

ATTENTION = """\
from torch import nn


class Attention(nn.Module):
    def __init__(self, width=32, heads=4):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, self.d).permute(0, 2, 3, 1, 4).unbind(1)
        scores = q @ k.transpose(-2, -1){scale}
        {line}
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))
"""
SETTINGS = Settings(select=("MHA114",), unsafe_fixes=True)


def fixed(text: str, validator: Validator, tmp_path: Path) -> tuple[str, list[Finding]]:
    source = decode(tmp_path / "attention.py", text.encode())
    found = list(lint(source, SETTINGS).findings)
    assert found, "the rule finds it"
    result = fix_source(source, found, SETTINGS, validator)
    return result.text, [*result.fixed, *result.remaining]


def test_a_scale_that_was_thrown_away_is_assigned(validator: Validator, tmp_path: Path) -> None:
    text = ATTENTION.format(scale="", line="scores.div(self.d**0.5)")
    after, (finding,) = fixed(text, validator, tmp_path)
    assert after == text.replace("scores.div(", "scores = scores.div(")
    assert finding.verdict is not None
    assert finding.verdict.counterexample.startswith("with standard-normal queries and keys of width 8")


def test_a_line_that_is_left_over_stays(validator: Validator, tmp_path: Path) -> None:
    text = ATTENTION.format(scale=" * self.d**-0.5", line="q.contiguous()")
    after, (finding,) = fixed(text, validator, tmp_path)
    assert after == text
    assert finding.verdict is not None
    assert (finding.severity, finding.verdict.unshown) == ("warning", True)
    assert "could not show it wrong: tokens meet: holds" in finding.verdict.reason


def test_a_layout_that_breaks_what_follows_stays(validator: Validator, tmp_path: Path) -> None:
    text = ATTENTION.format(scale=" * self.d**-0.5", line="v.transpose(1, 2)")
    after, (finding,) = fixed(text, validator, tmp_path)
    assert after == text
    assert finding.verdict is not None
    assert finding.verdict.verdict == "refuted"


CHAINED = ATTENTION.replace(
    "        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))",
    "        y = scores.softmax(-1) @ v\n        y.transpose(1, 2).reshape(b, t, c)\n        return self.out(y)",
)


def test_a_chain_without_which_nothing_runs_is_assigned_to_what_it_begins_with(
    validator: Validator, tmp_path: Path
) -> None:
    text = CHAINED.format(scale=" * self.d**-0.5", line="")
    after, (finding,) = fixed(text, validator, tmp_path)
    assert after == text.replace("y.transpose(1, 2).reshape(", "y = y.transpose(1, 2).reshape(")
    assert finding.verdict is not None
    assert finding.verdict.counterexample.startswith("it raises RuntimeError: mat1 and mat2 shapes")


def test_what_raises_for_another_reason_is_not_shown_by_that(validator: Validator, tmp_path: Path) -> None:
    text = CHAINED.format(scale=" * self.d**-0.5", line="scores = scores + x.new_zeros(b + 1, 1, t + 1, t)")
    after, (finding,) = fixed(text, validator, tmp_path)
    assert after == text
    assert finding.verdict is not None
    assert (finding.verdict.verdict, finding.verdict.counterexample) == ("not exercised", "")


def test_a_chain_that_is_left_over_stays(validator: Validator, tmp_path: Path) -> None:
    text = ATTENTION.format(scale=" * self.d**-0.5", line="q.transpose(1, 2).reshape(b, t, c)")
    after, (finding,) = fixed(text, validator, tmp_path)
    assert after == text
    assert finding.verdict is not None
    assert not finding.verdict.counterexample


def test_a_softmax_that_was_thrown_away_is_assigned(validator: Validator, tmp_path: Path) -> None:
    text = ATTENTION.replace("scores.softmax(-1) @ v", "scores @ v")
    text = text.format(scale=" * self.d**-0.5", line="scores.softmax(-1)")
    after, (finding,) = fixed(text, validator, tmp_path)
    assert after == text.replace("        scores.softmax(-1)", "        scores = scores.softmax(-1)")
    assert finding.verdict is not None
    assert "a softmax of scores gives weights, and nothing is weighed by them" in finding.verdict.counterexample


def test_a_softmax_beside_the_one_that_weighs_stays(validator: Validator, tmp_path: Path) -> None:
    text = ATTENTION.format(scale=" * self.d**-0.5", line="scores.softmax(-1)")
    after, (finding,) = fixed(text, validator, tmp_path)
    assert after == text
    assert finding.verdict is not None
    assert not finding.verdict.counterexample


def test_a_constructor_that_raises_for_want_of_a_layout_is_mended(validator: Validator, tmp_path: Path) -> None:
    text = ATTENTION.replace(
        "        self.qkv, self.out",
        "        places = torch.arange(float(self.d)).reshape(-1, 1)\n        places.transpose(0, 1)\n"
        "        self.row = torch.eye(1) @ places\n        self.qkv, self.out",
    ).replace("from torch import nn", "import torch\nfrom torch import nn")
    text = text.format(scale=" * self.d**-0.5", line="q = q + self.row")
    after, (finding,) = fixed(text, validator, tmp_path)
    assert after == text.replace("        places.transpose(", "        places = places.transpose(")
    assert finding.verdict is not None
    assert finding.verdict.counterexample.startswith("it raises RuntimeError: mat1 and mat2 shapes")
