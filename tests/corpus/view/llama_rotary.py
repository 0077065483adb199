# run: Attention(ModelArgs())(torch.randn(2, 6, 32), rope_table(6, 8))
"""Decoder attention with rotary positions, grouped keys and values."""
from dataclasses import dataclass
from typing import Optional

import torch
from torch import nn


@dataclass
class ModelArgs:
    dim: int = 32
    n_heads: int = 4
    n_kv_heads: Optional[int] = 2
    max_seq_len: int = 64


def rope_table(length, width, theta=10000.0):
    inverse = theta ** (-torch.arange(0, width, 2).float() / width)
    angles = torch.outer(torch.arange(length).float(), inverse)
    return torch.stack([angles.cos(), angles.sin()])  # (2, t, d/2)


def rotate(x, table):
    cos, sin = table[0][None, :, None], table[1][None, :, None]
    left, right = x.chunk(2, dim=-1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)


class Attention(nn.Module):
    def __init__(self, args: ModelArgs):
        super().__init__()
        self.n_heads = args.n_heads
        self.n_kv_heads = args.n_heads if args.n_kv_heads is None else args.n_kv_heads
        self.n_rep = self.n_heads // self.n_kv_heads
        self.head_dim = args.dim // args.n_heads
        self.wq = nn.Linear(args.dim, args.n_heads * self.head_dim, bias=False)
        self.wk = nn.Linear(args.dim, self.n_kv_heads * self.head_dim, bias=False)
        self.wv = nn.Linear(args.dim, self.n_kv_heads * self.head_dim, bias=False)
        self.wo = nn.Linear(args.n_heads * self.head_dim, args.dim, bias=False)

    def forward(self, x: torch.Tensor, freqs: torch.Tensor, mask: Optional[torch.Tensor] = None):
        bsz, seqlen, _ = x.shape
        xq = rotate(self.wq(x).view(bsz, seqlen, self.n_heads, self.head_dim), freqs)
        xk = rotate(self.wk(x).view(bsz, seqlen, self.n_kv_heads, self.head_dim), freqs)
        xv = self.wv(x).view(bsz, seqlen, self.n_kv_heads, self.head_dim)

        keys = xk.repeat_interleave(self.n_rep, dim=2).transpose(1, 2)
        values = xv.repeat_interleave(self.n_rep, dim=2).transpose(1, 2)
        scores = torch.matmul(xq.transpose(1, 2), keys.transpose(2, 3)) / self.head_dim**0.5
        if mask is not None:
            scores = scores + mask
        scores = torch.softmax(scores.float(), dim=-1).type_as(xq)
        output = torch.matmul(scores, values)  # (bs, n_heads, seqlen, head_dim)
        output = output.transpose(1, 2).view(bsz, seqlen, -1)  # expect: MHA001
        return self.wo(output)
