# not run: functions by themselves
# fix: none (the code does not say which of the two 1 means)
"""Masks of yes and no that are added to scores by hand, or made numbers of."""
import torch
import torch.nn.functional as F
from torch import nn


def a1(q, k, v, lengths):
    pad = torch.arange(k.shape[-2], device=q.device) >= lengths[:, None]
    s = q @ k.mT * k.size(-1) ** -0.5 + pad[:, None, None]  # expect: MHA113
    return s.softmax(-1) @ v


def a2(q, k, v, padding_mask):
    s = q @ k.mT * k.size(-1) ** -0.5
    s += padding_mask.bool()[:, None, None]  # expect: MHA113
    return s.softmax(-1) @ v


def a3(q, k, v):
    s = q @ k.mT * k.size(-1) ** -0.5
    s = torch.add(s, torch.ones_like(s).triu(1))  # expect: MHA113
    return s.softmax(-1) @ v


def a4(q, k, v, mask):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask.long())  # expect: MHA113


def a5(q, k, v, batch):
    mask = batch["attention_mask"].float()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])  # expect: MHA113


class M(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, 4)

    def forward(self, x, padding_mask):
        return self.attn(x, x, x, key_padding_mask=padding_mask.float())  # expect: MHA113
