"""A method or function alone cannot show that a module is wrong: what its callers hand it decides."""

from __future__ import annotations

import pytest

from mha_lint.findings import Verdict

from .conftest import Check

pytest.importorskip("torch")

# The rate is zeroed in eval mode by the caller, under its own parameter.
ZEROED = """
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int = 4, dropout: float = 0.2):
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        return self.attend(x, self.dropout, active=self.training)

    def attend(self, x, dropout_p: float, active: bool = True):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        if not active:
            dropout_p = 0.0
        y = self.weigh(q, k, v, dropout_p)
        return self.proj(y.transpose(1, 2).reshape(b, t, c))

    def weigh(self, q, k, v, dropout_p: float = 0.0):
        weights = torch.softmax(q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5, dim=-1)
        if dropout_p > 0:
            weights = F.dropout(weights, p=dropout_p)
        return weights @ v
"""
NOT_ZEROED = ZEROED.replace("        if not active:\n            dropout_p = 0.0\n", "")
UNTOLD = "F.dropout(weights, p=dropout_p)"
TOLD = "F.dropout(weights, p=dropout_p, training=self.training)"
# No way can be found to call forward.
UNREACHED = ZEROED.replace("b, t, c = x.shape", "x = open_store(x)\n        b, t, c = x.shape")


def gated(check: Check, source: str, symbol: str = "Attention.weigh", old: str = UNTOLD, new: str = TOLD) -> Verdict:
    return check(
        source, old, new, symbol, "corrected", flagged=old, probes=("eval determinism",), agree="train"
    )  # fmt: skip


def is_unshown(verdict: Verdict) -> bool:
    return (verdict.verdict, verdict.unshown, verdict.counterexample) == ("not exercised", True, "")


def test_a_rate_that_the_caller_zeroes_in_eval_mode_is_not_shown_wrong(check: Check) -> None:
    verdict = gated(check, ZEROED)
    assert is_unshown(verdict), verdict
    assert "could not show it wrong: eval determinism: holds" in verdict.reason


def test_a_rate_that_the_caller_does_not_zero_is_shown_wrong_in_the_module(check: Check) -> None:
    verdict = gated(check, NOT_ZEROED)
    assert (verdict.verdict, verdict.harness) == ("validated", "module"), verdict.reason
    assert "in eval mode two calls" in verdict.counterexample


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.weigh(q, k, v, dropout_p)", 'getattr(self, "weigh")(q, k, v, dropout_p)'),
        ("y = self.weigh(q, k, v, dropout_p)", "weigh = self.weigh\n        y = weigh(q, k, v, dropout_p)"),
    ],
    ids=["getattr", "by a name"],
)
def test_a_caller_counts_however_it_names_the_method(check: Check, old: str, new: str) -> None:
    assert is_unshown(gated(check, ZEROED.replace(old, new)))


def test_a_flag_that_the_caller_hands_down_is_not_drawn_freely(check: Check) -> None:
    source = NOT_ZEROED.replace("k, v, dropout_p)\n        return", "k, v, active)\n        return")
    source = source.replace("dropout_p: float = 0.0", "drops: bool = False").replace("if dropout_p > 0", "if drops")
    old, new = "F.dropout(weights, self.dropout)", "F.dropout(weights, self.dropout, self.training)"
    verdict = gated(check, source.replace(UNTOLD, old), old=old, new=new)
    assert is_unshown(verdict), verdict


def as_function(source: str) -> str:
    """``weigh`` as a function of the module, which cannot ask for the mode itself."""
    body = source[source.index("    def weigh") :].replace("self, q", "q").replace("\n    ", "\n")[4:]
    source = source[: source.index("    def weigh")].replace("self.weigh(", "weigh(")
    return source.replace("\n\nclass Attention", f"\n\n{body}\n\nclass Attention")


def test_a_function_alone_shows_nothing_either_where_the_file_calls_it(check: Check) -> None:
    new = "F.dropout(weights, p=dropout_p, training=dropout_p > 0)"
    verdict = check(
        as_function(ZEROED), UNTOLD, new, "weigh", "corrected", flagged=UNTOLD, probes=("eval determinism",)
    )  # fmt: skip
    assert is_unshown(verdict), verdict
    between = "def through(q, k, v, dropout_p):\n    return weigh(q, k, v, dropout_p)"
    through = as_function(ZEROED).replace("y = weigh(", "y = through(")
    through = through.replace("\n\nclass Attention", f"\n\n{between}\n\n\nclass Attention")
    verdict = check(through, UNTOLD, new, "weigh", "corrected", flagged=UNTOLD, probes=("eval determinism",))
    assert is_unshown(verdict), verdict


def test_a_function_that_the_file_does_not_call_is_called_with_what_is_made_up(check: Check) -> None:
    source = as_function(ZEROED)
    source = source[: source.index("class Attention")] + "def main():\n    weigh(*torch.ones(3, 1, 2, 4, 8), 0.1)\n"
    new = "F.dropout(weights, p=dropout_p, training=False)"
    verdict = check(source, UNTOLD, new, "weigh", "corrected", flagged=UNTOLD, probes=("eval determinism",))
    assert (verdict.verdict, verdict.harness) == ("validated", "function"), verdict.reason


@pytest.mark.parametrize(
    "source",
    [UNREACHED, UNREACHED.replace("weigh(", "_weigh(").replace("_weigh(q, k, v, dropout_p)", "hook(q, k, v)")],
    ids=["called", "private"],
)
def test_a_method_whose_callers_cannot_be_run_shows_nothing(check: Check, source: str) -> None:
    verdict = gated(check, source, "Attention._weigh" if "_weigh(" in source else "Attention.weigh")
    assert (verdict.verdict, verdict.unshown, verdict.counterexample) == ("not exercised", False, ""), verdict
    assert "no way was found" in verdict.reason


def test_a_method_that_nobody_in_the_file_calls_is_called_with_what_is_made_up(check: Check) -> None:
    source = UNREACHED.replace("y = self.weigh(q, k, v, dropout_p)", "y = v")
    verdict = gated(check, source)
    assert (verdict.verdict, verdict.harness) == ("validated", "method"), verdict.reason


def test_lines_that_run_in_train_mode_alone_say_nothing_of_other_properties(check: Check) -> None:
    """A mask that is wrong in train mode is not called right because eval mode does not use it."""
    masked = ZEROED.replace("weights = F.dropout(weights, p=dropout_p)", "weights = weights.triu()")
    verdict = check(
        masked, "weights.triu()", "weights.tril()", "Attention.weigh", "corrected", flagged="weights.triu()",
        probes=("causality",),
    )  # fmt: skip
    assert (verdict.verdict, verdict.unshown) == ("not exercised", False), verdict


def test_a_rate_that_is_zero_for_good_is_not_raised_to_show_something_wrong(check: Check) -> None:
    source = NOT_ZEROED.replace("num_heads, dropout\n", "num_heads, 0.0\n").replace("if dropout_p > 0:", "if True:")
    verdict = gated(check, source)
    assert is_unshown(verdict), verdict
