"""*Repaired* of other errors than a view's: a value beyond float16's range, and a tensor that stayed on the CPU."""

from __future__ import annotations

from typing import Any

import pytest

from mha_lint.findings import Verdict
from mha_lint.validation import Validator

from .conftest import Check
from .corrected_modules import HUGE, LEAST, STRAY

torch = pytest.importorskip("torch")

SYMBOL = "CausalAttention.forward"
STORED = "self.mask = torch.tril(torch.ones(block_size, block_size))"
REGISTERED = 'self.register_buffer("mask", torch.tril(torch.ones(block_size, block_size)), persistent=False)'
USED = "scores = scores.masked_fill(self.mask[:t, :t] == 0"


def stray(check: Check, new: str, using: Validator | None = None) -> Verdict:
    return check(STRAY, STORED, new, SYMBOL, "repaired", expected="device", flagged=USED, using=using)


@pytest.mark.parametrize("new", [LEAST, 'float("-inf")', "-6e4"], ids=["least", "infinity", "within range"])
def test_a_mask_value_that_float16_has_is_validated_because_before_was_seen_to_overflow(check: Check, new: str) -> None:
    verdict = check(HUGE, "-1e9", new, SYMBOL, "repaired", expected="half overflow")
    assert verdict.verdict == "validated", verdict.reason
    raised = [trial for trial in verdict.trials if "before raised at the flagged line" in trial.detail]
    assert raised and {trial.dtype for trial in raised} == {"float16", "float16 under autocast"}
    assert {trial.mode for trial in raised} == {"train", "eval"}
    assert all(trial.max_abs_diff == 0.0 for trial in raised)


@pytest.mark.parametrize(
    "new",
    ["-1e4 * (scores.dtype != torch.float16)", "-1e-9", "1e4", "-1e8", "-3e38"],
    ids=["nothing in float16", "tiny", "positive", "overflows too", "overflows in float16 still"],
)
def test_another_mask_value_is_refuted(check: Check, new: str) -> None:
    verdict = check(HUGE, "-1e9", new, SYMBOL, "repaired", expected="half overflow")
    assert verdict.verdict == "refuted", verdict


def test_a_mask_value_that_does_not_overflow_shows_no_repair(check: Check) -> None:
    source = HUGE.replace("-1e9", "-1e4")
    verdict = check(source, "-1e4", "-2e4", SYMBOL, "repaired", expected="half overflow")
    assert verdict.verdict == "not exercised"
    assert "never raised" in verdict.reason


@pytest.mark.slow
def test_a_view_that_fails_is_not_the_error_of_another_repair(check: Check) -> None:
    source = HUGE.replace("reshape(b, t, c))", "view(b, t, c))").replace("-1e9", "-1e4")
    line = "return self.proj(y.transpose(1, 2).view(b, t, c))"
    verdict = check(source, line, line.replace("view", "reshape"), SYMBOL, "repaired", expected="half overflow")
    assert verdict.verdict != "validated"


def test_without_cuda_a_buffer_is_validated_as_equivalent_and_no_more_is_claimed(check: Check) -> None:
    verdict = stray(check, REGISTERED)
    assert verdict.verdict == "validated", verdict.reason
    assert {trial.device for trial in verdict.trials} == {"cpu"}
    assert verdict.caveat == "the error itself was not seen, since no CUDA device ran: on cpu, both compute the same"


def test_a_buffer_that_joins_the_state_dict_is_refuted(check: Check) -> None:
    persistent = REGISTERED.replace(", persistent=False", "")
    verdict = stray(check, persistent)
    assert verdict.verdict == "refuted"
    assert "state_dict" in verdict.reason


def test_a_buffer_of_other_values_is_refuted(check: Check) -> None:
    other = REGISTERED.replace("torch.tril", "torch.triu")
    verdict = stray(check, other)
    assert verdict.verdict == "refuted"


@pytest.mark.cuda
def test_on_cuda_the_error_is_seen(check: Check, cuda_validator: Validator) -> None:
    verdict = stray(check, REGISTERED, using=cuda_validator)
    assert verdict.verdict == "validated", verdict.reason
    assert not verdict.caveat
    assert any(
        "before raised at the flagged line" in trial.detail for trial in verdict.trials if trial.device == "cuda"
    )


def test_what_stayed_on_the_cpu_is_brought_to_the_device_of_the_others() -> None:
    from mha_lint.validation.relations.intentions import INTENTIONS

    there, here = torch.ones(2, device="meta"), torch.ones(2)
    meant = INTENTIONS["device"].meant
    assert meant(torch.add, (there, here), {}).device.type == "meta"
    assert meant(torch.where, (here > 0, there), {"other": there}).device.type == "meta"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: torch.zeros(2, dtype=torch.float16).masked_fill(torch.tensor([True, False]), -1e9), [-65504.0, 0.0]),
        (lambda: torch.full((2,), -1e9, dtype=torch.float16), [-65504.0, -65504.0]),
        (lambda: torch.zeros(2, dtype=torch.float16).fill_(1e9), [65504.0, 65504.0]),
        (lambda: torch.zeros(1, dtype=torch.float16).new_full((2,), -(10**9)), [-65504.0, -65504.0]),
    ],
    ids=["masked_fill", "full", "fill_", "new_full"],
)
def test_a_value_beyond_the_range_means_the_least_there_is(call: Any, expected: list[float]) -> None:
    from mha_lint.validation.relations.intentions import intended
    from mha_lint.validation.trials.coverage import Statement

    row = call.__code__.co_firstlineno
    met: set[Statement] = set()
    with intended("half overflow", __file__, frozenset([Statement(row, row)]), met):
        assert call().tolist() == expected
    assert met == {Statement(row, row)}
