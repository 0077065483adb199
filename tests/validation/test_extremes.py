"""At the edges of what a module takes, a rewrite does what the original does: odd sizes, values, types and checks."""

from __future__ import annotations

import pytest

from .conftest import Check
from .modules import VIT

pytest.importorskip("torch")

SYMBOL = "Attention.forward"
SPLIT = "q, k, v = qkv.unbind(0)"
SCORES = """        attn = (q @ k.transpose(-2, -1)) * self.scale
        attn = self.attn_drop(attn.softmax(dim=-1))
        x = (attn @ v)"""
FUSED = "        x = nn.functional.scaled_dot_product_attention(q, k, v, scale=self.scale)"
PLAIN = (
    VIT.replace("self.attn_drop(attn.softmax(dim=-1))", "attn.softmax(dim=-1)")
    .replace("self.proj_drop(self.proj(x))", "self.proj(x)")
    .replace("qkv_bias: bool = False", "qkv_bias: bool = True")
)
PLAIN_SCORES = SCORES.replace("self.attn_drop(attn.softmax(dim=-1))", "attn.softmax(dim=-1)")
CAUSAL = PLAIN.replace(
    "        attn = attn.softmax(dim=-1)\n",
    "        attn = attn.masked_fill(torch.ones(N, N, dtype=torch.bool).triu(1), float('-inf')).softmax(dim=-1)\n",
)
CHECKED = PLAIN.replace("        B, N, C = x.shape\n", "        CHECK\n        B, N, C = x.shape\n").replace(
    "    def forward",
    "    def check(self, right, kind):\n        if not right:\n            raise kind\n\n    def forward",
)


def only(condition: str) -> tuple[str, str]:
    """An edit that computes something else under one condition."""
    return SPLIT, f"{SPLIT}; v = -v if {condition} else v"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        only("B == N"),
        only("B == self.num_heads"),
        only("N == self.num_heads"),
        only("N == C"),
        only("B == 9"),
        only("B == N == 1"),
        (SPLIT, f"{SPLIT}; v[0]"),
        (".reshape(B, N, C)", ".reshape(B, N, -1)"),
    ],
    ids=["b = t", "b = heads", "t = heads", "t = width", "b = 9", "b = t = 1", "no entry", "no entry, inferred"],
)
def test_sizes_that_coincide_are_tried(check: Check, old: str, new: str) -> None:
    verdict = check(PLAIN, old, new, SYMBOL)
    assert verdict.verdict == "refuted", verdict


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        only("bool((x == 0).all())"),
        only("bool((x == 1).all())"),
        only("bool((x.abs() > 5e3).any())"),
        (SPLIT, f"{SPLIT}; v = v.clamp(-1e3, 1e3)"),
        ("        return self.proj(x)", "        return self.proj(x.nan_to_num())"),
        ("attn.softmax(dim=-1)", "(attn.exp() / attn.exp().sum(-1, keepdim=True))"),
        only("x.storage_offset() > 0"),
        only("x.stride(-2) > C"),
        only("x.stride(1) == 0"),
    ],
    ids=["zeros", "ones", "large", "clamped", "NaN", "no shift by the maximum", "offset", "strided",
         "expanded"],
)  # fmt: skip
def test_odd_values_and_storage_are_tried(check: Check, old: str, new: str) -> None:
    verdict = check(PLAIN, old, new, SYMBOL)
    assert verdict.verdict == "refuted", verdict


IMAGES = """
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim: int = 8):
        super().__init__()
        self.qkv = nn.Conv2d(dim, dim * 3, 1)

    def forward(self, x):
        B, C, H, W = x.shape
        q, k, v = self.qkv(x).flatten(2).chunk(3, 1)
        weights = (q.transpose(1, 2) @ k * C**-0.5).softmax(-1)
        return (v @ weights.transpose(1, 2)).reshape(B, C, H, W)
"""


@pytest.mark.slow
def test_images_with_channels_last_are_tried(check: Check) -> None:
    new = "chunk(3, 1); v = -v if x.stride(1) == 1 and C > 1 else v"
    verdict = check(IMAGES, "chunk(3, 1)", new, SYMBOL)
    assert verdict.verdict == "refuted", verdict


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        only("x.dtype == torch.bfloat16"),
        only("x.dtype == torch.float16"),
        only("torch.is_autocast_enabled('cpu')"),
        (SPLIT, f"{SPLIT}; v = v @ torch.eye(v.shape[-1]).to(torch.promote_types(v.dtype, torch.float))"),
        (".softmax(dim=-1)", ".softmax(dim=-1, dtype=torch.promote_types(attn.dtype, torch.float32))"),
    ],
    ids=["bfloat16", "float16", "autocast", "a matrix of float32", "the dtype of the weights"],
)
def test_half_types_and_autocast_are_tried(check: Check, old: str, new: str) -> None:
    verdict = check(PLAIN, old, new, SYMBOL)
    assert verdict.verdict == "refuted", verdict


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("torch.set_grad_enabled(torch.is_grad_enabled() and self.training)", ""),
        ("torch.set_default_dtype(torch.float64)", "the default dtype"),
        ("torch.set_num_threads(2)", "threads"),
        ("torch.use_deterministic_algorithms(not torch.are_deterministic_algorithms_enabled())", "deterministic"),
        ("torch.backends.cudnn.benchmark = True", "benchmark"),
        ("torch.backends.cuda.enable_flash_sdp(False)", "flash"),
        ("__import__('numpy').random.rand()", "numpy"),
        ("__import__('numpy').random.seed(3)", "numpy"),
        ("torch.set_autocast_enabled('cpu', False)", "autocast"),
        ("torch.use_deterministic_algorithms(True, warn_only=True)", "deterministic"),
        ("torch.set_flush_denormal(True)", "denormal"),
        ("__import__('os').environ.update(SOME='1')", "environment"),
        ("__import__('warnings').simplefilter('ignore')", "warnings"),
        ("print('done')", "prints"),
    ],
)
def test_settings_that_a_call_leaves_are_compared(check: Check, statement: str, words: str) -> None:
    source = f"import numpy\n{PLAIN}"
    verdict = check(source, SPLIT, f"{SPLIT}; {statement}", SYMBOL)
    assert verdict.verdict == "refuted", verdict
    assert words in verdict.reason
    leaves_both = source.replace(SPLIT, f"{statement}; {SPLIT}")
    same = check(leaves_both, f"; {SPLIT}", "; q, k, v = qkv[0], qkv[1], qkv[2]", SYMBOL)
    assert "is left" not in same.reason and "numpy" not in same.reason


TWICE = """
class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        return value * 2

    @staticmethod
    DECORATOR
    def backward(ctx, gradient):
        return RESULT


class Attention("""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decorator", "result", "wanted"),
    [
        ("", "gradient * 2", "validated"),
        ("@torch.autograd.function.once_differentiable", "gradient * 2", "refuted"),
        ("", "gradient.detach() * 2", "refuted"),
    ],
    ids=["right", "once", "detached"],
)
def test_gradients_of_gradients_are_compared(check: Check, decorator: str, result: str, wanted: str) -> None:
    function = TWICE.replace("    DECORATOR\n", f"    {decorator}\n" if decorator else "").replace("RESULT", result)
    source = PLAIN.replace("class Attention(", function).replace(SPLIT, f"{SPLIT}; v = v * 2")
    verdict = check(source, "v = v * 2", "v = Twice.apply(v)", SYMBOL)
    assert verdict.verdict == wanted, verdict.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("self.check(x.dim() == 3, KeyError)", "x = x if x.dim() == 3 else x.reshape(-1, *x.shape[-2:])", "refuted"),
        ("self.check(x.dim() == 3, KeyError)", "self.check(x.dim() == 3, ValueError)", "refuted"),
        ("self.check(x.dim() == 3, KeyError)", "self.check(len(x.shape) == 3, KeyError)", "validated"),
        ("assert x.shape[-1] == self.qkv.in_features", "x = x[..., : self.qkv.in_features]", "refuted"),
        ("assert x.shape[-1] == self.qkv.in_features", "assert self.qkv.in_features == x.shape[-1]", "validated"),
        ("pass", "x = x[..., : self.qkv.in_features]", "refuted"),
        ("pass", "x = x.to(self.qkv.weight.dtype)", "refuted"),
    ],
    ids=["rank", "another type", "written otherwise", "assertion", "assertion otherwise", "width", "whole numbers"],
)
def test_an_input_that_was_refused_is_still_refused(check: Check, old: str, new: str, wanted: str) -> None:
    verdict = check(CHECKED.replace("CHECK", old), old, new, SYMBOL)
    assert verdict.verdict == wanted, verdict


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        (PLAIN, PLAIN_SCORES, FUSED),
        (CAUSAL, CAUSAL[CAUSAL.index("        attn = (q") : CAUSAL.index("(attn @ v)") + 10],
         FUSED.replace("q, k, v", "q, k, v, is_causal=True")),
        (PLAIN, SPLIT, "q, k, v = qkv[0], qkv[1], qkv[2]"),
        (PLAIN, "(attn @ v)", "torch.einsum('bhqk,bhkd->bhqd', attn, v)"),
        (PLAIN, "(q @ k.transpose(-2, -1)) * self.scale", "(q * self.scale) @ k.transpose(-2, -1)"),
        (PLAIN, ".transpose(1, 2).reshape(B, N, C)", ".transpose(1, 2).flatten(2)"),
        (PLAIN, ".reshape(B, N, 3, self.num_heads, C // self.num_heads)", ".unflatten(-1, (3, self.num_heads, -1))"),
        (PLAIN, "attn.softmax(dim=-1)", "nn.functional.softmax(attn, -1)"),
    ],
    ids=["fused", "fused and causal", "index", "einsum", "scaled queries", "flatten", "unflatten", "softmax"],
)  # fmt: skip
def test_a_right_rewrite_stays_validated_at_the_edges(check: Check, source: str, old: str, new: str) -> None:
    verdict = check(source, old, new, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    "hook",
    ["gradient.clamp(-9.0, 9.0)", "gradient.nan_to_num()"],
)
def test_gradients_that_are_large_or_no_number_are_handed_back(check: Check, hook: str) -> None:
    """As an optimiser's checks for gradients that are no numbers need it."""
    hooked = f"v.requires_grad and v.register_hook(lambda gradient: {hook})"
    verdict = check(PLAIN, SPLIT, f"{SPLIT}; {hooked}", SYMBOL)
    assert verdict.verdict == "refuted", verdict


@pytest.mark.slow
def test_dropouts_that_are_zero_by_default_are_tried_at_work(check: Check) -> None:
    source = PLAIN.replace("(attn @ v)", "(nn.functional.dropout(attn, self.attn_drop.p, self.training) @ v)")
    source = source.replace("attn_drop: float = 0.1", "attn_drop: float = 0.0")
    verdict = check(source, "self.attn_drop.p, self.training", "self.attn_drop.p", SYMBOL)
    assert verdict.verdict == "refuted", verdict


@pytest.mark.slow
def test_what_a_module_does_at_random_is_no_difference(check: Check) -> None:
    import_time = "__import__('time').perf_counter_ns()"
    source = PLAIN.replace(SPLIT, f"{SPLIT}; v = v * (1 + 1e-5 * ({import_time} % 9973)) if B == 9 else v")
    verdict = check(source, "attn.softmax(dim=-1)", "nn.functional.softmax(attn, -1)", SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


SMALL = "(lambda weights: weights * (weights > 1e-6))(attn.softmax(dim=-1))"
NORMED = PLAIN.replace(
    "        attn = (q @ k.transpose(-2, -1)) * self.scale\n",
    "        q, k = nn.functional.normalize(q, dim=-1), nn.functional.normalize(k, dim=-1)\n"
    "        attn = (q @ k.transpose(-2, -1)) * self.temperature\n",
).replace(
    "        self.qkv = nn.Linear",
    "        self.temperature = nn.Parameter(torch.ones(1))\n        self.qkv = nn.Linear",
    1,
)


@pytest.mark.parametrize("source", [PLAIN, NORMED], ids=["as they are", "behind a norm"])
def test_small_weights_count(check: Check, source: str) -> None:
    assert "attn.softmax(dim=-1)" in source
    verdict = check(source, "attn.softmax(dim=-1)", SMALL, SYMBOL)
    assert verdict.verdict == "refuted", verdict


PADDED = """
import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, dim: int, stride: int = 4):
        super().__init__()
        self.stride = stride
        self.reduce = nn.Conv2d(dim, 3 * dim, stride, stride)

    def forward(self, x):
        B, C, H, W = x.shape
        high, wide = -H % self.stride, -W % self.stride
        if high or wide:
            x = F.pad(x, (0, wide, 0, high))
        q, k, v = self.reduce(x).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        return (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v
"""


@pytest.mark.parametrize("condition", ["high", "wide", "high and wide"])
def test_heights_and_widths_are_odd_apart(check: Check, condition: str) -> None:
    verdict = check(PADDED, "if high or wide:", f"if {condition}:", SYMBOL)
    assert verdict.verdict == "refuted", verdict
