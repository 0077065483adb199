# run: CausalAttention(24, 4, flash=False)(torch.randn(2, 5, 24))
# run: CausalAttention(24, 4, flash=True)(torch.randn(2, 5, 24))
"""Two paths: the fused kernel, and the same by hand."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class CausalAttention(nn.Module):
    def __init__(self, d_model, n_heads, flash=False, max_len=64):
        super().__init__()
        self.n_heads = n_heads
        self.d_head = d_model // n_heads
        self.flash = flash
        self.wq = nn.Linear(d_model, d_model)
        self.wk = nn.Linear(d_model, d_model)
        self.wv = nn.Linear(d_model, d_model)
        self.wo = nn.Linear(d_model, d_model)
        self.register_buffer("causal", torch.ones(max_len, max_len).triu(1).bool(), persistent=False)

    def forward(self, x):
        b, t, c = x.shape
        q = self.wq(x).view(b, t, self.n_heads, self.d_head).transpose(1, 2)
        k = self.wk(x).view(b, t, self.n_heads, self.d_head).transpose(1, 2)
        v = self.wv(x).view(b, t, self.n_heads, self.d_head).transpose(1, 2)

        if self.flash:
            # the kernel decides on the layout of its output
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            y = y.transpose(1, 2).reshape(b, t, c)
        else:
            s = q @ k.transpose(-2, -1) / math.sqrt(self.d_head)
            s = s.masked_fill(self.causal[:t, :t], float("-inf"))
            y = s.softmax(dim=-1) @ v
            y = y.transpose(1, 2).view(b, t, c)  # expect: MHA001

        return self.wo(y)
