# not run: functions by themselves
"""Biases, and masks that are made large numbers of."""
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, 4)

    def good(self, x, mask):
        return self.attn(x, x, x, attn_mask=mask.float())

    def good2(self, x, padding_mask):
        bias = (1.0 - padding_mask.float()) * -1e4
        return self.attn(x, x, x, attn_mask=bias, key_padding_mask=padding_mask.bool())

    def good3(self, x, padding_mask):
        bias = torch.zeros_like(padding_mask, dtype=x.dtype).masked_fill(padding_mask.bool(), float("-inf"))
        return self.attn(x, x, x, key_padding_mask=bias)


def good(q, k, v, mask):
    s = q @ k.mT * k.size(-1) ** -0.5 + (1 - mask.long()) * -10000.0
    return s.softmax(-1) @ v


def good2(q, k, v, bias, mask):
    s = q @ k.mT * k.size(-1) ** -0.5 + bias + mask
    return s.softmax(-1) @ v


def good3(q, k, v, mask):
    return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask.float())


def good4(q, k, v, same, strength):
    s = q @ k.mT * k.size(-1) ** -0.5 + (same == 1) * strength
    return s.softmax(-1) @ v


def good5(q, k, v, padding_mask):
    s = q @ k.mT * k.size(-1) ** -0.5
    mask = padding_mask.long()
    return (s + torch.where(mask == 0, -1e4, 0.0)).softmax(-1) @ v
