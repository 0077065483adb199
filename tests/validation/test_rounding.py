"""A rewrite may round otherwise than before, within the bound; it may not mean anything else."""

from __future__ import annotations

import pytest

from .conftest import Check
from .modules import VIT, VIT_ADDED_UP

torch = pytest.importorskip("torch")
rows = pytest.importorskip("mha_lint.validation.trials.rows")

SYMBOL = "Attention.forward"
SPLIT = "q, k, v = qkv.unbind(0)"
PRODUCT = "(attn @ v)"
# In VIT_ADDED_UP: the product as it is, added up in another order, and added up in float64.
FORWARDS = "added_up((attn[..., None] * v[..., None, :, :]).unbind(-2))"
BACKWARDS = FORWARDS.replace(".unbind(-2)", ".unbind(-2)[::-1]")
BACKWARDS_IN_FLOAT32 = f"({BACKWARDS} if x.dtype == torch.float32 else {FORWARDS})"
WIDER = FORWARDS.replace("attn[", "attn.double()[").replace("v[", "v.double()[") + ".to(v.dtype)"


@pytest.mark.parametrize("new", [BACKWARDS_IN_FLOAT32, WIDER], ids=["another order", "wider sums"])
def test_sums_in_another_order_are_validated_within_the_bound_but_not_called_bitwise(check: Check, new: str) -> None:
    verdict = check(VIT_ADDED_UP, FORWARDS, new, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    assert not verdict.bitwise
    rounded = [trial for trial in verdict.trials if "within rounding" in trial.detail]
    assert rounded
    assert {trial.dtype for trial in rounded} == {"float32"}
    assert all(trial.max_abs_diff and "of before is off by" in trial.detail for trial in rounded)
    assert {trial.mode for trial in rounded} == {"train", "eval"}, "dropout drew another mask for the reference"


def test_another_order_of_sums_in_float64_is_measured_by_what_before_is_off_in_float32(check: Check) -> None:
    verdict = check(VIT_ADDED_UP, FORWARDS, BACKWARDS, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    assert not verdict.bitwise
    wide = [trial for trial in verdict.trials if trial.dtype == "float64" and "within rounding" in trial.detail]
    assert wide
    assert all(trial.max_abs_diff and trial.max_abs_diff < 1e-13 for trial in wide)


@pytest.mark.parametrize("factor", ["1e-12", "1e-13"])
def test_a_change_of_meaning_in_float64_alone_is_no_rounding(check: Check, factor: str) -> None:
    new = f"({PRODUCT} * (1 + {factor}) if x.dtype == torch.float64 else {PRODUCT})"
    verdict = check(VIT, PRODUCT, new, SYMBOL)
    assert verdict.verdict == "refuted"


NORMED = VIT.replace(
    "        x = (attn @", "        v = nn.functional.layer_norm(v, v.shape[-1:], eps=1e-6)\n        x = (attn @"
)
SUBTLE = [
    ("eps=1e-6", "eps=1e-5"),
    ("eps=1e-6", "eps=1.1e-6"),
    ("(dim // num_heads) ** -0.5", "(dim // num_heads + 1) ** -0.5"),
    ("(dim // num_heads) ** -0.5", "dim ** -0.5"),
    (SPLIT, f"{SPLIT}; v = v.bfloat16().to(v.dtype)"),
    (SPLIT, f"{SPLIT}; v = v.bfloat16().to(v.dtype) if v.dtype == torch.float32 else v"),
    (SPLIT, f"{SPLIT}; q = q.half().to(q.dtype)"),
    (SPLIT, f"{SPLIT}; q = q.float().to(q.dtype)"),
    (SPLIT, f"{SPLIT}; q = q + 1e-7"),
    (SPLIT, f"{SPLIT}; k = k * (1 + 1e-6)"),
    (SPLIT, f"{SPLIT}; q = q * (1 + 1e-4) if q.dtype == torch.float32 else q"),
    ("q, k, v = qkv.unbind(0)", "k, q, v = qkv.unbind(0)"),
    (".softmax(dim=-1)", ".softmax(dim=-1).clamp(min=1e-6)"),
    (".softmax(dim=-1)", ".add(1e-6).softmax(dim=-1) * (1 - 1e-6)"),
    ("self.attn_drop(attn.softmax(dim=-1))", "self.attn_drop(self.attn_drop(attn.softmax(dim=-1)))"),
    ("self.attn_drop(attn.softmax(dim=-1))", "self.attn_drop(attn).softmax(dim=-1)"),
    ("self.proj_drop(self.proj(x))", "self.proj(self.proj_drop(x))"),
    ("(q @ k.transpose(-2, -1)) * self.scale", "(q @ k.transpose(-2, -1)).float().mul(self.scale).to(q.dtype)"),
    ("(q @ k.transpose(-2, -1)) * self.scale", "(k @ q.transpose(-2, -1)) * self.scale"),
]


@pytest.mark.parametrize(("old", "new"), SUBTLE)
def test_a_subtle_change_of_meaning_is_no_rounding(check: Check, old: str, new: str) -> None:
    verdict = check(NORMED, old, new, SYMBOL)
    assert verdict.verdict == "refuted", verdict


def test_rounding_is_no_excuse_where_float64_never_ran(check: Check) -> None:
    source = VIT_ADDED_UP.replace("B, N, C = x.shape", "assert x.dtype == torch.float32; B, N, C = x.shape")
    verdict = check(source, FORWARDS, BACKWARDS, SYMBOL)
    assert verdict.verdict != "validated"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 3.0, 0.1, 1000.0])
def test_the_last_place_is_the_distance_to_the_next_number(dtype: torch.dtype, size: float) -> None:
    value = torch.tensor(size, dtype=dtype)
    following = torch.nextafter(value, torch.tensor(torch.inf, dtype=dtype))
    place = rows.last_places(value.reshape(1), dtype)
    assert float(place) == float(following.double() - value.double())


MASKED = VIT.replace(
    "self.attn_drop(attn.softmax(dim=-1))",
    "attn.masked_fill(torch.ones(N, N, dtype=torch.bool).triu(1), float('-inf')).softmax(dim=-1)",
)
WITH_WEIGHTS = MASKED.replace("return self.proj_drop(self.proj(x))", "return self.proj_drop(self.proj(x)), attn")
LEAKS = [
    (".softmax(dim=-1)", ".softmax(dim=-1).clamp(min=1e-8)"),
    (".softmax(dim=-1)", ".softmax(dim=-1).clamp(min=torch.finfo(attn.dtype).eps / 16)"),
    ("float('-inf')", "-18.0"),
]


@pytest.mark.parametrize("source", [WITH_WEIGHTS, MASKED], ids=["weights returned", "output alone"])
@pytest.mark.parametrize(("old", "new"), LEAKS)
def test_a_masked_weight_that_is_zero_stays_zero(check: Check, source: str, old: str, new: str) -> None:
    verdict = check(source, old, new, SYMBOL)
    assert verdict.verdict == "refuted", verdict


def test_a_mask_of_large_numbers_may_become_infinite(check: Check) -> None:
    source = WITH_WEIGHTS.replace("float('-inf')", "-1e9")
    verdict = check(source, "-1e9", "float('-inf')", SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize("new", ["1.0 / (dim // num_heads) ** 0.5", "1.0 / __import__('math').sqrt(dim // num_heads)"])
def test_a_scale_that_is_rounded_otherwise_is_validated_in_float64_too(check: Check, new: str) -> None:
    verdict = check(VIT, "(dim // num_heads) ** -0.5", new, "Attention.__init__")
    assert verdict.verdict == "validated", verdict.reason
    assert {trial.dtype for trial in verdict.trials if trial.outcome == "agree"} == {"float32", "float64"}


def test_gradients_that_cancel_to_zero_may_be_rounded_otherwise(check: Check) -> None:
    """The gradients of queries and keys are zero for a single key; a fused kernel leaves some roundings of them."""
    apart = VIT.replace(
        "self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)",
        "self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))",
    )
    start, end = apart.index("        qkv = "), apart.index("        attn = (q")
    heads = "(each(x).reshape(B, N, self.num_heads, -1).transpose(1, 2) for each in (self.q, self.k, self.v))"
    apart = f"{apart[:start]}        q, k, v = {heads}\n{apart[end:]}"
    old = apart[apart.index("        attn = (q") : apart.index(".transpose(1, 2).reshape(B, N, C)")]
    rate = "self.attn_drop.p if self.training else 0.0"
    new = f"        x = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p={rate})"
    verdict = check(apart, old, new, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


def test_the_error_allowed_at_a_row_goes_by_the_values_of_that_row() -> None:
    exact = torch.tensor([[1000.0, -500.0], [1.0, 0.5]], dtype=torch.float64)
    errors = exact.abs() * 1e-6
    bound = rows.allowed(errors, exact, torch.float32)
    assert bool((errors <= bound).all())
    assert float(bound[1].max()) < 1e-5 < float(bound[0].min())


def test_only_a_zero_of_both_precisions_is_lost() -> None:
    before, exact = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 1e-60, 0.0], dtype=torch.float64)
    assert rows.lost_zeros(before, torch.full((3,), 1e-8), exact).tolist() == [True, False, False]


@pytest.mark.cuda
def test_sums_are_bounded_on_the_device_that_they_lie_on(cuda: None) -> None:
    exact = torch.randn(3, 4, dtype=torch.float64, device="cuda")
    bound = rows.allowed_of_sums(torch.full_like(exact, 1e-9), 2.0, torch.float32)
    assert bound.device.type == "cuda"
    assert bool((bound > 0).all())
