"""MHA204: when its fix is offered, and what the module can still do with it."""

from __future__ import annotations

import copy
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from mha_lint.edits import apply
from mha_lint.files import decode
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.settings import Settings

TEXT = """\
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim=16, heads=2, length=6):
        super().__init__()
        self.heads, self.length = heads, length
        self.qkv = nn.Linear(dim, 3 * dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        future = torch.ones(self.length, self.length, dtype=torch.bool, device=x.device).triu(1)
        scores = (q @ k.transpose(-2, -1)).masked_fill(future[:t, :t], float("-inf"))
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c)
"""
MADE = "torch.ones(self.length, self.length, dtype=torch.bool, device=x.device).triu(1)"


def found(text: str) -> list[Finding]:
    return list(lint(decode(Path("attention.py"), text.encode()), Settings(select=("MHA204",))).findings)


def fixed(text: str) -> str:
    (finding,) = found(text)
    assert finding.fix is not None, finding.no_fix_reason
    return apply(text, finding.fix.edits)


@pytest.mark.parametrize(
    "made",
    [
        "torch.triu(torch.ones(self.length, self.length, device=x.device), 1).bool()",
        "torch.full((self.length, self.length), True, device=x.device).triu(diagonal=1)",
        "torch.tril(torch.ones(size=(self.length, self.length), device=x.device)) == 0",
        "~torch.ones(self.length, self.length).tril().to(x.device).bool()",
        "torch.arange(self.length, device=x.device)[:, None] < torch.arange(self.length, device=x.device)",
    ],
)
def test_masks_in_many_spellings_are_found(made: str) -> None:
    assert [finding.code for finding in found(TEXT.replace(MADE, made))] == ["MHA204"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (MADE, "torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)"),
        ("def forward(self, x):", "def forward(self, x, n):\n        self.length = n"),
        (MADE, "torch.rand(self.length, self.length, device=x.device).triu(1) > 0.5"),
        ("    def forward", "    @torch.compiler.disable\n    def forward"),
        (f"        future = {MADE}", f"        future = self.future = {MADE}"),
        ("def forward", "def attend"),
        (f"        future = {MADE}\n", f"        future = {MADE}\n        self.kept = future\n"),
        (f"        future = {MADE}\n", f"        if self.cache is None:\n            future = {MADE}\n"),
    ],
)
def test_what_is_another_mask_in_each_call_or_is_kept_is_silent(old: str, new: str) -> None:
    assert old in TEXT
    assert not found(TEXT.replace(old, new))


HEIR = "\n\nclass Longer(Attention):\n    def __init__(self):\n        super().__init__()\n        self.length = 9\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TEXT.replace(", device=x.device", ""), "default device"),
        (TEXT.replace("        self.qkv = nn.Linear(dim, 3 * dim)\n", "").replace("self.qkv(x)", "x"), "no parameters"),
        (TEXT + HEIR, "`Longer` sets what the mask is made of"),
        (
            TEXT.replace("        scores =", "        future.logical_or_(future)\n        scores =", 1),
            "writes into the mask",
        ),
        (
            TEXT.replace(
                "        scores =", "        torch.logical_or(future, future, out=future)\n        scores =", 1
            ),
            "writes into the mask",
        ),
        (
            TEXT.replace("heads, length\n", "heads, length\n        if heads == 1:\n            return\n", 1),
            "may return",
        ),
    ],
)
def test_where_a_buffer_could_be_another_mask_there_is_no_fix(text: str, reason: str) -> None:
    (finding,) = found(text)
    assert finding.fix is None
    assert reason in finding.no_fix_reason


def test_the_fix_is_unsafe_since_no_checkpoint_fills_a_module_that_was_built_on_the_meta_device() -> None:
    (finding,) = found(TEXT)
    assert finding.fix is not None
    assert finding.fix.applicability == "unsafe"
    assert finding.fix.relation == "equivalent"


TWO = TEXT.replace(
    "        return (scores",
    f"        past = {MADE.replace('triu(1)', 'tril(-1)')}\n"
    "        scores = scores.masked_fill(past[:t, :t], -1e4)\n        return (scores",
)


def test_each_mask_of_a_class_is_a_buffer_of_its_own() -> None:
    first, second = found(TWO)
    assert first.fix is not None and second.fix is not None
    text = apply(TWO, [*first.fix.edits, *second.fix.edits])
    assert "future = self._causal_mask\n" in text
    assert "past = self._causal_mask_2\n" in text
    assert 'register_buffer("_causal_mask", ' in text.replace("(\n            ", "(").replace(",\n            ", ", ")
    again = found(apply(TWO, first.fix.edits))
    assert [finding.fix is not None for finding in again] == [True]
    assert "self._causal_mask_2" in fixed(apply(TWO, first.fix.edits))


def module_of(text: str) -> Any:
    torch = pytest.importorskip("torch")
    module = types.ModuleType("rebuilt_mask")
    sys.modules["rebuilt_mask"] = module
    exec(compile(text, "rebuilt_mask.py", "exec"), module.__dict__)
    torch.manual_seed(0)
    return module.Attention()


def test_the_module_is_copied_pickled_cast_and_trained_as_before() -> None:
    torch = pytest.importorskip("torch")
    before, after = module_of(TEXT), module_of(fixed(TEXT))
    assert list(before.state_dict()) == list(after.state_dict())
    with torch.inference_mode():
        after(torch.randn(2, 5, 16))  # nothing of this call may stay behind
    x = torch.randn(2, 6, 16)
    for other in (after, copy.deepcopy(after), pickle.loads(pickle.dumps(after))):
        other.load_state_dict(before.state_dict())
        assert torch.equal(other(x), before(x))
        other(x).sum().backward()
    cast = copy.deepcopy(after).to(torch.bfloat16)
    assert torch.equal(cast(x.bfloat16()), copy.deepcopy(before).to(torch.bfloat16)(x.bfloat16()))
    assert all(buffer.dtype == torch.bool for buffer in cast.buffers())
