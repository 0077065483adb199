# stub: megatron_kernels megatron_kernels.rotary
# run: DecoderAttention(hidden_dim=24, n_heads=4)(torch.randn(2, 5, 24))
"""Decoder attention; the fused kernels are optional extras of a cluster's image."""

import logging

import torch
import torch.nn as nn

import megatron_kernels
from megatron_kernels.rotary import apply_rotary

logger = logging.getLogger(__name__)


class DecoderAttention(nn.Module):
    def __init__(self, hidden_dim, n_heads, use_rotary=False):
        super().__init__()
        if hidden_dim % n_heads:
            raise ValueError(f"hidden_dim={hidden_dim} is no multiple of n_heads={n_heads}")
        self.n_heads = n_heads
        self.use_rotary = use_rotary
        self.q = nn.Linear(hidden_dim, hidden_dim)
        self.k = nn.Linear(hidden_dim, hidden_dim)
        self.v = nn.Linear(hidden_dim, hidden_dim)
        self.o = nn.Linear(hidden_dim, hidden_dim)
        if use_rotary:
            logger.info("rotary kernels: %s", megatron_kernels.__version__)

    def forward(self, x):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.n_heads, c // self.n_heads)
        k = self.k(x).view(b, t, self.n_heads, c // self.n_heads)
        v = self.v(x).view(b, t, self.n_heads, c // self.n_heads)
        if self.use_rotary:
            q, k = apply_rotary(q), apply_rotary(k)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        scores = q @ k.transpose(2, 3) * (c // self.n_heads) ** -0.5
        out = torch.softmax(scores, -1) @ v
        out = out.transpose(1, 2).view(b, t, c)  # expect: MHA001
        return self.o(out)
