"""Attention by hand becomes fused attention: what is right is validated under each kernel, what is wrong is refuted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from mha_lint.findings import Verdict
from mha_lint.validation import Job, Validator

from .fused_pairs import (
    RIGHT,
    RIGHT_WITHOUT_DIGITS,
    WRONG,
    WRONG_IN_FLOAT32,
    WRONG_WITHOUT_DIGITS,
    Pair,
    by_hand,
    fused,
)

torch = pytest.importorskip("torch")
kernels = pytest.importorskip("mha_lint.validation.trials.kernels")

QUICK = ("filled", "learned bias", "float32 in between")
QUICK_WRONG = ("scale forgotten", "finite fill as bool", "padding of large numbers, added")


def validated(validator: Validator, place: Path, pair: Pair, symbol: str = "Attention.forward") -> Verdict:
    before, after = pair.texts()
    path = place / "attention.py"
    path.write_text(before)
    return validator.validate(Job(str(path), before, after, (symbol,), "equivalent"))


def marked(names: Iterable[str], quick: tuple[str, ...]) -> list[object]:
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


def by_kernel(verdict: Verdict, device: str = "cpu") -> dict[str, set[tuple[str, str]]]:
    """The dtypes and modes in which each kernel agreed."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for trial in verdict.trials:
        for kernel in kernels.KERNELS[device]:
            if trial.device == device and f"attention's {kernel} kernel" in trial.detail and trial.outcome == "agree":
                found[kernel].add((trial.dtype, trial.mode))
    return found


def every(*dtypes: str) -> set[tuple[str, str]]:
    return {(dtype, mode) for dtype in dtypes for mode in ("train", "eval")}


@pytest.mark.parametrize("name", marked(RIGHT, QUICK))
def test_a_right_rewrite_is_validated(validator: Validator, tmp_path: Path, name: str) -> None:
    verdict = validated(validator, tmp_path, RIGHT[name])
    assert verdict.verdict == "validated", verdict.reason
    assert not verdict.bitwise
    assert by_kernel(verdict)["math"] >= every("float32", "float64", "bfloat16")


@pytest.mark.parametrize("name", marked(WRONG, QUICK_WRONG))
def test_a_wrong_rewrite_is_refuted(validator: Validator, tmp_path: Path, name: str) -> None:
    verdict = validated(validator, tmp_path, WRONG[name])
    assert verdict.verdict == "refuted", verdict


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT_WITHOUT_DIGITS)
def test_where_before_has_no_digits_in_float32_further_uses_are_compared_in_float64(
    validator: Validator, tmp_path: Path, name: str
) -> None:
    verdict = validated(validator, tmp_path, RIGHT_WITHOUT_DIGITS[name])
    assert verdict.verdict == "validated", verdict.reason
    assert "before has no digits in this dtype" in " ".join(trial.detail for trial in verdict.trials)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG_WITHOUT_DIGITS)
def test_a_wrong_rewrite_is_refuted_where_before_has_no_digits(validator: Validator, tmp_path: Path, name: str) -> None:
    verdict = validated(validator, tmp_path, WRONG_WITHOUT_DIGITS[name])
    assert verdict.verdict == "refuted", verdict


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG_IN_FLOAT32)
def test_a_rewrite_that_is_right_in_float64_alone_is_refuted(validator: Validator, tmp_path: Path, name: str) -> None:
    verdict = validated(validator, tmp_path, WRONG_IN_FLOAT32[name])
    assert verdict.verdict == "refuted", verdict


def test_each_kernel_is_forced_in_each_dtype_and_mode(validator: Validator, tmp_path: Path) -> None:
    verdict = validated(validator, tmp_path, RIGHT["plain"])
    assert by_kernel(verdict) == {name: every("float32", "float64", "bfloat16") for name in ("flash", "math")}
    told = "flash (bfloat16, float32, float64), math (bfloat16, float32, float64)"
    assert f"attention's kernels on cpu, each forced: {told}" in verdict.reason
    assert "dropout" not in verdict.reason
    assert "gradients have no gradients" in verdict.caveat


def test_a_kernel_that_does_not_take_the_inputs_is_told(validator: Validator, tmp_path: Path) -> None:
    verdict = validated(validator, tmp_path, RIGHT["learned bias"])
    assert verdict.verdict == "validated", verdict.reason
    assert "never ran there: flash" in verdict.reason
    refused = [trial for trial in verdict.trials if "flash kernel does not take these inputs" in trial.detail]
    assert refused
    assert {trial.outcome for trial in refused} == {"skipped"}
    assert verdict.caveat == "", "the math kernel has gradients of gradients"


@pytest.mark.parametrize("kernel", ["flash", "math"])
def test_a_difference_under_one_kernel_alone_is_found(validator: Validator, tmp_path: Path, kernel: str) -> None:
    other = {"flash": "math", "math": "flash"}[kernel]
    pair = Pair(by_hand(), fused().replace("k, v)", f"k, v if torch.backends.cuda.{other}_sdp_enabled() else v * 2)"))
    verdict = validated(validator, tmp_path, pair)
    assert verdict.verdict == "refuted", verdict.reason
    assert f"float32 on cpu, attention's {kernel} kernel" in verdict.reason


def test_with_dropout_both_draw_the_same_numbers_under_the_math_kernel(validator: Validator, tmp_path: Path) -> None:
    verdict = validated(validator, tmp_path, RIGHT["dropout"])
    assert verdict.verdict == "validated", verdict.reason
    assert "with dropout at work the math kernel alone was compared" in verdict.reason
    assert by_kernel(verdict)["flash"] == every("float32", "float64", "bfloat16"), "dropout is at zero there"


def test_multi_head_attention_of_torch_is_seen_to_take_a_kernel(validator: Validator, tmp_path: Path) -> None:
    before = """\
from torch import nn


class Block(nn.Module):
    def __init__(self, dim=32, heads=4, p=0.1):
        super().__init__()
        self.mha = nn.MultiheadAttention(dim, heads, dropout=p, batch_first=True)

    def forward(self, x):
        out, _ = self.mha(x, x, x)
        return out
"""
    path = tmp_path / "block.py"
    path.write_text(before)
    after = before.replace("x, x, x)", "x, x, x, need_weights=False)")
    verdict = validator.validate(Job(str(path), before, after, ("Block.forward",), "equivalent"))
    assert verdict.verdict == "validated", verdict.reason
    assert by_kernel(verdict)["flash"] == every("float32", "float64", "bfloat16")


def test_where_before_takes_a_kernel_as_well_none_is_forced(validator: Validator, tmp_path: Path) -> None:
    verdict = validated(validator, tmp_path, Pair(fused(), fused(", attn_mask=None")))
    assert verdict.verdict == "validated", verdict.reason
    assert verdict.bitwise
    assert "kernel" not in verdict.reason


def test_casts_to_float32_are_left_out_of_the_trials_in_float64(validator: Validator, tmp_path: Path) -> None:
    verdict = validated(validator, tmp_path, RIGHT["float32 in between"])
    agreeing = [trial for trial in verdict.trials if trial.dtype == "float64" and trial.outcome == "agree"]
    wide = [trial for trial in agreeing if trial.max_abs_diff]  # of one token, both may give the same bits
    assert wide
    assert all("without the casts to float32 on its way" in trial.detail for trial in wide)
    assert {trial.mode for trial in wide} == {"train", "eval"}


_HIDDEN = "torch.ones(t, t, dtype=torch.bool, device=x.device)"
_FIRST_IS_HIDDEN = by_hand(f'attn = attn.masked_fill({_HIDDEN}.triu(0), float("-inf"))', "softmax")


def test_gradients_that_are_never_a_number_were_not_compared(validator: Validator, tmp_path: Path) -> None:
    pair = Pair(_FIRST_IS_HIDDEN, fused(f", attn_mask={_HIDDEN}.tril(-1)"))
    verdict = validated(validator, tmp_path, pair)
    assert verdict.verdict == "not exercised", verdict
    assert "is not a number in any trial" in verdict.reason


def test_rows_next_to_those_that_are_no_numbers_are_compared(validator: Validator, tmp_path: Path) -> None:
    pair = Pair(_FIRST_IS_HIDDEN, fused(f", attn_mask={_HIDDEN}.tril(-1), scale=0.3"))
    assert validated(validator, tmp_path, pair).verdict == "refuted"


def test_a_number_does_not_become_nan(validator: Validator, tmp_path: Path) -> None:
    pair = Pair(by_hand(), fused("", "q = torch.where(q.amax(-1, keepdim=True) > 2.5, q / 0 * 0, q)"))
    assert validated(validator, tmp_path, pair).verdict == "refuted"


# Each query sees itself, but for a mask that hides everything: drawn masks do not, and odd ones do.
_ALL_OR_ITSELF = (
    "(mask != 0 if t > 3 and bool((mask == 0).all()) else (mask != 0) | torch.eye(t, device=x.device).bool())"
)


def test_a_mask_that_hides_all_is_told_where_no_drawn_one_does(validator: Validator, tmp_path: Path) -> None:
    """Filled with -1e9, a row that hides all keys averages; the rounding of that number is no excuse for zeros."""
    before = by_hand(f"attn = attn.masked_fill(~{_ALL_OR_ITSELF}, -1e9)", "softmax")
    after = fused(", attn_mask=mask", f"mask = {_ALL_OR_ITSELF}")
    verdict = validated(validator, tmp_path, Pair(before, after, ", mask"))
    assert verdict.verdict == "refuted", verdict
    assert "masks" in verdict.reason or "hid" in verdict.reason, verdict.reason


def test_the_kernels_are_put_back() -> None:
    def switched() -> list[bool]:
        return [read() for read, _ in kernels._SWITCHES.values()]

    earlier = switched()
    for kernel in ("", *kernels.KERNELS["cuda"], kernels.NONE):
        with kernels.chosen(kernel):
            assert sum(switched()) == (len(earlier) if not kernel else kernel != kernels.NONE)
        assert switched() == earlier


@pytest.mark.cuda
@pytest.mark.parametrize("name", RIGHT)
def test_on_cuda_a_right_rewrite_is_validated(cuda_validator: Validator, tmp_path: Path, name: str) -> None:
    verdict = validated(cuda_validator, tmp_path, RIGHT[name])
    differing = [trial for trial in verdict.trials if trial.outcome in ("differ", "raised")]
    assert verdict.verdict == "validated", (verdict.reason, differing)
    ran = {trial.dtype for trial in verdict.trials if trial.device == "cuda" and trial.outcome == "agree"}
    assert ran >= {"float32", "bfloat16"}, "a fill beyond the range of float16 raises, and tells nothing"
    assert by_kernel(verdict, "cuda")["math"] >= every(*ran), verdict.reason


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["plain", "causal buffer", "dropout"])
def test_on_cuda_alone_a_right_rewrite_is_validated(cuda: None, tmp_path: Path, name: str) -> None:
    with Validator(require=("cuda",), devices=("cuda",), timeout=120.0) as validator:
        verdict = validated(validator, tmp_path, RIGHT[name])
    assert verdict.verdict == "validated", verdict.reason
    assert {trial.dtype for trial in verdict.trials} >= {"float64", "float32", "bfloat16", "float16"}


@pytest.mark.cuda
@pytest.mark.parametrize("name", sorted(WRONG.keys() - {"a cast to float32 that was not there"}))  # told in float64
def test_on_cuda_alone_a_wrong_rewrite_is_refuted(cuda: None, tmp_path: Path, name: str) -> None:
    with Validator(require=("cuda",), devices=("cuda",), timeout=120.0) as validator:
        verdict = validated(validator, tmp_path, WRONG[name])
    assert verdict.verdict == "refuted", verdict


@pytest.mark.cuda
def test_on_cuda_each_fused_kernel_runs(cuda_validator: Validator, tmp_path: Path) -> None:
    verdict = validated(cuda_validator, tmp_path, RIGHT["plain"])
    assert verdict.verdict == "validated", verdict.reason
    found = by_kernel(verdict, "cuda")
    half = every("bfloat16", "float16")
    assert found["flash"] == half, verdict.reason
    assert found["memory-efficient"] == half | every("float32"), verdict.reason
    assert found["math"] == half | every("float32"), verdict.reason
    assert found["cuDNN"] == half or "cuDNN" in verdict.reason.partition("never ran there: ")[2]


@pytest.mark.cuda
def test_on_cuda_dropout_is_compared_under_the_math_kernel(cuda_validator: Validator, tmp_path: Path) -> None:
    verdict = validated(cuda_validator, tmp_path, RIGHT["dropout"])
    assert verdict.verdict == "validated", verdict.reason
    ran = [trial for trial in verdict.trials if trial.device == "cuda" and trial.mode == "train"]
    own = {trial.dtype for trial in ran if "attention's math" in trial.detail and trial.outcome == "agree"}
    assert own == {"float32", "bfloat16", "float16"}
    assert "with dropout at work the math kernel alone was compared" in verdict.reason
