"""Attention by hand, each with a rewrite that calls fused attention: right ones, and wrong ones."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

_HEADER = """\
import math

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim=32, num_heads=4, p=0.1):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.p = p
        self.qkv = nn.Linear(dim, 3 * dim)
        self.drop = nn.Dropout(p)
        self.proj = nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.randn(num_heads, 1, 64))
        self.table = nn.Parameter(torch.randn(num_heads, 127))
        self.register_buffer("tri", torch.tril(torch.ones(64, 64)).view(1, 1, 64, 64), persistent=False)

    def forward(self, x{parameters}):
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
{body}
        return self.proj(out.transpose(1, 2).reshape(b, t, c))
"""
_RESULT = "self.proj(out.transpose(1, 2).reshape(b, t, c))"
_WITHOUT_DIGITS = _HEADER.replace(_RESULT, f"torch.sin(1e7 * {_RESULT})")  # in float32, rounding decides the sine
_LOGISTIC = _HEADER.replace(  # 30 steps of the logistic map amplify rounding a billion times
    f"return {_RESULT}",
    f"y = torch.sigmoid({_RESULT})\n        for _ in range(30):\n            y = 3.99 * y * (1 - y)\n        return y",
)
_BESIDE = _HEADER.replace(f"return {_RESULT}", f"y = {_RESULT}\n        return y, torch.sin(1e7 * y)")
_LONG_TAILS = _BESIDE.replace(
    "torch.sin(1e7 * y)", "1 / torch.sin(1e5 * y), 1 / torch.sin(1e6 * y), 1 / torch.sin(1e7 * y)"
)
_KEPT = _HEADER.replace(
    f"return {_RESULT}",
    f"y = {_RESULT}\n        self.tri[..., 0, :c].add_(torch.sin(1e7 * y.detach()).mean((0, 1)))\n"
    "        return y + self.tri[0, 0, 0, :c]",
)
_SCORED = _HEADER.replace(_RESULT, f"{_RESULT}, scores")
_RETURNED = _HEADER.replace(_RESULT, "out")
_CROSS = """\
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim=32, num_heads=4, p=0.0):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(2 * dim, dim)

    def forward(self, x, context{parameters}):
        b, t, c = x.shape
        s = context.shape[1]
        q = self.to_q(x).view(b, t, self.num_heads, -1).transpose(1, 2)
        k = self.to_k(context).view(b, s, self.num_heads, -1).transpose(1, 2)
        v = self.to_v(context).view(b, s, self.num_heads, -1).transpose(1, 2)
{body}
        return self.proj(out.transpose(1, 2).reshape(b, t, 2 * c))
"""
_GROUPED = (
    _CROSS.replace("dim, 2 * dim)", "dim, dim // 2)")
    .replace("nn.Linear(dim, dim)\n        self.to_v", "nn.Linear(dim, dim // 2)\n        self.to_v")
    .replace("nn.Linear(2 * dim, dim)", "nn.Linear(dim, dim)")
    .replace("2 * c", "c")
    .replace("(context).view(b, s, self.num_heads, -1)", "(context).view(b, s, self.num_heads // 2, -1)")
)
_THREE = """\
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim=32, num_heads=4, p=0.0):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x{parameters}):
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).flatten(1, 2).unbind(0)
{body}
        return self.proj(out.view(b, self.num_heads, t, -1).transpose(1, 2).reshape(b, t, c))
"""


@dataclass(frozen=True)
class Pair:
    """One module by hand, and its rewrite: the lines that differ, and what the forward pass takes besides."""

    before: str
    after: str
    parameters: str = ""
    template: str = _HEADER

    def texts(self) -> tuple[str, str]:
        """The whole of both files."""
        return self._filled(self.before), self._filled(self.after)

    def _filled(self, lines: str) -> str:
        body = textwrap.indent(textwrap.dedent(lines).strip(), " " * 8)
        return self.template.replace("{parameters}", self.parameters).replace("{body}", body)


def by_hand(
    *between: str, scores: str = "attn = (q @ k.transpose(-2, -1)) * self.scale", product: str = "out = attn @ v"
) -> str:
    """Attention by hand with other lines between the scores and the product; "softmax" stands for the usual line."""
    lines = ["attn = attn.softmax(dim=-1)" if line == "softmax" else line for line in between or ("softmax",)]
    return "\n".join([scores, *lines, product])


def fused(arguments: str = "", *earlier: str) -> str:
    """The call of fused attention with more arguments, after other lines."""
    return "\n".join([*earlier, f"out = F.scaled_dot_product_attention(q, k, v{arguments})"])


_MASK = ", mask=None"
_IF = "if mask is not None:\n    "
_FILLED = f'{_IF}attn = attn.masked_fill(mask == 0, float("-inf"))'
_DROPPED = by_hand("softmax", "attn = self.drop(attn)")
_CAUSAL = by_hand('attn = attn.masked_fill(self.tri[:, :, :t, :t] == 0, float("-inf"))', "softmax")
_CORNER = "causal = torch.ones(t, s, dtype=torch.bool, device=x.device).tril(s - t)"
_IN_FLOAT32 = "x.dtype == torch.float32"
_RATE = ", dropout_p=self.drop.p if self.training else 0.0"

RIGHT: dict[str, Pair] = {
    "plain": Pair(by_hand(), fused()),
    "quotient": Pair(by_hand(scores="attn = q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)"), fused()),
    "query first": Pair(by_hand(scores="attn = (q * self.scale) @ k.mT"), fused()),
    "split root": Pair(by_hand(scores="attn = (q * self.scale**0.5) @ (k * self.scale**0.5).mT"), fused()),
    "no scale": Pair(by_hand(scores="attn = q @ k.mT"), fused(", scale=1.0")),
    "another scale": Pair(by_hand(scores="attn = q @ k.mT * 0.3"), fused(", scale=0.3")),
    "dropout": Pair(_DROPPED, fused(_RATE)),
    "dropout by function": Pair(
        by_hand("softmax", "attn = F.dropout(attn, self.p, self.training)"),
        fused(", dropout_p=self.p if self.training else 0.0"),
    ),
    "causal buffer": Pair(_CAUSAL, fused(", is_causal=True")),
    "causal added": Pair(
        by_hand('attn = attn + torch.full((t, t), float("-inf"), device=x.device, dtype=x.dtype).triu(1)', "softmax"),
        fused(", is_causal=True"),
    ),
    "causal where": Pair(
        by_hand("attn = torch.where(self.tri[:, :, :t, :t].bool(), attn, torch.finfo(attn.dtype).min)", "softmax"),
        fused(", is_causal=True"),
    ),
    "filled": Pair(by_hand(_FILLED, "softmax"), fused(", attn_mask=mask", f"{_IF}mask = mask != 0"), _MASK),
    "filled by its opposite": Pair(
        by_hand(f'{_IF}attn = attn.masked_fill(~mask, float("-inf"))', "softmax"), fused(", attn_mask=mask"), _MASK
    ),
    "filled where true": Pair(
        by_hand(f'{_IF}attn = attn.masked_fill(mask[:, None, None, :], float("-inf"))', "softmax"),
        fused(", attn_mask=mask", f"{_IF}mask = ~mask[:, None, None, :]"),
        _MASK,
    ),
    "finite fill": Pair(
        by_hand(f"{_IF}attn = attn.masked_fill(mask == 0, -1e9)", "softmax"),
        fused(
            ", attn_mask=kept",
            "kept = None",
            f"{_IF}hidden = mask == 0\n    whole = hidden.all(dim=-1, keepdim=True)\n"
            "    q = q.masked_fill(whole, 0.0)\n    kept = ~hidden | whole",
        ),
        _MASK,
    ),
    "added": Pair(by_hand("attn = attn + mask", "softmax"), fused(", attn_mask=mask.to(q.dtype)"), ", mask"),
    "learned bias": Pair(
        by_hand("attn = attn + self.bias[..., :t]", "softmax"), fused(", attn_mask=self.bias[..., :t]")
    ),
    "relative bias": Pair(
        by_hand(
            "at = torch.arange(t, device=x.device)",
            "attn = attn + self.table[:, at[None] - at[:, None] + 63]",
            "softmax",
        ),
        fused(", attn_mask=self.table[:, at[None] - at[:, None] + 63]", "at = torch.arange(t, device=x.device)"),
    ),
    "float32 in between": Pair(by_hand("attn = F.softmax(attn, dim=-1, dtype=torch.float32).to(q.dtype)"), fused()),
    "scores in float32": Pair(
        by_hand("attn = attn.softmax(-1).type_as(q)", scores="attn = (q.float() @ k.float().mT) * self.scale"), fused()
    ),
    "float32 throughout": Pair(
        by_hand(
            "softmax",
            scores="attn = (q.float() @ k.float().mT) * self.scale",
            product="out = (attn @ v.float()).to(v.dtype)",
        ),
        fused(),
    ),
    "float32 in between, with dropout": Pair(
        by_hand("attn = F.softmax(attn, dim=-1, dtype=torch.float32).to(q.dtype)", "attn = self.drop(attn)"),
        fused(_RATE),
    ),
    "einsum": Pair(
        by_hand(
            "softmax",
            scores='attn = torch.einsum("bhid,bhjd->bhij", q, k) * self.scale',
            product='out = torch.einsum("bhij,bhjd->bhid", attn, v)',
        ),
        fused(),
    ),
    "three dims": Pair(
        by_hand("softmax", scores="attn = torch.bmm(q, k.mT) * self.scale", product="out = torch.bmm(attn, v)"),
        fused(),
        template=_THREE,
    ),
    "baddbmm": Pair(
        by_hand(
            "softmax",
            scores="attn = torch.baddbmm(q.new_zeros(1, 1, 1), q, k.mT, beta=0, alpha=self.scale)",
            product="out = torch.bmm(attn, v)",
        ),
        fused(),
        template=_THREE,
    ),
    "cross": Pair(by_hand(), fused(), template=_CROSS),
    "cross, causal to the lower right": Pair(
        by_hand(_CORNER, 'attn = attn.masked_fill(~causal, float("-inf"))', "softmax"),
        fused(", attn_mask=causal", _CORNER),
        template=_CROSS,
    ),
    "cross, causal to the upper left": Pair(
        by_hand(_CORNER.replace("s - t", ""), 'attn = attn.masked_fill(~causal, float("-inf"))', "softmax"),
        fused(", is_causal=True"),
        template=_CROSS,
    ),
    "grouped heads": Pair(
        "k, v = (each.repeat_interleave(2, dim=1) for each in (k, v))\n" + by_hand(),
        fused(", enable_gqa=True"),
        template=_GROUPED,
    ),
    "numbers as a mask": Pair(
        by_hand(f'{_IF}attn = attn.masked_fill(mask.long() == 0, float("-inf"))', "softmax"),
        fused(", attn_mask=mask", f"{_IF}mask = mask.long() != 0"),
        _MASK,
    ),
    "returned as it is, and copied": Pair(by_hand(), fused().replace("v)", "v).contiguous()"), template=_RETURNED),
    "manual softmax": Pair(
        by_hand("attn = (attn - attn.amax(-1, keepdim=True)).exp()", "attn = attn / attn.sum(-1, keepdim=True)"),
        fused(),
    ),
}

WRONG: dict[str, Pair] = {
    "scale forgotten": Pair(by_hand(scores="attn = q @ k.mT"), fused()),
    "scale twice": Pair(by_hand(), fused("", "q = q * self.scale")),
    "scale inverted": Pair(by_hand(), fused(", scale=1 / self.scale")),
    "scale of the model": Pair(by_hand(), fused(", scale=c**-0.5")),
    "query and key swapped": Pair(by_hand(), "out = F.scaled_dot_product_attention(k, q, v)"),
    "polarity": Pair(by_hand(_FILLED, "softmax"), fused(", attn_mask=mask", f"{_IF}mask = mask == 0"), _MASK),
    "polarity by its opposite": Pair(
        by_hand(f'{_IF}attn = attn.masked_fill(mask, float("-inf"))', "softmax"), fused(", attn_mask=mask"), _MASK
    ),
    "mask dropped": Pair(by_hand(_FILLED, "softmax"), fused(), _MASK),
    "added mask dropped": Pair(by_hand(f"{_IF}attn = attn + mask", "softmax"), fused(), _MASK),
    "added mask as bool": Pair(by_hand("attn = attn + mask", "softmax"), fused(", attn_mask=mask.bool()"), ", mask"),
    "bool mask as numbers": Pair(
        by_hand(_FILLED, "softmax"), fused(", attn_mask=mask", f"{_IF}mask = mask.to(q.dtype)"), _MASK
    ),
    "numbers as a mask, inverted": Pair(
        by_hand(f'{_IF}attn = attn.masked_fill(mask.long() == 0, float("-inf"))', "softmax"),
        fused(", attn_mask=mask", f"{_IF}mask = mask.long() == 0"),
        _MASK,
    ),
    "padding of numbers with a finite fill as bool": Pair(
        by_hand(f"{_IF}attn = attn + (1.0 - mask[:, None, None, :]) * -1e9", "softmax"),
        fused(", attn_mask=mask", f"{_IF}mask = mask[:, None, None, :].bool()"),
        ", mask: torch.Tensor | None = None",
    ),
    "numbers as a mask, finite fill as bool": Pair(
        by_hand(f"{_IF}attn = attn.masked_fill(mask.long() == 0, -1e9)", "softmax"),
        fused(", attn_mask=mask", f"{_IF}mask = mask.long() != 0"),
        _MASK,
    ),
    # The gradients of the flash kernel come from the log of a sum, which has no digits left next to -1e9.
    "padding of large numbers, added": Pair(
        by_hand(f"{_IF}attn = attn + (1.0 - mask[:, None, None, :]) * -1e9", "softmax"),
        fused(", attn_mask=mask", f"{_IF}mask = ((1.0 - mask[:, None, None, :]) * -1e9).to(q.dtype)"),
        ", mask: torch.Tensor | None = None",
    ),
    "mask along the queries": Pair(
        by_hand(f'{_IF}attn = attn.masked_fill(mask[:, None, None, :], float("-inf"))', "softmax"),
        fused(", attn_mask=mask", f"{_IF}mask = ~mask[:, None, :, None]"),
        _MASK,
    ),
    "mask along the heads": Pair(
        by_hand("attn = attn + self.bias[..., :t]", "softmax"),
        fused(", attn_mask=self.bias.mean(0, keepdim=True)[..., :t]"),
    ),
    "bias along the batch": Pair(
        by_hand("attn = attn + mask[:, None]", "softmax"),
        fused(", attn_mask=mask[:1, None].to(q.dtype)"),
        ", mask: torch.Tensor",
    ),
    "bias without gradient": Pair(
        by_hand("attn = attn + self.bias[..., :t]", "softmax"), fused(", attn_mask=self.bias.detach()[..., :t]")
    ),
    "bias scaled": Pair(
        by_hand("attn = (attn + self.bias[..., :t]) * 2", "softmax"),
        fused(", attn_mask=self.bias[..., :t], scale=2 * self.scale"),
    ),
    "causal dropped": Pair(_CAUSAL, fused()),
    "causal added to nothing": Pair(by_hand(), fused(", is_causal=True")),
    "causal of another corner": Pair(
        by_hand(_CORNER, 'attn = attn.masked_fill(~causal, float("-inf"))', "softmax"),
        fused(", is_causal=True"),
        template=_CROSS,
    ),
    "causal, its own token too": Pair(
        by_hand("attn = attn.masked_fill(torch.ones(t, t, device=x.device).triu(2).bool(), -1e9)", "softmax"),
        fused(", is_causal=True"),
    ),
    "causal where inverted": Pair(
        by_hand("attn = torch.where(self.tri[:, :, :t, :t].bool(), attn, torch.finfo(attn.dtype).min)", "softmax"),
        fused(", attn_mask=self.tri[:, :, :t, :t] == 0"),
    ),
    "dropout in eval mode": Pair(_DROPPED, fused(", dropout_p=self.drop.p")),
    "dropout missing": Pair(_DROPPED, fused()),
    "dropout twice": Pair(_DROPPED, fused(f"{_RATE}").replace("out =", "v = self.drop(v)\nout =")),
    "dropout of the complement": Pair(_DROPPED, fused(", dropout_p=1 - self.drop.p if self.training else 0.0")),
    "dropout in eval mode alone": Pair(_DROPPED, fused(", dropout_p=0.0 if self.training else self.drop.p")),
    "dropout that was never there": Pair(by_hand(), fused(_RATE)),
    "dropout before the softmax": Pair(by_hand("attn = self.drop(attn)", "softmax"), fused(_RATE)),
    "finite fill as bool": Pair(
        by_hand(f"{_IF}attn = attn.masked_fill(mask == 0, -1e9)", "softmax"),
        fused(", attn_mask=mask", f"{_IF}mask = mask != 0"),
        _MASK,
    ),
    "finite fill of padding as bool": Pair(
        by_hand(f"{_IF}attn = attn.masked_fill(mask[:, None, None, :], torch.finfo(attn.dtype).min)", "softmax"),
        fused(", attn_mask=mask", f"{_IF}mask = ~mask[:, None, None, :]"),
        _MASK,
    ),
    "small fill as bool": Pair(
        by_hand(f"{_IF}attn = attn.masked_fill(mask == 0, -10.0)", "softmax"),
        fused(", attn_mask=mask", f"{_IF}mask = mask != 0"),
        _MASK,
    ),
    # The flash kernel gives a view of (b, t, h, d): what takes the result could merge batch and heads by a view.
    "returned as it is": Pair(by_hand(), fused(), template=_RETURNED),
    "softmax over the queries": Pair(by_hand("attn = attn.softmax(dim=-2)"), fused()),
    "sigmoid": Pair(by_hand("attn = attn.sigmoid()"), fused()),
    "softcap": Pair(by_hand("attn = 20 * torch.tanh(attn / 20)", "softmax"), fused()),
    "wrong heads": Pair(
        "k, v = (each.repeat(1, 2, 1, 1) for each in (k, v))\n" + by_hand(),
        fused(", enable_gqa=True"),
        template=_GROUPED,
    ),
    "keys and values from the same": Pair(
        by_hand(), "out = F.scaled_dot_product_attention(q, v[..., : q.shape[-1]], v)", template=_CROSS
    ),
    "float32 in between, and a scale": Pair(
        by_hand("attn = F.softmax(attn, dim=-1, dtype=torch.float32).to(q.dtype)"),
        fused(", scale=self.scale * (1 + 1e-4)"),
    ),
    "a cast to float32 that was not there": Pair(
        by_hand(), "out = F.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(q.dtype)"
    ),
    "negligible weights kept": Pair(by_hand("softmax", "attn = attn.clamp(min=1e-4)"), fused()),
}

# Modules that have no digits in float32: results are as far apart as rounding puts them, and the same in float64.
RIGHT_WITHOUT_DIGITS = {
    "sine of large numbers": Pair(by_hand(), fused(), template=_WITHOUT_DIGITS),
    "logistic map": Pair(by_hand(), fused(), template=_LOGISTIC),
    "beside a result with digits": Pair(by_hand(), fused(), template=_BESIDE),
    "long tails": Pair(by_hand(), fused(), template=_LONG_TAILS),
    "kept in a buffer": Pair(by_hand(), fused(), template=_KEPT),
}
WRONG_WITHOUT_DIGITS = {
    "another value": Pair(by_hand(), fused("", "v = v + 1e-6"), template=_WITHOUT_DIGITS),
    "another value without gradients": Pair(
        by_hand(), fused("", "v = v + 1e-6 if torch.is_inference_mode_enabled() else v"), template=_WITHOUT_DIGITS
    ),
    "another value in a batch that does not fit": Pair(
        by_hand(), fused("", "v = v + 1e-6 if (b, t) == (4, 5) else v"), template=_WITHOUT_DIGITS
    ),
    "other random numbers in float32": Pair(
        by_hand(),
        fused("", "if x.dtype == torch.float32 and self.training and b == 1 and t > 1:\n    torch.rand(1)"),
        template=_WITHOUT_DIGITS,
    ),
    "no number in float32": Pair(
        by_hand(), fused("", "if x.dtype == torch.float32:\n    v = v * float('nan')"), template=_WITHOUT_DIGITS
    ),
    "no number in float32 without gradients": Pair(
        by_hand(),
        fused("", "if x.dtype == torch.float32 and not torch.is_grad_enabled():\n    v = v * float('nan')"),
        template=_WITHOUT_DIGITS,
    ),
    "no gradient in float32 with frozen parameters": Pair(
        by_hand(),
        fused(
            "",
            f"lost = {_IN_FLOAT32} and not self.proj.weight.requires_grad",
            "if v.requires_grad:\n    v.register_hook(lambda grad: grad * (1.0, float('nan'))[lost])",
        ),
        template=_WITHOUT_DIGITS,
    ),
    "another value without gradients, seen beside": Pair(
        by_hand(), fused("", f"v = v * (1 + 0.5 * ({_IN_FLOAT32} and not torch.is_grad_enabled()))"), template=_BESIDE
    ),
    "another value in a batch that does not fit, seen beside": Pair(
        by_hand(), fused("", f"v = v * (1 + 0.5 * ({_IN_FLOAT32} and (b, t) == (4, 5)))"), template=_BESIDE
    ),
    "another value in a batch that does not fit, without a kernel": Pair(
        by_hand(), f"v = v * (1 + 0.5 * ({_IN_FLOAT32} and (b, t) == (4, 5)))\n" + by_hand(), template=_WITHOUT_DIGITS
    ),
    "another value, seen beside": Pair(by_hand(), fused("", f"v = v * (1 + 0.5 * ({_IN_FLOAT32}))"), template=_BESIDE),
}

# Modules that have digits in float32, and rewrites that are right in float64 alone.
_DOUBLED = "scale = 1.0 if x.dtype == torch.float64 else self.scale"
_SCORES = 'scores = (q @ k.mT * self.scale).masked_fill(self.tri[..., :t, :t] == 0, float("-inf"))'
WRONG_IN_FLOAT32 = {
    "another value in a batch that does not fit": Pair(
        by_hand(), fused("", f"v = v + 1e-2 * ({_IN_FLOAT32} and (b, t) == (4, 5))")
    ),
    "no number in a batch that does not fit": Pair(
        by_hand(), fused("", f"v = v * (1.0, float('nan'))[{_IN_FLOAT32} and (b, t) == (4, 5)]")
    ),
    "another second derivative": Pair(by_hand(), fused("", f"v = v + (v - v.detach()) ** 2 * ({_IN_FLOAT32})")),
    "no second derivative": Pair(
        by_hand(),
        fused("", f"if {_IN_FLOAT32} and v.requires_grad:\n    v.register_hook(lambda grad: grad.detach())"),
    ),
    "the scale of float64": Pair(
        f"{_DOUBLED}\n" + by_hand(scores="attn = q @ k.transpose(-2, -1) * scale"), fused(", scale=1.0")
    ),
    "another value without gradients, beside scores of -inf": Pair(
        by_hand("attn = scores.softmax(-1)", scores=_SCORES),
        fused(", is_causal=True", _SCORES, f"v = v * (1 + 0.5 * ({_IN_FLOAT32} and not torch.is_grad_enabled()))"),
        template=_SCORED,
    ),
}
