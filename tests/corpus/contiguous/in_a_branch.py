# run: Pool(24, 3)(torch.randn(2, 6, 24))
# run: Pool(24, 3, causal=True)(torch.randn(2, 6, 24))
# fix: none (the branch would be empty)
import torch
from torch import nn


class Pool(nn.Module):
    def __init__(self, dim, heads, causal=False):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        q, k, v = self.qkv(x).view(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4).contiguous().chunk(3)
        att = (q[0] @ k[0].transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        if self.causal:
            att = att.contiguous()  # expect: MHA004
        return self.proj((att @ v[0]).transpose(1, 2).reshape(B, N, C))
