# run: Lengths(32, 4)(torch.randn(2, 5, 32), torch.tensor([3, 5]))
# fix: unsafe
"""Padding masks of zeros and ones that are added to the scores."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Lengths(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x, lengths):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)
        mask = (torch.arange(t, device=x.device)[None, :] < lengths[:, None]).float()
        mask = mask.view(b, 1, 1, t)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # expect: MHA113
        return self.out(y.transpose(1, 2).flatten(2))
