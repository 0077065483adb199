# run: Padding(50, 32).eval()(torch.randint(0, 50, (7, 7)))
# run: Causal(32).eval()(torch.randn(7, 7, 32))
# fix: none (torch raises, but in a batch of as many entries as tokens)
"""Masks of shapes that torch takes for (b, t, c) alone: without the flag it raises, but in a batch of t entries."""

import torch
import torch.nn as nn


class Padding(nn.Module):
    def __init__(self, vocab, d):
        super().__init__()
        self.embed = nn.Embedding(vocab, d, padding_idx=0)
        self.attn = nn.MultiheadAttention(d, 4)  # expect: MHA117

    def forward(self, ids):
        x = self.embed(ids)
        pad = ids == 0
        return self.attn(x, x, x, key_padding_mask=pad, need_weights=False)[0]


class Causal(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.attn = nn.MultiheadAttention(d, 4)  # expect: MHA117

    def forward(self, x):
        B, T, C = x.shape
        mask = torch.triu(torch.ones(T, T, device=x.device), diagonal=1).bool()
        return self.attn(x, x, x, attn_mask=mask, need_weights=False)[0]
