# run: Attention(16, 4)(torch.randn(2, 5, 16))
# run: CausalAttention(16, 4)(torch.randn(2, 5, 16))
"""The same split spelled with keywords."""
import torch as th
import torch
import torch.nn as nn


class Attention(nn.Module):
    is_causal = False

    def __init__(self, dim: int, num_heads: int = 4):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = th.unbind(input=qkv, dim=0)  # expect: MHA002
        x = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal)
        return self.proj(x.transpose(1, 2).reshape(B, N, C))


class CausalAttention(Attention):
    is_causal = True

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(dim=0)  # expect: MHA002
        x = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal)
        return self.proj(x.transpose(1, 2).reshape(B, N, C))
