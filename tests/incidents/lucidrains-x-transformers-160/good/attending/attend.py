from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import einsum, nn


def exists(val):
    return val is not None


def create_causal_mask(i, j, device):
    return torch.ones((i, j), device=device, dtype=torch.bool).triu(j - i + 1)


class Attend(nn.Module):
    def __init__(self, *, dropout=0.0, causal=False, flash=False, scale=None):
        super().__init__()
        self.scale = scale
        self.causal = causal
        self.create_causal_mask = create_causal_mask
        self.attn_fn = partial(F.softmax, dim=-1)
        self.dropout = dropout
        self.attn_dropout = nn.Dropout(dropout)
        self.flash = flash

    def flash_attn(self, q, k, v, mask=None):
        batch, heads, q_len, _, k_len, device = *q.shape, k.shape[-2], q.device
        causal = self.causal
        if exists(mask):
            assert mask.ndim == 4
            mask = mask.expand(batch, heads, q_len, k_len)

            # the flag can't be set beside a mask
            if causal:
                causal_mask = self.create_causal_mask(q_len, k_len, device=device)
                mask = mask & ~causal_mask
                causal = False

        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0, is_causal=causal
        )

    def forward(self, q, k, v, mask=None):
        scale = self.scale if exists(self.scale) else q.shape[-1] ** -0.5
        if exists(mask) and mask.ndim == 2:
            mask = rearrange(mask, "b j -> b 1 1 j")
        if self.flash:
            return self.flash_attn(q, k, v, mask=mask)

        sim = einsum("b h i d, b h j d -> b h i j", q, k) * scale
        fill = -torch.finfo(sim.dtype).max
        if exists(mask):
            sim = sim.masked_fill(~mask, fill)
        if self.causal:
            i, j = sim.shape[-2:]
            sim = sim.masked_fill(self.create_causal_mask(i, j, device=sim.device), fill)
        weights = self.attn_dropout(self.attn_fn(sim))
        return einsum("b h i j, b h j d -> b h i d", weights, v)
