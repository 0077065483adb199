# not run: flash-attn needs a GPU
# stub: flash_attn
# fix: unsafe
# not exercised: flash-attn is not installed
"""(b, h, t, d) given to a kernel that takes (b, t, h, d)."""

import torch.nn as nn
from flash_attn import flash_attn_func


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.dim = heads, dim
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.qkv = nn.Linear(dim, 3 * dim)


class Flash(Base):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        y = flash_attn_func(q, k, v, causal=True)  # expect: MHA115
        return self.out(y.transpose(1, 2).reshape(b, t, c))
