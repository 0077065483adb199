"""*Corrected*: before is shown to be wrong, after to be right, and wrong corrections never pass."""

from __future__ import annotations

import pytest

from mha_lint.findings import Verdict
from mha_lint.validation import Validator

from .conftest import Check
from .corrected_modules import (
    DROPPING,
    DROPPING_TWICE,
    GATED,
    INVERTED,
    MERGED,
    SWITCHED,
    TINY,
    UNGATED,
    WITH_TRANSPOSE,
    WITHOUT_TRANSPOSE,
)

pytest.importorskip("torch")


def dropping(check: Check, new: str, source: str = DROPPING, old: str = UNGATED, agree: str = "train") -> Verdict:
    return check(source, old, new, "Attention.forward", "corrected", probes=("eval determinism",), agree=agree)


def merged(check: Check, new: str, agree: str = "one token", using: Validator | None = None) -> Verdict:
    probes = ("permutation equivariance", "causality")
    return check(
        MERGED, WITHOUT_TRANSPOSE, new, "Attention.forward", "corrected", probes=probes, agree=agree, using=using
    )


def inverted(check: Check, old: str, new: str, source: str = INVERTED) -> Verdict:
    return check(source, old, new, "CausalAttention.forward", "corrected", probes=("causality",))


def test_dropout_gated_by_the_mode_is_validated_with_a_counterexample(check: Check) -> None:
    verdict = dropping(check, GATED)
    assert verdict.verdict == "validated", verdict.reason
    assert verdict.harness == "module"
    assert not verdict.bitwise
    assert "in eval mode two calls" in verdict.counterexample
    assert "(x: (3, 5, 32); float32 on cpu, eval mode, seed 1000)" in verdict.counterexample
    train = [trial for trial in verdict.trials if trial.mode == "train" and trial.outcome == "agree"]
    assert train and all("both agree (train)" in trial.detail for trial in train)
    assert {trial.dtype for trial in train} == {"float32", "float64"}


def test_heads_merged_with_their_transpose_are_validated(check: Check) -> None:
    verdict = merged(check, WITH_TRANSPOSE)
    assert verdict.verdict == "validated", verdict.reason
    assert "float32 on cpu" in verdict.counterexample
    alike = [trial for trial in verdict.trials if "both agree (one token)" in trial.detail]
    assert {trial.mode for trial in alike} == {"train", "eval"}
    assert all("(1, 1, 32)" in trial.shapes[0] or "(3, 1, 32)" in trial.shapes[0] or "(2, 1, 32)" in trial.shapes[0]
               for trial in alike)  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"), [("attn_mask=mask", "attn_mask=~mask"), ("attn_mask=mask", "is_causal=True")], ids=["not", "flag"]
)
def test_a_causal_mask_put_the_right_way_round_is_validated(check: Check, old: str, new: str) -> None:
    verdict = inverted(check, old, new)
    assert verdict.verdict == "validated", verdict.reason
    assert "changing token" in verdict.counterexample


def test_a_mask_value_that_masks_is_validated(check: Check) -> None:
    verdict = inverted(check, "-1e-9", 'float("-inf")', TINY)
    assert verdict.verdict == "validated", verdict.reason
    assert "changing token" in verdict.counterexample


@pytest.mark.parametrize(
    "new",
    [
        "dropout_p=self.dropout if not self.training else 0.0",
        "dropout_p=0.0",
        "dropout_p=self.dropout / 2 if self.training else 0.0",
        "dropout_p=min(self.dropout, 0.1)",
        "dropout_p=(self.dropout)",
    ],
    ids=["polarity", "never", "half", "less", "no change"],
)
def test_a_wrong_gate_of_dropout_is_refuted(check: Check, new: str) -> None:
    verdict = dropping(check, new)
    assert verdict.verdict == "refuted", verdict
    assert verdict.reason


@pytest.mark.parametrize(
    "new",
    [
        "y.new_zeros(b, t, c)",
        "x",
        "v.transpose(1, 2).reshape(b, t, c)",
        "x + 0 * y.reshape(b, t, c)",
        "y.transpose(1, 2).reshape(b, t, c).detach()",
        "y.mean((1, 2), keepdim=True).expand(b, 1, t, -1).repeat(1, 1, 1, 4).reshape(b, t, c).detach() + x",
        "y.transpose(1, 2).reshape(b, t, c).double().float().half()",
        "y.transpose(1, 2).reshape(b, t, c)[:, :-1]",
        "y.transpose(1, 2).reshape(b, t, c) * float('nan')",
        "y.transpose(1, 2).view(b, t, c)",
        "y.transpose(1, 2).reshape(b, t, c) * 2",
        "y.transpose(-1, -2).reshape(b, t, c)",
        "undefined",
    ],
)
@pytest.mark.slow
def test_a_correction_that_destroys_what_it_corrects_is_refuted(check: Check, new: str) -> None:
    verdict = merged(check, new)
    assert verdict.verdict == "refuted", verdict


@pytest.mark.parametrize(
    "new", ["y.new_zeros(b, t, c) + self.proj.bias * 0", "x", "v.transpose(1, 2).reshape(b, t, c)"]
)
@pytest.mark.slow
def test_it_is_refuted_even_where_no_regime_is_left_to_compare(check: Check, new: str) -> None:
    verdict = merged(check, new, agree="")
    assert verdict.verdict == "refuted", verdict
    assert "gradient" in verdict.reason or "do not depend" in verdict.reason


@pytest.mark.parametrize("new", ["attn_mask=mask | ~mask", "attn_mask=~mask.mT"])
def test_a_mask_that_is_wrong_again_is_refuted_and_the_original_shown_wrong(check: Check, new: str) -> None:
    verdict = inverted(check, "attn_mask=mask", new)
    assert verdict.verdict == "refuted", verdict
    assert "still violates causality" in verdict.reason
    assert verdict.counterexample


def test_a_mask_that_leaves_the_first_token_nothing_to_see_is_refuted(check: Check) -> None:
    verdict = inverted(check, "attn_mask=mask", "attn_mask=mask.mT")
    assert verdict.verdict == "refuted", verdict
    assert "in after alone, the output at token 0 does not depend on the inputs" in verdict.reason


@pytest.mark.slow
def test_with_every_dropout_at_zero_both_must_agree(check: Check) -> None:
    verdict = dropping(check, GATED, agree="no dropout")
    assert verdict.verdict == "validated", verdict.reason
    alike = [trial for trial in verdict.trials if "both agree (no dropout)" in trial.detail]
    assert {trial.mode for trial in alike} == {"train", "eval"}
    other = dropping(check, f"{GATED}, scale=1.0", agree="no dropout")
    assert other.verdict == "refuted"
    assert "where both must agree (no dropout)" in other.reason


@pytest.mark.slow
def test_what_cannot_be_shown_wrong_is_not_exercised_and_says_so(check: Check) -> None:
    gated = DROPPING.replace(UNGATED, GATED)
    verdict = dropping(check, "dropout_p=self.training * self.dropout", gated, GATED)
    assert verdict.verdict == "not exercised"
    assert verdict.unshown
    assert not verdict.counterexample
    assert "validation ran it and could not show it wrong: eval determinism: holds" in verdict.reason


@pytest.mark.slow
def test_a_property_that_the_code_does_not_mean_to_have_shows_nothing(check: Check) -> None:
    right = MERGED.replace(WITHOUT_TRANSPOSE, WITH_TRANSPOSE)
    verdict = check(right, "dim=-1) @ v", "dim=-1).matmul(v)", "Attention.forward", "corrected", probes=("causality",))
    assert (verdict.verdict, verdict.unshown) == ("not exercised", True), verdict


def test_code_that_no_way_was_found_to_run_is_not_called_unshown(check: Check) -> None:
    unrunnable = DROPPING.replace("b, t, c = x.shape", "b, t, c = open_store(x).shape")
    verdict = dropping(check, GATED, unrunnable)
    assert (verdict.verdict, verdict.unshown) == ("not exercised", False)
    assert "no way was found" in verdict.reason


@pytest.mark.slow
def test_one_dropout_of_two_is_no_correction_and_both_are(check: Check) -> None:
    assert dropping(check, GATED, DROPPING_TWICE).verdict == "refuted"
    once = DROPPING_TWICE.replace("F.dropout(y, self.dropout)", "F.dropout(y, self.dropout, self.training)")
    verdict = dropping(check, once.replace(UNGATED, GATED), DROPPING_TWICE, DROPPING_TWICE)
    assert verdict.verdict == "validated", verdict.reason


def test_the_changed_statements_alone_can_not_show_a_correction(check: Check) -> None:
    broken = MERGED.replace("import torch\n", "import torch\nimport no_such_package\n", 1).replace(
        "b, t, c = x.shape", "x = no_such_package.load(x)\n        b, t, c = x.shape"
    )
    verdict = check(
        broken, WITHOUT_TRANSPOSE, WITH_TRANSPOSE, "Attention.forward", "corrected",
        probes=("permutation equivariance",), agree="one token", alone=True,
    )  # fmt: skip
    assert verdict.verdict == "not exercised"


@pytest.mark.cuda
def test_a_correction_is_shown_on_cuda_too(check: Check, cuda_validator: Validator) -> None:
    verdict = merged(check, WITH_TRANSPOSE, using=cuda_validator)
    assert verdict.verdict == "validated", verdict.reason
    assert {trial.dtype for trial in verdict.trials if trial.device == "cuda" and trial.outcome == "agree"} >= {
        "float32", "float16", "bfloat16",
    }  # fmt: skip


@pytest.mark.slow
def test_each_setting_of_a_module_may_be_shown_wrong_by_another_probe(check: Check) -> None:
    probes = ("permutation equivariance", "causality")
    for source in (SWITCHED, SWITCHED.replace("causal: bool = False", "causal: bool = True")):
        verdict = check(
            source, WITHOUT_TRANSPOSE, WITH_TRANSPOSE, "Attention.forward", "corrected",
            probes=probes, agree="one token",
        )  # fmt: skip
        assert verdict.verdict == "validated", verdict.reason


STRAIGHT = "        if straight:\n            return self.proj(y.transpose(1, 2).flatten(2))\n"
BRANCHES = MERGED.replace("def forward(self, x):\n", "def forward(self, x, straight: bool = False):\n").replace(
    "        y = y.reshape(b, t, c)\n", f"{STRAIGHT}        y = y.reshape(b, t, c)\n"
)


@pytest.mark.parametrize(("scale", "wanted"), [("1", "validated"), ("2", "refuted")], ids=["as it was", "changed"])
def test_where_the_flagged_line_does_not_run_results_stay(check: Check, scale: str, wanted: str) -> None:
    old = BRANCHES[
        BRANCHES.index("            return self.proj(y.tr") : BRANCHES.index("        return self.proj(y)\n")
    ]
    new = old.replace("flatten(2))", f"flatten(2)) * {scale}").replace(WITHOUT_TRANSPOSE, WITH_TRANSPOSE)
    verdict = check(
        *(BRANCHES, old, new, "Attention.forward", "corrected"),
        flagged=WITHOUT_TRANSPOSE,
        probes=("permutation equivariance",),
        agree="one token",
    )
    assert verdict.verdict == wanted, verdict
    assert wanted == "validated" or "the flagged lines did not run" in verdict.reason
