"""What a caller could notice of a module is observed: as it is built, called again, called otherwise, and handed on."""

from __future__ import annotations

import pytest

from mha_lint.findings import Relation

from .conftest import Check
from .modules import GPT as REFUSED_GPT
from .modules import PLAIN_HEADS, UNUSED_PROJECTION, VIT, WINDOW

pytest.importorskip("torch")

pytestmark = pytest.mark.slow

# --- as it is constructed

GPT = REFUSED_GPT.replace("y.transpose(1, 2).view", "y.transpose(1, 2).reshape")
KEPT = VIT.replace(
    "        self.proj = nn.Linear(dim, dim)",
    "        self.proj = nn.Linear(dim, dim)\n"
    "        self.gate = nn.Parameter(torch.ones(dim))\n"
    "        self.sizes = {'head': dim // num_heads, 'shifts': (torch.arange(3), 1.5)}\n"
    "        self.register_buffer('steps', torch.arange(8), persistent=False)\n"
    "        self.norm = nn.LayerNorm(dim).eval()",
).replace("self.proj(x))", "self.norm(self.proj(x) * self.gate))")


@pytest.mark.parametrize(
    ("source", "old", "new", "key"),
    [
        (GPT, "torch.tril(torch.ones", "torch.triu(torch.ones", "`mask`"),
        (GPT, 'self.register_buffer("mask", mask.', 'self.register_buffer("mask", 1 - mask.', "`mask`"),
        (KEPT, "torch.ones(dim)", "torch.zeros(dim)", "`gate`"),
        (KEPT, "torch.ones(dim)", "torch.ones(dim), requires_grad=False", "`gate.requires_grad`"),
        (KEPT, "torch.arange(8)", "torch.arange(8).flip(0)", "`steps`"),
        (KEPT, "'head': dim // num_heads", "'head': dim", "`sizes[0]`"),
        (KEPT, "torch.arange(3)", "torch.arange(3) + 1", "`sizes[1][0]`"),
        (KEPT, "nn.LayerNorm(dim).eval()", "nn.LayerNorm(dim)", "`norm.training`"),
        (KEPT, "nn.LayerNorm(dim).eval()", "nn.LayerNorm(dim, eps=1e-6).eval()", "`norm.eps`"),
        (WINDOW, "torch.zeros(num_heads, area, area)", "torch.randn(num_heads, area, area)", "`position_bias`"),
        (VIT, "self.proj_drop = ", "torch.rand(1); self.proj_drop = ", "random state of torch"),
        (VIT, "self.proj_drop = ", "__import__('random').random(); self.proj_drop = ", "random state of Python"),
        (VIT, "self.proj_drop = ", "nn.init.normal_(self.proj.weight); self.proj_drop = ", "`proj.weight`"),
    ],
)
def test_what_a_constructor_computes_is_compared_before_it_is_drawn_anew(
    check: Check, source: str, old: str, new: str, key: str
) -> None:
    name = "CausalAttention" if source is GPT else "WindowAttention" if source is WINDOW else "Attention"
    verdict = check(source, old, new, f"{name}.__init__")
    assert verdict.verdict == "refuted", verdict
    assert key in verdict.reason


@pytest.mark.parametrize(
    ("source", "old", "new", "name"),
    [
        (GPT, "torch.tril(torch.ones(config.block_size, config.block_size))",
         "torch.ones(config.block_size, config.block_size).tril()", "CausalAttention"),
        (KEPT, "torch.ones(dim)", "torch.full((dim,), 1.0)", "Attention"),
        (KEPT, "torch.arange(8)", "torch.arange(0, 8, 1)", "Attention"),
        (KEPT, "'head': dim // num_heads", "'head': int(dim / num_heads)", "Attention"),
        (WINDOW, "torch.zeros(num_heads, area, area)", "torch.zeros((num_heads, area, area))", "WindowAttention"),
        (VIT.replace("class Attention", "COUNT = iter(range(10**6))\n\n\nclass Attention").replace(
            "self.num_heads = num_heads", "self.num_heads = num_heads\n        self.place = next(COUNT)"),
         "dim * 3", "3 * dim", "Attention"),
    ],
    ids=["tril", "full", "arange", "quotient", "zeros", "a count of all instances"],
)  # fmt: skip
def test_a_constructor_that_computes_the_same_otherwise_stays_validated(
    check: Check, source: str, old: str, new: str, name: str
) -> None:
    verdict = check(source, old, new, f"{name}.__init__")
    assert verdict.verdict == "validated", verdict.reason


STRAY = VIT.replace(
    "        self.proj = nn.Linear(dim, dim)", "        self.proj = nn.Linear(dim, dim)\n        self.bias = torch.ones(1, 1)"
).replace("* self.scale", "* self.scale + self.bias")


@pytest.mark.parametrize(("value", "wanted"), [("torch.ones(1, 1)", "validated"), ("torch.zeros(1, 1)", "refuted")])
def test_a_plain_attribute_may_become_a_buffer_of_the_same_value(check: Check, value: str, wanted: str) -> None:
    new = f'self.register_buffer("bias", {value}, persistent=False)'
    verdict = check(STRAY, "self.bias = torch.ones(1, 1)", new, "Attention.__init__", flagged="self.bias")
    assert verdict.verdict == wanted, verdict.reason


# The projection is followed by layers that draw random numbers in the constructor.
LAYERED = PLAIN_HEADS.replace(
    "        # room for the projection",
    "        # room for the projection\n"
    "        self.last = nn.Linear(embed_dim, embed_dim)\n"
    "        self.start = nn.Parameter(torch.ones(embed_dim))",
).replace("return out\n", "return self.last(out) * self.start\n")
PROJECTED = (
    "        self.out_proj = nn.Linear(embed_dim, embed_dim)\n"
    "        nn.init.eye_(self.out_proj.weight)\n"
    "        nn.init.zeros_(self.out_proj.bias)"
)
ADDED = ("out_proj.weight", "out_proj.bias")


def extended(source: str, *changes: tuple[str, str]) -> str:
    after = source.replace("        # room for the projection", PROJECTED)
    after = after.replace("return self.last(out)", "return self.last(self.out_proj(out))")
    for old, new in changes:
        assert old in after
        after = after.replace(old, new)
    return after


def test_a_new_layer_may_draw_random_numbers_before_layers_that_follow(check: Check) -> None:
    verdict = check(LAYERED, LAYERED, extended(LAYERED), "Heads.forward", "extended", added=ADDED)
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("torch.ones(embed_dim)", "torch.zeros(embed_dim)"),
        ("self.start = ", "nn.init.normal_(self.last.weight); self.start = "),
        ("self.start = ", "torch.rand(1); nn.init.ones_(self.last.bias); self.start = "),
        ("self.out_proj = ", "nn.init.normal_(self.qkv.weight); self.out_proj = "),
        ("self.qkv = nn", "self.scale = 2.0; self.num_heads = num_heads; self.dropout_rate = dropout; self.qkv = nn"),
    ],
    ids=["start", "drawn after", "no longer drawn", "drawn before", "harmless"],
)
def test_a_new_layer_is_no_excuse_for_other_values_beside_it(check: Check, old: str, new: str) -> None:
    after = extended(LAYERED, (old, new))
    verdict = check(LAYERED, LAYERED, after, "Heads.forward", "extended", added=ADDED)
    assert verdict.verdict == ("validated" if "scale" in new else "refuted"), verdict
