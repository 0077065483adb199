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
    "        self.proj = nn.Linear(dim, dim)",
    "        self.proj = nn.Linear(dim, dim)\n        self.bias = torch.ones(1, 1)",
).replace("* self.scale", "* self.scale + self.bias")


@pytest.mark.parametrize(("value", "wanted"), [("torch.ones(1, 1)", "validated"), ("torch.zeros(1, 1)", "refuted")])
def test_a_plain_attribute_may_become_a_buffer_of_the_same_value(check: Check, value: str, wanted: str) -> None:
    new = f'self.register_buffer("bias", {value}, persistent=False)'
    verdict = check(STRAY, "self.bias = torch.ones(1, 1)", new, "Attention.__init__", flagged="self.bias")
    assert verdict.verdict == wanted, verdict.reason


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("self.scale = (dim // num_heads) ** -0.5", "self.scale = 1.0", "refuted"),
        ("self.scale", "self._factor", "validated"),
        ("self.scale", "self.factor", "refuted"),
        ("self.told = dim", "self._told = dim", "refuted"),
    ],
    ids=["another value", "private for own use", "another public name", "read by others alone"],
)
def test_an_attribute_goes_only_where_the_files_own_use_of_it_goes(
    check: Check, old: str, new: str, wanted: str
) -> None:
    source = VIT.replace("self.num_heads = num_heads", "self.num_heads = num_heads\n        self.told = dim")
    assert check(source, old, new, "Attention.forward").verdict == wanted


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


# --- called again, and otherwise

REMEMBERING = """
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int = 4):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)
        self.masks = {}
        self.calls = 0
        self.last = None

    def mask(self, n):
        if n not in self.masks:
            self.masks[n] = torch.ones(n, n, dtype=torch.bool).tril()
        return self.masks[n]

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        mask = self.mask(n)
        weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        self.last = weights.detach()
        self.calls += 1
        y = (weights @ v).transpose(1, 2).reshape(b, n, c)
        return self.proj(y)
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "mask = self.mask(n)",
            "mask = self.mask(n)\n        mask = mask.logical_or_(~mask) if self.calls else mask",
        ),
        ("self.last = weights.detach()", "self.last = weights.detach() + 1"),
        ("self.last = weights.detach()", "pass"),
        ("self.calls += 1", "self.calls += 1 + (self.calls == 2)"),
        ("self.calls += 1", "self.calls += 1\n        self.seen = x.detach()"),
        ("mask = self.mask(n)", "mask = self.mask(n) if not self.calls else self.mask(n) | True"),
        (
            "y = (weights @ v)",
            "self._v = v if getattr(self, '_v', None) is None else self._v\n"
            "        y = (weights @ (self._v if self._v.shape == v.shape else v))",
        ),
        ("y = (weights @ v)", "y = (weights @ (v if self.qkv.weight.grad is None else -v))"),
        ("self.calls += 1", "self.calls += 1\n        self.qkv.weight.requires_grad_(self.calls < 3)"),
    ],
    ids=["a mask changed in place", "another rest", "nothing kept", "counted otherwise", "more kept",
         "another mask later", "values kept", "after backward", "frozen after three calls"],
)  # fmt: skip
def test_a_module_is_called_again_and_what_it_keeps_is_compared(check: Check, old: str, new: str) -> None:
    verdict = check(REMEMBERING, old, new, "Attention.forward")
    assert verdict.verdict == "refuted", verdict


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (".unbind(0)", "[:]"),
        ("self.last = weights.detach()", "self.last = weights.data.detach()"),
        ("self.calls += 1", "self.calls = self.calls + 1"),
        ("if n not in self.masks:\n", "if self.masks.get(n) is None:\n"),
    ],
)  # fmt: skip
def test_a_module_that_keeps_the_same_stays_validated(check: Check, old: str, new: str) -> None:
    symbol = "Attention.mask" if "not in" in old else "Attention.forward"
    verdict = check(REMEMBERING, old, new, symbol)
    assert verdict.verdict == "validated", verdict.reason


SPLIT = "q, k, v = qkv.unbind(0)"


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("v = v if torch.is_grad_enabled() else -v", "under no_grad"),
        ("v = v if v.requires_grad else v.flip(0)", "under no_grad"),
        ("v = v if not torch.is_inference_mode_enabled() else -v", "in inference mode"),
        ("v = v if self.qkv.weight.requires_grad else -v", "in inference mode"),
        ("v = v if self.training else torch.autograd.grad(v.sum(), v)[0] * 0 + v", "under no_grad"),
    ],
)
def test_calls_without_gradients_and_with_frozen_parameters_are_compared(check: Check, new: str, words: str) -> None:
    verdict = check(VIT, SPLIT, f"{SPLIT}; {new}", "Attention.forward")
    assert verdict.verdict == "refuted", verdict
    assert words in verdict.reason


def test_code_that_asks_whether_gradients_are_wanted_stays_validated(check: Check) -> None:
    old = "attn = self.attn_drop(attn.softmax(dim=-1))"
    new = (
        "attn = attn.softmax(dim=-1)\n"
        "        if torch.is_grad_enabled() and self.training:\n            attn = self.attn_drop(attn)"
    )
    verdict = check(VIT, old, new, "Attention.forward")
    assert verdict.verdict == "validated", verdict.reason


# --- what code that uses the class can name

NAMED = """
import torch
from torch import nn


class Attention(nn.Module):
    kind = "self"

    def __init__(self, dim: int, num_heads: int = 4, *, drop: float = 0.0):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)
        self.register_buffer("one", torch.ones(()))
        self.register_buffer("two", torch.ones(()))
        self.qkv.register_forward_hook(lambda module, args, result: None)

    def split(self, x, parts=3):
        return x.reshape(*x.shape[:2], parts, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)

    def forward(self, x, mask=None, scale=1.0):
        q, k, v = self.split(self.qkv(x)).unbind(0)
        scores = q @ k.transpose(-2, -1) * self.head_dim ** -0.5 * scale * self.one * self.two
        if mask is not None:
            scores = scores + mask
        y = (self.drop(scores.softmax(-1)) @ v).transpose(1, 2).flatten(2)
        return self.proj(y)
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def forward(self, x, mask=None, scale=1.0)", "def forward(self, x, scale=1.0, mask=None)"),
        ("def forward(self, x, mask=None, scale=1.0)", "def forward(self, x, mask=None, scale=1)"),
        ("def forward(self, x, mask=None, scale=1.0)", "def forward(self, x, mask=None, *, scale=1.0)"),
        ("num_heads: int = 4, *, drop", "num_heads: int = 4, drop"),
        ("num_heads: int = 4, *, drop", "num_heads: int = 8, *, drop"),
        ("def split(self, x, parts=3)", "def split(self, x, parts=2)"),
        ('kind = "self"', 'sort = "self"'),
        (
            "self.num_heads = num_heads",
            "self._heads = num_heads\n        self.__class__.num_heads = property(lambda own: own._heads)",
        ),
        (
            "self.drop = nn.Dropout(drop)",
            "self.drop = nn.Dropout(drop)\n        self._modules['qkv'] = self._modules.pop('qkv')",
        ),
        (
            'self.register_buffer("two", torch.ones(()))',
            'self.register_buffer("two", torch.ones(()))\n        self._buffers["one"] = self._buffers.pop("one")',
        ),
        ("self.qkv.register_forward_hook(lambda module, args, result: None)", "pass"),
        ("self.qkv.register_forward_hook(", "self.proj.register_forward_hook("),
        ('    kind = "self"\n', '    kind = "self"\n    extra_repr = lambda self: self.absent\n'),
        ('    kind = "self"\n', '    kind = property(lambda self: "self")\n'),
    ],
    ids=["order", "default", "keyword only", "place in init", "default of init", "default of a method",
         "class attribute", "read only", "order of parameters", "order of buffers", "hook lost", "hook elsewhere",
         "repr", "property"],
)  # fmt: skip
def test_signatures_names_order_hooks_and_repr_are_compared(check: Check, old: str, new: str) -> None:
    verdict = check(NAMED, old, new, "Attention.forward")
    assert verdict.verdict == "refuted", verdict


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def forward(self, x, mask=None, scale=1.0)", "def forward(self, x: torch.Tensor, mask=None, scale=2.0 / 2)"),
        ("self.head_dim = dim // num_heads", "self.head_dim = dim // num_heads\n        self._inner = dim"),
        (".flatten(2)", ".reshape(x.shape)"),
    ],
)  # fmt: skip
def test_annotations_and_new_private_names_are_nobodys_business(check: Check, old: str, new: str) -> None:
    verdict = check(NAMED, old, new, "Attention.forward")
    assert verdict.verdict in ("validated", "not exercised"), verdict.reason


# --- what is handed on

HANDING = """
from typing import NamedTuple

import torch
from torch import nn


class Output(NamedTuple):
    y: torch.Tensor
    weights: torch.Tensor


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int = 4):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)
        self.start = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        y = self.proj((weights @ v).transpose(1, 2).flatten(2)) * self.start
        return RESULT
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("(y, weights)", "[y, weights]", "the results are"),
        ("Output(y, weights)", "(y, weights)", "the results are"),
        ("{'y': y}", "__import__('collections').OrderedDict(y=y)", "the results are"),
        ("y", "nn.Parameter(y)", ""),
        ("(y, x.clone())", "(y, x)", "shares memory"),
        ("(y, x)", "(y, x.clone())", "shares memory"),
        ("(y, self.start.clone())", "(y, self.start.view(-1))", "shares memory"),
        ("(y, self.start[:])", "(y, self.start.clone())", "shares memory"),
        ("(y, y.clone())", "(y, y.view_as(y))", "shares memory"),
        ("(y, y[:, :1])", "(y, y[:, :1].clone())", "shares memory"),
        ("y", "y.transpose(0, 1).contiguous().transpose(0, 1)", "strides"),
        ("(y, k.contiguous())", "(y, k)", ""),
        ("(y, x.sum().expand(3).clone())", "(y, x.sum().expand(3))", "strides"),
    ],
)
def test_containers_memory_and_strides_of_results_are_compared(check: Check, old: str, new: str, words: str) -> None:
    verdict = check(HANDING.replace("RESULT", old), f"return {old}", f"return {new}", "Attention.forward")
    assert verdict.verdict == "refuted", verdict
    assert words in verdict.reason


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(y, weights)", "tuple([y, weights])"),
        ("Output(y, weights)", "Output(weights=weights, y=y)"),
        ("(y, x)", "(y, x.view_as(x))"),
        ("y.contiguous()", "y"),
        ("y.transpose(0, 1)", "y.transpose(0, 1).contiguous()"),
        ("(y, k)", "(y, k[:])"),
    ],
)
def test_results_that_a_caller_cannot_tell_apart_stay_validated(check: Check, old: str, new: str) -> None:
    verdict = check(HANDING.replace("RESULT", old), f"return {old}", f"return {new}", "Attention.forward")
    assert verdict.verdict == "validated", verdict.reason


# --- a projection away from the identity


@pytest.mark.parametrize(
    "new",
    [
        "torch.cat([self.out_proj(out[:, :1]), out[:, 1:]], 1)",
        "self.out_proj(self.out_proj(out))",
        "self.out_proj(out) if self.training or torch.is_grad_enabled() else out",
        "self.out_proj(out) + self.out_proj.bias",
        "(self.out_proj(out) + out) / 2",
        "nn.functional.linear(out, self.out_proj.weight.mT, self.out_proj.bias)",
        "torch.cat([self.out_proj(out)[:1], out[1:]])",
        "(self.out_proj(out) - self.out_proj.bias) + self.out_proj.bias.mean()",
    ],
    ids=["one token", "twice", "with gradients", "bias twice", "half", "transposed", "one entry", "bias averaged"],
)
def test_a_projection_is_applied_once_to_each_token_with_any_weights(check: Check, new: str) -> None:
    after = PLAIN_HEADS.replace("        # room for the projection", PROJECTED).replace("return out", f"return {new}")
    verdict = check(PLAIN_HEADS, PLAIN_HEADS, after, "Heads.forward", "extended", added=ADDED)
    assert verdict.verdict == "refuted", verdict


def test_an_existing_projection_is_held_to_the_same(check: Check) -> None:
    names = ("W_o.weight", "W_o.bias")
    for new, wanted in (("self.W_o(out)", "validated"), ("self.W_o(self.W_o(out))", "refuted")):
        verdict = check(UNUSED_PROJECTION, "return out", f"return {new}", "Heads.forward", "extended", identity=names)
        assert verdict.verdict == wanted, verdict


@pytest.mark.parametrize(
    ("result", "new"),
    [
        ("return out", "return self.out_proj(out)"),
        ("return out + x", "return self.out_proj(out) + x"),
        ("return out.relu()", "return self.out_proj(out).relu()"),
        ("return out, weights", "return self.out_proj(out), weights"),
        ("return {'y': out}", "return {'y': self.out_proj(out)}"),
        ("return self.dropout(out)", "return self.dropout(self.out_proj(out))"),
        ("return out.transpose(0, 1)", "return self.out_proj(out).transpose(0, 1)"),
        ("return out.mean(1)", "return self.out_proj(out).mean(1)"),
        ("return out", "return torch.cat([self.out_proj(part) for part in out.unbind(0)]).view_as(out)"),
    ],
    ids=["plain", "residual", "activation", "tuple", "mapping", "dropout", "transposed", "mean", "in parts"],
)
def test_a_projection_of_merged_heads_stays_validated_whatever_follows(check: Check, result: str, new: str) -> None:
    source = PLAIN_HEADS.replace("return out", result)
    after = source.replace("        # room for the projection", PROJECTED).replace(result, new)
    verdict = check(source, source, after, "Heads.forward", "extended", added=ADDED)
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize("relation", ["equivalent", "repaired"])
def test_a_repair_is_called_again_as_it_means(check: Check, relation: Relation) -> None:
    old = "y = y.transpose(1, 2).view(B, T, C)"
    wanted = "validated" if relation == "repaired" else "not exercised"
    right = check(REFUSED_GPT, old, old.replace(".view", ".contiguous().view"), "CausalAttention.forward", relation)
    assert right.verdict == wanted, right.reason
    wrong = old.replace(".view", ".contiguous().view") + "; y = y if torch.is_grad_enabled() else -y"
    wrong_verdict = check(REFUSED_GPT, old, wrong, "CausalAttention.forward", relation)
    assert wrong_verdict.verdict == ("refuted" if relation == "repaired" else "not exercised")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("self.qkv.train(False)", "modes of its modules"),
        ("[value.__setattr__('grad', None) for value in self.parameters()]", "gradients that parameters had"),
    ],
    ids=["mode", "gradients"],
)
def test_modes_and_gradients_that_a_call_changes_are_compared(check: Check, statement: str, words: str) -> None:
    verdict = check(VIT, SPLIT, f"{SPLIT}; {statement}", "Attention.forward")
    assert verdict.verdict == "refuted", verdict
    assert words in verdict.reason


def test_a_public_name_that_appears_is_no_equivalent(check: Check) -> None:
    line = "self.num_heads = num_heads"
    assert check(VIT, line, f"{line}\n        self.spare = 1", "Attention.__init__").verdict == "refuted"
    assert check(VIT, line, f"{line}\n        self._spare = 1", "Attention.__init__").verdict != "refuted"
