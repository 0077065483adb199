"""Code for which there is no fix is executed, too: it is shown wrong, or it is told that it could not be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mha_lint.findings import Verdict
from mha_lint.validation import Job, Validator

pytest.importorskip("torch")

ATTENTION = """\
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width=32, heads=4):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x, mask=None):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        {body}
        return self.out(y.transpose(1, 2).reshape(b, t, c))
"""
SCORES = "scores = q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5"
FUTURE = "torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)"
LATE = (SCORES, "weights = scores.softmax(-1)", f"weights = weights.masked_fill({FUTURE}, 0.0)", "y = weights @ v")
RENORMALISED = (*LATE[:-1], "weights = weights / weights.sum(-1, keepdim=True)", "y = weights @ v")
BOTH = ("y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=True)",)
EITHER = ("y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)",)
LACKS_HEADS = (
    SCORES,
    "scores = scores.flatten(0, 1)",
    "scores = scores + torch.zeros(b, t, t, device=x.device)",
    "y = scores.softmax(-1).view(b, self.heads, t, t) @ v",
)
LACKS_A_DIM = (SCORES, "scores = scores + torch.zeros(b, t, t, device=x.device)", "y = scores.softmax(-1) @ v")
BROADCAST = (SCORES, "scores = scores + torch.zeros(b, 1, 1, t, device=x.device)", "y = scores.softmax(-1) @ v")
FITS = (SCORES, "scores = scores if mask is None else scores + mask", "y = scores.softmax(-1) @ v")
DEEPER = (SCORES, "y = (scores.softmax(-1) @ v)", "y = y + torch.zeros(b, t + 1, 1, device=x.device)")

BRANCHES = (
    SCORES,
    "if mask is not None and not (mask == 0).any():",
    "    scores = scores + mask",
    "y = scores.softmax(-1) @ v",
)
READS = (SCORES, "n = int((scores > 0).sum())", "y = scores.softmax(-1) @ v * (1 + n)")
ASSERTS = (SCORES, "assert (scores == scores).all()", "y = scores.softmax(-1) @ v")
LOST_MASK = (f"future_mask = {FUTURE}", SCORES, "y = scores.softmax(-1) @ v")
APPLIED_MASK = (LOST_MASK[0], SCORES, "y = scores.masked_fill(future_mask, -1e4).softmax(-1) @ v")
DIAGONAL = (SCORES, "y = torch.einsum('bhtt,bhtd->bhtd', scores.softmax(-1), v)")
FULL = """\
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def forward(self, qk, v):
        b, t, c = qk.shape
        scores = torch.einsum("bie,bje->bij", qk, F.normalize(qk, dim=-1)) * c**-0.5
        places = torch.arange(t)
        scores[:, places, places] = -5e4
        return torch.einsum('bjj,bje->bje', scores.softmax(-1), v)
"""
LAYERS = """\
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width=32, heads=4):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.to_q(x), self.{0}(x), self.to_v(x)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
"""

Shown = Callable[..., Verdict]


@pytest.fixture
def shown(validator: Validator, tmp_path: Path) -> Shown:
    """The verdict on code that is said to be wrong; ``flagged`` is a part of the row where."""

    def run(body: tuple[str, ...] | str, flagged: str, *ways: str, before: str = "") -> Verdict:
        text = body if isinstance(body, str) else before + ATTENTION.format(body="\n        ".join(body))
        path = tmp_path / "attention.py"
        path.write_text(text)
        rows = tuple(row for row, line in enumerate(text.splitlines(), 1) if flagged in line)
        assert rows, "the test flags no row"
        return validator.validate(Job(str(path), text, text, ("Attention.forward",), "wrong", rows, probes=ways))

    return run


def test_a_probe_that_is_violated_shows_it_wrong(shown: Shown) -> None:
    verdict = shown(LATE, "masked_fill", "constant value")
    assert verdict.verdict == "shown wrong", verdict.reason
    assert verdict.harness == "module"
    assert verdict.counterexample.startswith("it violates constant value: the weights that query ")
    assert "x: (3, 5, 32); float32 on cpu" in verdict.counterexample
    assert [trial.outcome for trial in verdict.trials] == ["differ"]


def test_what_has_the_property_is_not_shown_wrong(shown: Shown) -> None:
    verdict = shown(RENORMALISED, "masked_fill", "constant value")
    assert verdict.verdict == "not exercised"
    assert verdict.unshown
    assert not verdict.counterexample
    assert "could not show it wrong: constant value: holds" in verdict.reason


def test_a_mask_beside_the_causal_flag_is_given_and_raises(shown: Shown) -> None:
    verdict = shown(BOTH, "is_causal", "raises")
    assert verdict.verdict == "shown wrong", verdict.reason
    assert "Explicit attn_mask should not be set when is_causal=True" in verdict.counterexample
    assert "mask: (" in verdict.counterexample
    assert "mask=" in verdict.reason, "the call that is told is the one that raised"


def test_a_flag_that_asks_for_the_mask_raises_nothing(shown: Shown) -> None:
    verdict = shown(EITHER, "is_causal", "raises")
    assert (verdict.verdict, verdict.unshown) == ("not exercised", True), verdict.counterexample


def test_shapes_that_never_meet_raise(shown: Shown) -> None:
    verdict = shown(LACKS_HEADS, "torch.zeros", "raises")
    assert verdict.verdict == "shown wrong", verdict.reason
    assert "it raises RuntimeError: The size of tensor a" in verdict.counterexample


def test_shapes_that_meet_where_there_are_as_many_entries_as_heads_raise_all_the_same(shown: Shown) -> None:
    verdict = shown(LACKS_A_DIM, "torch.zeros", "raises")
    assert verdict.verdict == "shown wrong", verdict.reason
    right = shown(BROADCAST, "torch.zeros", "raises")
    assert (right.verdict, right.unshown) == ("not exercised", True), right.counterexample


def test_probes_are_asked_of_the_sizes_that_fit(shown: Shown) -> None:
    verdict = shown(FULL, "einsum('bjj", "raises", "whole weights")
    assert verdict.verdict == "shown wrong", verdict.reason
    assert verdict.counterexample.startswith("it violates whole weights")
    right = shown(FULL.replace("bjj,bje->bje", "bij,bje->bie"), "einsum('bij,bje", "raises", "whole weights")
    assert (right.verdict, right.counterexample) == ("not exercised", "")


def test_a_layer_that_is_never_applied_is_shown_by_what_learns(shown: Shown) -> None:
    verdict = shown(LAYERS.format("to_q"), "self.to_q(x)", "every projection learns")
    assert verdict.verdict == "shown wrong", verdict.reason
    words = "it violates every projection learns: to_k gets no gradient and changes nothing, while to_q and to_v learn"
    assert verdict.counterexample.startswith(words)
    right = shown(LAYERS.format("to_k"), "self.to_q(x)", "every projection learns")
    assert (right.verdict, right.unshown) == ("not exercised", True)


def test_a_triangle_that_is_lost_is_shown_by_the_future(shown: Shown) -> None:
    verdict = shown(LOST_MASK, "future_mask =", "causality")
    assert verdict.verdict == "shown wrong", verdict.reason
    assert verdict.counterexample.startswith("it violates causality: changing token ")
    right = shown(APPLIED_MASK, "future_mask =", "causality")
    assert (right.verdict, right.unshown) == ("not exercised", True)


def test_a_diagonal_of_weights_is_shown_by_what_a_query_takes(shown: Shown) -> None:
    verdict = shown(DIAGONAL, "einsum", "raises", "whole weights")
    assert verdict.verdict == "shown wrong", verdict.reason
    assert verdict.counterexample.startswith("it violates whole weights: a query takes its own value alone")


def test_an_error_about_shapes_counts_only_where_no_shapes_fit(shown: Shown) -> None:
    verdict = shown(FITS, "scores + mask", "raises")
    assert verdict.verdict == "not exercised", verdict.counterexample
    assert verdict.unshown


def test_an_error_elsewhere_says_nothing_of_the_flagged_row(shown: Shown) -> None:
    verdict = shown(DEEPER, "softmax", "raises")
    assert verdict.verdict == "not exercised"
    assert not verdict.counterexample
    assert not verdict.unshown, "it never ran to its end"


def test_what_cannot_be_imported_is_not_shown_wrong(shown: Shown) -> None:
    verdict = shown(LATE, "masked_fill", "constant value", before="raise ImportError('not here')\n")
    assert (verdict.verdict, verdict.unshown) == ("not exercised", False)
    assert "not here" in verdict.reason


@pytest.mark.cuda
def test_it_is_shown_on_each_device(cuda_validator: Validator, tmp_path: Path) -> None:
    for body, way in ((LATE, "constant value"), (BOTH, "raises"), (LACKS_HEADS, "raises")):
        text = ATTENTION.format(body="\n        ".join(body))
        path = tmp_path / "attention.py"
        path.write_text(text)
        marked = {LATE: "masked_fill", BOTH: "is_causal", LACKS_HEADS: "torch.zeros"}[body]
        rows = tuple(row for row, line in enumerate(text.splitlines(), 1) if marked in line)
        job = Job(str(path), text, text, ("Attention.forward",), "wrong", rows, probes=(way,))
        verdict = cuda_validator.validate(job)
        assert verdict.verdict == "shown wrong", verdict.reason
        assert {trial.device for trial in verdict.trials if trial.outcome in ("raised", "differ")} == {"cpu", "cuda"}


@pytest.mark.parametrize(("body", "flagged"), [(BRANCHES, ".any()"), (READS, "int(")])
def test_a_graph_that_ends_at_the_row_shows_it(shown: Shown, body: tuple[str, ...], flagged: str) -> None:
    verdict = shown(body, flagged, "graph break")
    assert verdict.verdict == "shown wrong", verdict.reason
    assert "the graph of torch.compile ends there" in verdict.counterexample


@pytest.mark.parametrize(("body", "flagged"), [(ASSERTS, "assert"), (READS, "softmax")])
def test_a_graph_that_goes_on_at_the_row_shows_nothing(shown: Shown, body: tuple[str, ...], flagged: str) -> None:
    verdict = shown(body, flagged, "graph break")
    assert verdict.verdict == "not exercised"
    assert not verdict.counterexample
    assert "graph of torch.compile" in verdict.reason
