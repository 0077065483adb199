"""MHA201: which attention by hand is told, what its rewrite says, and why there is none where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.edits import apply
from mha_lint.files import decode
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.settings import Settings

HEAD = """import math
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads, rate=0.1):
        super().__init__()
        self.heads, self.width, self.model_width = heads, dim // heads, dim
        self.scale = self.width ** -0.5
        self.causal = True
        self.learned = nn.Parameter(torch.ones(heads, 1, 1))
        self.drop = nn.Dropout(rate)
        self.mixed = nn.Linear(heads, heads)
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)

    def biased(self, scores):
        return scores + self.learned

    def warmed(self, scores):
        return scores * 2 + self.learned

    def forward(self, x, mask=None, bias=None):
        b, t, c = x.shape
        q, k, v = (layer(x).view(b, t, self.heads, self.width).transpose(1, 2) for layer in (self.q, self.k, self.v))
"""
TAIL = "        return out.transpose(1, 2).reshape(b, t, c)\n"


def text_of(body: str) -> str:
    lines = "".join(f"        {line}\n" if line else "\n" for line in body.strip().splitlines())
    return HEAD + lines + TAIL


def findings(text: str) -> list[Finding]:
    return list(lint(decode(Path("attention.py"), text.encode()), Settings(select=("MHA201",))).findings)


def rewritten(body: str) -> str:
    """What the fix makes of the body, in one line."""
    text = text_of(body)
    (finding,) = findings(text)
    assert finding.fix is not None, finding.no_fix_reason
    changed = apply(text, finding.fix.edits)
    after = changed.partition("for layer in (self.q, self.k, self.v))\n")[2].removesuffix(TAIL)
    return " ".join(after.split()).replace("( ", "(").replace(" )", ")").replace(",)", ")")


SCORES = "scores = q @ k.transpose(-2, -1) * self.scale\n"
END = "weights = scores.softmax(dim=-1)\nout = weights @ v"
CALL = "out = F.scaled_dot_product_attention("

REWRITES = {
    "the default scale goes": (SCORES + END, f"{CALL}q, k, v)"),
    "a quotient is a scale": ("scores = q @ k.mT / math.sqrt(self.width)\n" + END, f"{CALL}q, k, v)"),
    "another scale stays": (SCORES.replace("self.scale", "0.3") + END, f"{CALL}q, k, v, scale=0.3)"),
    "a quotient by another number": (
        "scores = torch.matmul(q, k.transpose(2, 3)) / 7.0\n" + END, f"{CALL}q, k, v, scale=1 / 7.0)",
    ),
    "a number that the constructor takes stays a scale": (
        SCORES.replace("self.scale", "self.model_width**-0.5") + END, f"{CALL}q, k, v, scale=self.model_width**-0.5)",
    ),
    "none is one": ("scores = q @ k.transpose(-2, -1)\n" + END, f"{CALL}q, k, v, scale=1.0)"),
    "queries that are scaled before": (
        "q = q * self.scale\nscores = q @ k.transpose(-2, -1)\n" + END, f"q = q * self.scale {CALL}q, k, v, scale=1.0)",
    ),
    "queries that are scaled in the product": (
        "scores = (q * self.scale) @ k.transpose(-2, -1)\n" + END, f"{CALL}q, k, v)",
    ),
    "all in one statement": (
        "out = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1) @ v", f"{CALL}q, k, v)",
    ),
    "the largest score is subtracted": (
        SCORES + "scores = scores - scores.amax(dim=-1, keepdim=True).detach()\n" + END, f"{CALL}q, k, v)",
    ),
    "a boolean mask": (
        SCORES + 'scores = scores.masked_fill(mask == 0, float("-inf"))\n' + END,
        f"attn_mask = mask != 0 {CALL}q, k, v, attn_mask=attn_mask)",
    ),
    "a mask that is expanded as the scores are": (
        SCORES + 'scores = scores.masked_fill((mask == 0).expand_as(scores), float("-inf"))\n' + END,
        f"attn_mask = mask != 0 {CALL}q, k, v, attn_mask=attn_mask)",
    ),
    "a mask that is expanded by a statement": (
        SCORES + 'hidden = (mask == 0).expand_as(scores)\nscores = scores.masked_fill(hidden, float("-inf"))\n' + END,
        f"hidden = (mask == 0) {CALL}q, k, v, attn_mask=~hidden)",
    ),
    "a mask in the type of the scores": (
        SCORES + "scores = scores + mask.to(scores.dtype)\n" + END,
        f"{CALL}q, k, v, attn_mask=mask.to(q.dtype))",
    ),
    "weights in the type of the scores": (
        SCORES + "weights = F.softmax(scores.float(), dim=-1).type_as(scores)\nout = weights @ v", f"{CALL}q, k, v)",
    ),
    "a mask by where": (
        SCORES + 'scores = torch.where(mask, scores, float("-inf"))\n' + END, f"{CALL}q, k, v, attn_mask=mask)",
    ),
    "a mask by where, the other way round": (
        SCORES + 'scores = torch.where(mask, float("-inf"), scores)\n' + END,
        f"{CALL}q, k, v, attn_mask=~mask)",
    ),
    "two masks": (
        SCORES + 'scores = scores.masked_fill(~mask, -torch.inf)\nscores = scores + bias\n' + END,
        "attn_mask = mask attn_mask = torch.where(attn_mask, bias.to(q.dtype), float(\"-inf\")) "
        f"{CALL}q, k, v, attn_mask=attn_mask)",
    ),
    "a mask under a condition": (
        SCORES + "if bias is not None:\n    scores = scores + bias\n" + END,
        f"attn_mask = None if bias is not None: attn_mask = bias.to(q.dtype) {CALL}q, k, v, attn_mask=attn_mask)",
    ),
    "finite numbers, where no key may be left": (
        SCORES + "scores = scores.masked_fill(mask == 0, -1e9)\n" + END,
        "hidden = mask == 0 keyless = hidden.all(dim=-1, keepdim=True) q = q.masked_fill(keyless, 0.0) "
        f"attn_mask = ~hidden | keyless {CALL}q, k, v, attn_mask=attn_mask)",
    ),
    "a triangle under a flag": (
        SCORES + "future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)\n"
        'if self.causal:\n    scores = scores.masked_fill(future, float("-inf"))\n' + END,
        f"{CALL}q, k, v, is_causal=self.causal)",
    ),
    "a dropout under a condition": (
        SCORES + "weights = scores.softmax(-1)\nif self.causal:\n    weights = self.drop(weights)\nout = weights @ v",
        f"{CALL}q, k, v, dropout_p=(self.drop.p if self.drop.training else 0.0) if self.causal else 0.0)",
    ),
    "a comparison that is added to a mask": (
        SCORES + "scores = scores + bias\nscores = scores + (self.learned > 0)\n" + END,
        "attn_mask = bias.to(q.dtype) attn_mask = attn_mask + (self.learned > 0) "
        f"{CALL}q, k, v, attn_mask=attn_mask)",
    ),
    "parentheses right behind a keyword": (
        "out = [each for each in((q @ k.transpose(-2, -1) * self.scale).softmax(-1)@v)][0]",
        "out = [each for each in(F.scaled_dot_product_attention(q, k, v))][0]",
    ),
    "a name that is taken": (
        SCORES + "attn_mask = mask * 1.0\nscores = scores + attn_mask\n" + END,
        f"attn_mask = mask * 1.0 {CALL}q, k, v, attn_mask=attn_mask.to(q.dtype))",
    ),
    "an exact triangle": (
        SCORES + "future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)\n"
        'scores = scores.masked_fill(future, float("-inf"))\n' + END,
        f"{CALL}q, k, v, is_causal=True)",
    ),
    "dropout by a function": (
        SCORES + "weights = F.dropout(scores.softmax(-1), 0.2, self.training)\nout = weights @ v",
        f"{CALL}q, k, v, dropout_p=0.2 if self.training else 0.0)",
    ),
    "dropout by a layer": (
        SCORES + "weights = self.drop(scores.softmax(-1))\nout = weights @ v",
        f"{CALL}q, k, v, dropout_p=self.drop.p if self.drop.training else 0.0)",
    ),
    "a tensor with a number for each head scales the queries": (
        SCORES.replace("self.scale", "self.learned") + END, f"{CALL}q * self.learned, k, v, scale=1.0)",
    ),
    "a number scales, and a tensor": (
        "scores = q @ k.transpose(-2, -1) * 0.3\nscores = scores * self.learned\n" + END,
        f"{CALL}q * self.learned, k, v, scale=0.3)",
    ),
    "queries that move, and a tensor": (
        'scores = torch.einsum("bihd,bjhd->bhij", q.mT, k.mT) * self.learned\nweights = F.softmax(scores, -1)\n'
        'out = torch.einsum("bhij,bjhd->bhid", weights, v.mT)',
        f"{CALL}q.mT.transpose(1, 2) * self.learned, k.mT.transpose(1, 2), v.mT.transpose(1, 2), scale=1.0)",
    ),
    "a mask is subtracted": (
        SCORES + "scores = scores - 1e9 * bias\n" + END,
        f"attn_mask = (-(1e9 * bias)).to(q.dtype) {CALL}q, k, v, attn_mask=attn_mask)",
    ),
    "a softmax that is made where it is called": (
        SCORES + "weights = nn.Softmax(dim=-1)(scores)\nout = weights @ v", f"{CALL}q, k, v)",
    ),
    "the weights' name becomes the result's": (
        SCORES + "out = scores.softmax(dim=-1)\nout = out @ v", f"{CALL}q, k, v)",
    ),
    "a method that adds a bias": (
        SCORES + "scores = self.biased(scores)\n" + END,
        f"attn_mask = self.biased(q.new_zeros(())) {CALL}q, k, v, attn_mask=attn_mask)",
    ),
    "operands in a list": (
        'scores = torch.einsum("bhid,bhjd->bhij", [q, k]) * self.scale\nweights = F.softmax(scores, -1)\n'
        'out = torch.einsum("bhij,bhjd->bhid", [weights, v])',
        f"{CALL}q, k, v)",
    ),
    "a view of the product": (
        SCORES + "weights = scores.softmax(dim=-1)\nout = (weights @ v).view(b, self.heads, t, self.width)",
        f"{CALL}q, k, v).contiguous().view(b, self.heads, t, self.width)",
    ),
    "a view of the name that the product gets": (
        SCORES + "weights = scores.softmax(dim=-1)\nout = weights @ v\nout = out.view(b, self.heads, t, self.width)",
        f"{CALL}q, k, v).contiguous() out = out.view(b, self.heads, t, self.width)",
    ),
    "a view of another value of that name": (
        SCORES + "weights = scores.softmax(dim=-1)\nout = weights @ v\nout = out.mean(1)\nout = out.view(b, t, -1)",
        f"{CALL}q, k, v) out = out.mean(1) out = out.view(b, t, -1)",
    ),
    "values before weights, and a view of the product": (
        SCORES + "weights = scores.softmax(dim=-1)\nout = v @ weights.mT\nout = out.view(b, self.heads, -1, 1, t)",
        f"{CALL}q, k, v.transpose(-2, -1)).transpose(-2, -1).contiguous() out = out.view(b, self.heads, -1, 1, t)",
    ),
    "letters in another order": (
        'scores = torch.einsum("bhid,bhjd->bhij", q, k) * self.scale\nweights = F.softmax(scores, -1)\n'
        'out = torch.einsum("bhij,bhjd->bhid", weights, v)',
        f"{CALL}q, k, v)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REWRITES)
def test_a_rewrite_says_what_the_code_did(name: str) -> None:
    body, expected = REWRITES[name]
    assert rewritten(body) == expected


def test_a_fix_is_safe_unless_weights_are_dropped() -> None:
    (plain,) = findings(text_of(SCORES + END))
    (dropped,) = findings(text_of(SCORES + "weights = self.drop(scores.softmax(-1))\nout = weights @ v"))
    assert plain.fix is not None and plain.fix.applicability == "safe"
    assert dropped.fix is not None and dropped.fix.applicability == "unsafe"


WITHOUT_A_FIX = {
    "a tensor that has a number for each key scales": (
        "scores = q @ k.transpose(-2, -1) * k.mean(-1).unsqueeze(-2)\n" + END, "may be a tensor",
    ),
    "a tensor of unknown shape scales": ("scores = q @ k.transpose(-2, -1) * bias\n" + END, "may be a tensor"),
    "the scale changes on the way": (
        "scale = 0.3\nscores = q @ k.transpose(-2, -1) * scale\nscale = 2.0\n" + END + "\nout = out * scale",
        "`scale` is given another value",
    ),
    "a product in each branch": (
        "if self.causal:\n    scores = (q @ k.transpose(-2, -1) + bias) * self.scale\n"
        "else:\n    scores = q @ k.transpose(-2, -1) * self.scale + bias\n" + END,
        "in each branch",
    ),
    "keys and values of a single head": (
        'scores = torch.einsum("bhid,bjd->bhij", q, k[:, 0]) * self.scale\nweights = F.softmax(scores, -1)\n'
        'out = torch.einsum("bhij,bjd->bhid", weights, v[:, 0])',
        "lack dimensions",
    ),
    "scores are scaled under a condition": (
        "scores = q @ k.transpose(-2, -1)\nif self.causal:\n    scores = scores * self.scale\n" + END,
        "scaled under a condition",
    ),
    "queries that are the keys, where no key may be left": (
        "scores = q @ q.transpose(-2, -1)\nscores = scores.masked_fill(mask == 0, -1e9)\n" + END,
        "`q` is read elsewhere",
    ),
    "queries that are added to the result, where no key may be left": (
        SCORES + "scores = scores.masked_fill(mask == 0, -1e9)\nweights = scores.softmax(-1)\nout = weights @ v + q",
        "`q` is read elsewhere",
    ),
    "queries that are read on the way, where no key may be left": (
        SCORES + "scores = scores.masked_fill(mask == 0, -1e9)\ngate = q.sigmoid()\n" + END + "\nout = out * gate",
        "`q` is read elsewhere",
    ),
    "several statements in the place of one that shares its line": (
        SCORES + "if mask is not None: scores = scores.masked_fill(mask == 0, -1e9)\n" + END, "shares its line",
    ),
    "a bias is scaled": (
        "scores = (q @ k.transpose(-2, -1) + bias) * self.scale\n" + END, "is scaled with them",
    ),
    "the dropout is not known": (
        SCORES + "weights = self.q.dropout(scores.softmax(-1))\nout = weights @ v", "not known to be `nn.Dropout`",
    ),
    "queries change on the way": (SCORES + "q = q + 1\n" + END, "`q` is given another value"),
    "a mask asks the scores for their sizes": (
        SCORES + 'scores = scores.masked_fill(mask[:, :scores.size(-1)] == 0, float("-inf"))\n' + END,
        "the mask asks the scores",
    ),
    "the type is asked for elsewhere": (
        SCORES + "kind = scores.dtype\n" + END + "\nout = out.to(kind)", "asked for elsewhere",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT_A_FIX)
def test_what_has_no_fix_says_why(name: str) -> None:
    body, reason = WITHOUT_A_FIX[name]
    (finding,) = findings(text_of(body))
    assert finding.fix is None
    assert reason in finding.no_fix_reason


SILENT = {
    "the weights are kept": SCORES + "weights = scores.softmax(-1)\nself.kept = weights\nout = weights @ v",
    "the weights are read later": SCORES + END + "\nout = out * weights.mean()",
    "weights are masked": SCORES + "weights = scores.softmax(-1) * mask\nout = weights @ v",
    "scores are capped": SCORES + "scores = torch.tanh(scores)\n" + END,
    "heads are mixed": SCORES + "scores = self.mixed(scores.transpose(1, 3)).transpose(1, 3)\n" + END,
    "the fill masks nothing": SCORES + "scores = scores.masked_fill(mask, 0.5)\n" + END,
    "queries sum to one": SCORES + "weights = scores.softmax(dim=-2)\nout = weights @ v",
    "two softmaxes": SCORES + "weights = scores.softmax(-1).softmax(-1)\nout = weights @ v",
    "a fused call beside it": SCORES
    + "if bias is None:\n    out = F.scaled_dot_product_attention(q, k, v)\nelse:\n"
    + "    weights = scores.softmax(-1)\n    out = weights @ v",
    "scores that are scaled by a method": SCORES + "scores = self.warmed(scores)\n" + END,
    "a product in one branch alone": (
        "if self.causal:\n    scores = q @ k.transpose(-2, -1)\nelse:\n    scores = bias\n" + END
    ),
    "products of two names": (
        "if self.causal:\n    scores = q @ k.mT\nelse:\n    scores = q @ k.mT\n    other = scores * 2\n"
        + END
        + " + other @ v"
    ),
    "keys that no dimension but the last two has": (
        'scores = torch.einsum("bid,jd->bij", q[:, 0], k[0, 0])\nweights = F.softmax(scores, -1)\n'
        'out = torch.einsum("bij,jd->bid", weights, v[0, 0])'
    ),
    "paths are dropped": SCORES + "weights = self.drop_path(scores.softmax(-1))\nout = weights @ v",
    "weights that are used twice": SCORES + "weights = scores.softmax(-1)\nout = weights @ (weights @ v)",
}


@pytest.mark.parametrize("name", SILENT)
def test_what_fused_attention_cannot_do_or_does_already_is_not_told(name: str) -> None:
    assert findings(text_of(SILENT[name])) == []


def test_a_class_that_attends_over_channels_is_left_alone() -> None:
    assert findings(text_of(SCORES + END).replace("class Attention", "class ChannelAttention")) == []
