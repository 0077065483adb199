"""What ``torch.compile`` fuses by itself, as people write it in a module: one body for each of torch's patterns.

torch numbers the patterns in ``torch/_inductor/fx_passes/fuse_attention.py``. Each is a graph; here is a module that
computes the same. ``docs/fused-attention-patterns.md`` has one row for each, which says what MHA201 does with it.
"""

from __future__ import annotations

from dataclasses import dataclass

HEAD = """import math

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim=32, heads=4, rate=0.1):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.scale = self.width**-0.5
        self.drop = nn.Dropout(rate)
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.register_buffer("lower", torch.tril(torch.ones(64, 64, dtype=torch.bool)).view(1, 1, 64, 64))

"""
PROJECTED = """        b, t, c = x.shape
        q = self.query(x).view(b, t, self.heads, self.width)
        k = self.key(x).view(b, t, self.heads, self.width)
        v = self.value(x).view(b, t, self.heads, self.width)
"""
IN_FRONT = "".join(f"        {name} = {name}.permute(0, 2, 1, 3)\n" for name in "qkv")
MERGED = "        return self.out(context.transpose(1, 2).reshape(b, t, c))\n"
WITH_KEYS = "        return self.out(context.transpose(1, 2).reshape(b, t, c)), k, v\n"

LOW = """        causal_mask = self.lower[:, :, :t, :t]
        low = torch.full([], torch.finfo(scores.dtype).min, dtype=scores.dtype, device=scores.device)
        scores = torch.where(causal_mask, scores, low)
"""
FILLED = """        hidden = (mask == 0).view(b, 1, 1, t).expand_as(scores)
        scores = scores.masked_fill(hidden, float("-inf"))
"""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A module that computes what torch's pattern ``number`` describes."""

    number: int
    body: str
    arguments: str = "x"
    head: str = PROJECTED + IN_FRONT
    tail: str = MERGED

    @property
    def text(self) -> str:
        """The file."""
        lines = "".join(f"        {line}\n" if line else "\n" for line in self.body.strip().splitlines())
        return f"{HEAD}    def forward(self, {self.arguments}):\n{self.head}{lines}{self.tail}"


PRODUCT = "scores = torch.matmul(q, k.transpose(-2, -1))\n"
END = "weights = scores.softmax(dim=-1)\ncontext = weights.matmul(v)"
DROPPED = "weights = self.drop(scores.softmax(dim=-1))\ncontext = weights.matmul(v)"
WIDE = "scores = scores.to(torch.float32)\nweights = torch.softmax(scores, dim=-1)\n"
NARROW = "weights = weights.to(v.dtype)\ncontext = weights @ v"
T5_END = "weights = F.softmax(scores.float(), dim=-1).type_as(scores)\n"
BMM = """        b, t, c = x.shape
        q = self.query(x) * self.scale
        q = q.view(b, t, self.heads, self.width).transpose(1, 2).reshape(b * self.heads, t, self.width)
        k = self.key(x).view(b, t, self.heads, self.width).transpose(1, 2).reshape(b * self.heads, t, self.width)
        v = self.value(x).view(b, t, self.heads, self.width).transpose(1, 2).reshape(b * self.heads, t, self.width)
"""
BMM_MERGED = """        context = context.view(b, self.heads, t, self.width)
        return self.out(context.transpose(1, 2).reshape(b, t, c))
"""
VISFORMER = """        b, t, c = x.shape
        joined = torch.cat([self.query(x), self.key(x), self.value(x)], dim=-1)
        q, k, v = joined.view(b, t, 3, self.heads, self.width).permute(2, 0, 3, 1, 4).unbind(0)
"""
SPLIT_SCALE = """root = math.sqrt(self.scale)
q = q * root
k = k.transpose(-2, -1) * root
"""

PATTERNS = (
    Pattern(1, PRODUCT + "scores = scores.div(math.sqrt(self.width))\n" + END),
    Pattern(2, PRODUCT + "scores = scores.mul(self.scale)\n" + END),
    Pattern(3, PRODUCT + "scores = scores.div(math.sqrt(self.width))\n" + DROPPED),
    Pattern(4, PRODUCT + "scores = scores.mul(self.scale)\n" + DROPPED),
    Pattern(
        5,
        "scores = q @ k.transpose(-2, -1) / math.sqrt(self.width) + mask\nweights = torch.softmax(scores, dim=-1)\n"
        "context = weights @ v",
        arguments="x, mask",
    ),
    Pattern(
        6,
        "scores = q @ k.transpose(-2, -1) / math.sqrt(self.width) + mask\nweights = torch.softmax(scores, dim=-1)\n"
        "weights = self.drop(weights)\ncontext = weights @ v",
        arguments="x, mask",
    ),
    Pattern(
        7,
        "scores = q @ k.transpose(-2, -1) / math.sqrt(self.width)\n" + WIDE + "weights = self.drop(weights)\n" + NARROW,
    ),
    Pattern(8, "scores = q @ k.transpose(-2, -1) / math.sqrt(self.width)\n" + WIDE + NARROW),
    Pattern(
        9,
        "q = q / math.sqrt(self.width)\nscores = q @ k.transpose(-2, -1)\n"
        + WIDE
        + "weights = self.drop(weights)\n"
        + NARROW,
    ),
    Pattern(10, "q = q / math.sqrt(self.width)\nscores = q @ k.transpose(-2, -1)\n" + WIDE + NARROW),
    Pattern(11, "context = torch.matmul(q, k.transpose(-2, -1)).div(math.sqrt(self.width)).softmax(dim=-1).matmul(v)"),
    Pattern(
        12,
        "scores = torch.matmul(q, k.transpose(-2, -1)).div(math.sqrt(self.width))\n"
        "context = F.dropout(scores.softmax(dim=-1), p=self.drop.p, training=self.training).matmul(v)",
    ),
    Pattern(
        13,
        "weights = torch.bmm(q, k.transpose(1, 2)).softmax(dim=-1)\nweights = self.drop(weights)\n"
        "context = torch.bmm(weights, v)",
        head=BMM,
        tail=BMM_MERGED,
    ),
    Pattern(14, PRODUCT + "scores = scores.div(math.sqrt(self.width)) + mask\n" + END, arguments="x, mask"),
    Pattern(
        15,
        "scores = q @ k.transpose(-2, -1)\nscores = scores.div(math.sqrt(self.width))\n"
        + FILLED.replace("        ", "")
        + "context = torch.softmax(scores, dim=-1) @ v",
        arguments="x, mask",
    ),
    Pattern(
        16,
        PRODUCT + "scores = scores.div(math.sqrt(self.width)) + mask\n"
        "weights = self.drop(scores.softmax(dim=-1)).to(dtype=q.dtype)\ncontext = weights.matmul(v)",
        arguments="x, mask",
    ),
    Pattern(
        17,
        "scores = q @ k.transpose(-2, -1)\nscores = scores.div(math.sqrt(self.width))\n"
        + FILLED.replace("        ", "")
        + "context = self.drop(torch.softmax(scores, dim=-1)) @ v",
        arguments="x, mask",
    ),
    Pattern(
        18,
        "scores = torch.matmul(q, k.permute(0, 1, 3, 2))\n"
        "scores = scores / torch.full([], self.width**0.5, dtype=scores.dtype, device=scores.device)\n"
        + LOW.replace("        ", "")
        + DROPPED,
        tail=WITH_KEYS,
    ),
    Pattern(
        19,
        "scores = torch.matmul(q, k.permute(0, 1, 3, 2))\n"
        "scores = scores / torch.full([], self.width**0.5, dtype=scores.dtype, device=scores.device)\n"
        + LOW.replace("        ", "")
        + "scores = scores + mask\nweights = scores.softmax(dim=-1).type(v.dtype)\n"
        "weights = self.drop(weights)\ncontext = weights.matmul(v)",
        arguments="x, mask",
    ),
    Pattern(
        20,
        "q = q / math.sqrt(self.width)\nscores = q @ k.transpose(-2, -1)\n"
        + FILLED.replace("        ", "")
        + "context = self.drop(torch.softmax(scores, dim=-1)) @ v",
        arguments="x, mask",
    ),
    Pattern(
        21,
        "scores = torch.matmul(q, k.transpose(3, 2))\nscores += mask\n" + T5_END + "context = torch.matmul(weights, v)",
        arguments="x, mask",
    ),
    Pattern(
        22,
        "scores = torch.matmul(q, k.transpose(3, 2))\nscores += mask\n" + T5_END + "context = torch.matmul(weights, v)",
        arguments="x, mask",
        tail=WITH_KEYS,
    ),
    Pattern(
        23,
        "scores = torch.matmul(q, k.transpose(3, 2))\n" + T5_END + "context = torch.matmul(weights, v)",
        tail=WITH_KEYS,
    ),
    Pattern(
        24,
        "scores = torch.bmm(q, k.transpose(1, 2))\nscores = scores.view(b, self.heads, t, t) + mask\n"
        "scores = scores.view(b * self.heads, t, t)\nweights = F.softmax(scores, dim=-1)\n"
        "context = torch.bmm(weights, v)",
        arguments="x, mask",
        head=BMM,
        tail=BMM_MERGED,
    ),
    Pattern(
        25,
        "scores = torch.matmul(q, k.transpose(3, 2))\nscores += mask\n"
        + T5_END
        + "weights = self.drop(weights)\ncontext = torch.matmul(weights, v)",
        arguments="x, mask",
    ),
    Pattern(
        26,
        "scores = torch.matmul(q, k.transpose(3, 2))\nscores += mask\n"
        + T5_END
        + "weights = self.drop(weights)\ncontext = torch.matmul(weights, v)",
        arguments="x, mask",
        tail=WITH_KEYS,
    ),
    Pattern(
        27,
        "scores = torch.matmul(q, k.transpose(3, 2))\n"
        + T5_END
        + "weights = self.drop(weights)\ncontext = torch.matmul(weights, v)",
        tail=WITH_KEYS,
    ),
    Pattern(
        28,
        "weights = self.drop((q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1))\ncontext = weights @ v",
        head=VISFORMER,
    ),
    Pattern(
        29, SPLIT_SCALE + "weights = torch.softmax(q @ k + mask, dim=-1)\ncontext = weights @ v", arguments="x, mask"
    ),
    Pattern(30, SPLIT_SCALE + "weights = torch.softmax(q @ k, dim=-1)\ncontext = weights @ v"),
)
