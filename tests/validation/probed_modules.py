"""One attention, right, or with one of the bugs that the probes are for."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, HEADS = 32, 4


class Attention(nn.Module):
    """Self-attention by hand; ``bug`` names what is wrong with it, if anything is."""

    def __init__(self, bug: str = "", *, causal: bool = False, rate: float = 0.25) -> None:
        super().__init__()
        self.bug, self.rate = bug, rate
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        later = torch.ones(64, 64, dtype=torch.bool).triu(1) if causal else None
        self.register_buffer("later", later, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        split = self.qkv(x).view(b, t, 3, HEADS, c // HEADS)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        if self.bug == "heads split without transpose":
            q, k, v = (part.reshape(b, HEADS, t, c // HEADS) for part in split.unbind(2))
        if self.bug == "keys of the batch averaged":
            k = k.mean(0, keepdim=True).expand_as(k)
        scores = q @ k.transpose(-2, -1) * self.scale(c)
        if self.later is not None:
            scores = self.masked(scores, self.later[:t, :t])
        weights = scores.softmax(-2 if self.bug == "softmax over queries" else -1)
        if self.bug == "mask after softmax":
            weights = weights * torch.ones(t, t).tril()
        if self.bug == "dropout in eval":
            weights = F.dropout(weights, self.rate)
        out = weights @ v
        if self.bug != "heads merged without transpose":
            out = out.transpose(1, 2)
        return self.proj(out.reshape(b, t, c))

    def scale(self, width: int) -> float:
        if self.bug == "scaled by the model's width":
            return float(width**-0.5)
        if self.bug == "not scaled":
            return 1.0
        return float((width // HEADS) ** -0.5)

    def masked(self, scores: torch.Tensor, later: torch.Tensor) -> torch.Tensor:
        if self.bug == "mask never applied":
            return scores
        if self.bug == "mask inverted":
            return scores.masked_fill(~later, float("-inf"))
        if self.bug == "mask masks nothing":
            return scores.masked_fill(later, -1e-9)
        if self.bug == "mask overflows":
            return scores.masked_fill(later, -1e9)
        return scores.masked_fill(later, torch.finfo(scores.dtype).min)


class Fused(nn.Module):
    """Self-attention by torch's own."""

    def __init__(self, *, rate: float = 0.0, gated: bool = True, causal: bool = True, inverted: bool = False) -> None:
        super().__init__()
        self.rate, self.gated, self.causal, self.inverted = rate, gated, causal, inverted
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training or not self.gated else 0.0
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if self.inverted else None
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=rate, is_causal=self.causal and not self.inverted
        )
        return out.transpose(1, 2).flatten(2)


class Cross(nn.Module):
    """Cross-attention written with einsum, on as many tokens as it gets."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.q = nn.Linear(WIDTH, WIDTH)
        self.kv = nn.Linear(WIDTH, 2 * WIDTH)
        self.is_causal = False

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q = self.q(x).view(b, t, HEADS, -1)
        k, v = self.kv(context).view(b, context.shape[1], 2, HEADS, -1).unbind(2)
        if self.bug == "values scrambled":
            v = v.reshape(b, HEADS, -1, c // HEADS).transpose(1, 2)
        weights = (torch.einsum("bthd,bshd->bhts", q, k) / (c // HEADS) ** 0.5).softmax(3)
        return torch.einsum("bhts,bshd->bthd", weights, v).flatten(2)


class Stateful(nn.Module):
    """Keeps what it was given: in a buffer, in a list, and in an attribute that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Attention(causal=True)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.register_buffer("calls", torch.zeros(()))
        self.cache: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.cache.append(x)
        self.last = x
        x = torch.cat(self.cache, dim=1)
        return self.inner(self.norm(x.transpose(1, 2)).transpose(1, 2))


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float | None = None, **kept: Any) -> torch.Tensor:
    """Attention as a function of (b, h, t, d)."""
    scores = torch.matmul(q, k.transpose(-1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return torch.matmul(F.softmax(scores, dim=-1), v)


class Placed(torch.nn.Module):
    """Attention whose positions and mask are given: cosines and sines of each token, and pairs that may attend.

    The softmax is taken in float32, whatever comes in; with ``scrambled``, heads are split across tokens.
    """

    def __init__(self, scrambled: bool = False) -> None:
        super().__init__()
        self.scrambled = scrambled
        self.qkv, self.out = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Any, rotary: Any, mask: Any = None) -> Any:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k = (each * rotary[0] + each.flip(-1) * rotary[1] for each in (q, k))
        shape = (b, HEADS, t, -1) if self.scrambled else (b, t, HEADS, -1)
        q, k, v = (each.reshape(shape) for each in (q, k, v))
        if not self.scrambled:
            q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        weights = scores.softmax(-1, dtype=torch.float32).to(x.dtype)
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, -1))
