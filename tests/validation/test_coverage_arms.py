"""Each arm of a row counts by itself: a changed one that never ran is not validated."""

from __future__ import annotations

import pytest

from .conftest import Check

pytest.importorskip("torch")

pytestmark = pytest.mark.slow

ATTENTION = """
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int = 4):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.short, self.long = 1.0, 2.0

    def double(self, y): return y * 2

    def forward(self, x, mask=None, reverse: bool = False):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        s = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        if mask is not None: s = s.masked_fill(mask == 0, -1e9)
        y = (s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c)
        # here
        return y
"""

UNREACHED = [  # what stands at the comment, what it becomes, and the part of the first that is told
    ("if t > 1000: y = y * 2", "if t > 1000: y = y * 3", "y = y * 2"),
    ("if t > 1000: y = y * 2", "if t > 1000: pass", "y = y * 2"),
    ("y = y * 2 if t > 1000 else y", "y = y * 3 if t > 1000 else y", "y * 2"),
    ("y = y if t < 1000 else y * 2", "y = y if t < 1000 else y * 3", "y * 2"),
    ("y = y if t < 1000 or self.long > 1 else -y", "y = y if t < 1000 or self.short > 1 else -y", "self.long > 1"),
    ("y = -y if t > 1000 and self.long else y", "y = -y if t > 1000 and self.short else y", "self.long"),
    ("y = -y if 1000 < t < 2000 else y", "y = -y if 1000 < t < 3000 else y", "2000"),
    ("f = lambda: y * 2; y = f() if t > 1000 else y", "f = lambda: y * 3; y = f() if t > 1000 else y", "y * 2"),
    ("y = y + sum([2.0 for i in range(t) if i > 1000])", "y = y + sum([3.0 for i in range(t) if i > 1000])", "2.0"),
    ("y = y + len({i: 2 for i in range(t - 1000)})", "y = y + len({2: i for i in range(t - 1000)})", "i"),
    ("y = y + sum(1 for i in range(t - 999) if i > 3)", "y = y + sum(1 for i in range(t - 999) if i > 4)", "i > 3"),
    (
        "y = y + sum(1 for i in range(t - 999) for j in range(2))",
        "y = y + sum(1 for i in range(t - 999) for j in range(3))",
        "for j in range(2)",
    ),
    ("for i in range(t - 1000): y = y * 2", "for i in range(t - 1000): y = y * 3", "y = y * 2"),
    ("while t > 1000: t, y = t - 2, y * 2", "while t > 1000: t, y = t - 2, y * 3", "t, y = (t - 2, y * 2)"),
    ("assert t < 1000, y.fill_(1)", "assert t < 1000, y.fill_(0)", "y.fill_(1)"),
    (
        "def late(y): return y * 2\n        y = late(y) if t > 1000 else y",
        "def late(y): return y * 3\n        y = late(y) if t > 1000 else y",
        "return y * 2",
    ),
    (
        "try: y = y * 2\n        except KeyError: pass",
        "try: y = y * 2\n        except LookupError: pass",
        "KeyError",
    ),
    ("match t:\n            case 1001: y = y * 2", "match t:\n            case 1001: y = y * 3", "y = y * 2"),
    ("match t:\n            case 1001: y = y * 2", "match t:\n            case 1002: y = y * 2", "case 1001"),
    (
        "match t:\n            case 1001 if self.long: y = -y",
        "match t:\n            case 1001 if self.short: y = -y",
        "self.long",
    ),
    (
        "y = (\n            y\n            if t < 1000 else y * 2)",
        "y = (\n            y\n            if t < 1000 else y * 3)",
        "y * 2",
    ),
]


@pytest.mark.parametrize(("old", "new", "part"), UNREACHED, ids=[new for _, new, _ in UNREACHED])
def test_a_changed_arm_that_never_ran_is_not_exercised(check: Check, old: str, new: str, part: str) -> None:
    verdict = check(ATTENTION.replace("# here", old), old, new, "Attention")
    assert verdict.verdict == "not exercised", verdict.reason
    row = 23 if old.startswith("y = (") else 22 if "\n" in old and "late" not in old else 21
    assert f"the part `{part}` of line {row}" in verdict.reason


def test_the_body_of_a_one_line_method_that_is_never_called_is_not_exercised(check: Check) -> None:
    verdict = check(ATTENTION, "return y * 2", "return y * 3", "Attention")
    assert verdict.verdict == "not exercised", verdict.reason


def test_a_wrong_arm_that_depends_on_an_optional_input_is_refuted(check: Check) -> None:
    for wrong in ("s = s.masked_fill(mask == 1, -1e9)", "pass"):
        verdict = check(ATTENTION, "s = s.masked_fill(mask == 0, -1e9)", wrong, "Attention")
        assert verdict.verdict == "refuted", verdict.reason


REACHED = [
    ("if mask is not None: y = y * 2", "if mask is not None: y = 2 * y"),
    ("y = y * 2 if mask is not None else y", "y = 2 * y if mask is not None else y"),
    ("y = y * 2 if reverse else y * 4", "y = 2 * y if reverse else 4 * y"),
    ("y = y * 2 if self.training else y * 4", "y = 2 * y if self.training else 4 * y"),
    ("y = y if t == 1 or not reverse else -y", "y = y if t == 1 or reverse is False else -y"),
    ("y = (lambda z: z * 2)(y)", "y = (lambda z: 2 * z)(y)"),
    ("y = y + sum([i * 2 for i in range(t) if i > 0])", "y = y + sum([2 * i for i in range(t) if 0 < i])"),
    ("for i in range(2): y = y * 2", "for i in range(2): y = 2 * y"),
    ("y = self.double(y)", "y = 2 * y"),
    (
        "match t:\n            case 1: y = y * 2\n            case _: y = y * 4",
        "match t:\n            case 1: y = 2 * y\n            case _: y = 4 * y",
    ),
]


@pytest.mark.parametrize(("old", "new"), REACHED, ids=[old for old, _ in REACHED])
def test_changed_arms_that_are_reached_stay_validated(check: Check, old: str, new: str) -> None:
    verdict = check(ATTENTION.replace("# here", old), old, new, "Attention")
    assert verdict.verdict == "validated", verdict.reason


ADDED = [
    ("y = y * 2", "y = y * 2 if mask is None else 2 * y"),
    ("y = y * 2", "y = 2 * y if reverse else y * 2"),
    ("y = y * 2", "if mask is not None: y = 2 * y\n        else: y = y * 2"),
]


@pytest.mark.parametrize(("old", "new"), ADDED, ids=[new for _, new in ADDED])
def test_an_arm_that_only_the_rewrite_has_is_reached_by_one_more_setup(check: Check, old: str, new: str) -> None:
    source = ATTENTION.replace("# here", "y = y * 2").replace("def double(self, y): return y * 2", "")
    verdict = check(source, old, new, "Attention")
    assert verdict.verdict == "validated", verdict.reason


def test_a_wrong_arm_that_only_the_rewrite_has_is_refuted(check: Check) -> None:
    source = ATTENTION.replace("# here", "y = y + 1")
    verdict = check(source, "y = y + 1", "y = y + 1 if mask is None else y + 2", "Attention")
    assert verdict.verdict == "refuted", verdict.reason


def test_the_text_of_an_assertion_that_holds_need_not_run(check: Check) -> None:
    source = ATTENTION.replace("# here", "assert t < 1000, 'too long'")
    verdict = check(source, "'too long'", "'too many tokens'", "Attention.forward")
    assert verdict.verdict == "validated", verdict.reason
