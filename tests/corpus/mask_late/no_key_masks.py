# not run: methods by themselves
"""Scores that were masked too, in code that reads like numbers; masks of something else; weights that are normalised."""
import torch
import torch.nn.functional as F
from torch import nn


class Right(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.gamma = nn.Parameter(torch.ones(heads, 1, 1))

    def good(self, q, k, v, mask):
        s = q @ k.mT * k.size(-1) ** -0.5
        s = s + (1 - mask) * torch.finfo(s.dtype).min
        w = s.softmax(-1) * mask
        return w @ v

    def good2(self, q, k, v, mask):
        s = q @ k.mT * k.size(-1) ** -0.5
        s = s + mask
        w = s.softmax(-1) * (mask == 0)
        return w @ v

    def good3(self, q, k, v, head_mask):
        w = (q @ k.mT * k.size(-1) ** -0.5).softmax(-1) * head_mask
        return w @ v

    def good4(self, q, k, v, gate):
        w = (q @ k.mT * k.size(-1) ** -0.5).softmax(-1) * gate
        return w @ v

    def good5(self, q, k, v, mask):
        w = (q @ k.mT * k.size(-1) ** -0.5).softmax(-1) * mask
        w = w / w.sum(-1, keepdim=True)
        return w @ v

    def good6(self, q, k, v, mask):
        w = (q @ k.mT * k.size(-1) ** -0.5).softmax(-1)
        o = (w @ v) * mask
        return o

    def good7(self, q, k, v, query_mask):
        w = (q @ k.mT * k.size(-1) ** -0.5).softmax(-1) * query_mask[..., None]
        return w @ v

    def good8(self, q, k, v, mask):
        s = q @ k.mT * k.size(-1) ** -0.5
        s = torch.where(mask, s, torch.finfo(s.dtype).min)
        w = s.softmax(-1) * mask
        return w @ v

    def good9(self, q, k, v, mask):
        bias = (1.0 - mask) * -1e4
        s = q @ k.mT * k.size(-1) ** -0.5 + bias
        w = s.softmax(-1) * mask
        return w @ v

    def good10(self, q, k, v, drop_mask, mask_scale):
        w = (q @ k.mT * k.size(-1) ** -0.5).softmax(-1) * drop_mask * mask_scale
        return w @ v
