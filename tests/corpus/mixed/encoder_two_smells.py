# fix: unsafe
# run: EncoderSelfAttention(24, 4)(torch.randn(2, 5, 24))
"""Encoder attention that packs its projections and forgets the last one."""
import torch
from torch import nn
import torch.nn.functional as F


class EncoderSelfAttention(nn.Module):  # expect: MHA003
    def __init__(self, embed_dim, num_heads, attn_dropout=0.0):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.attn_dropout = attn_dropout
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)

    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x)
        qkv = qkv.reshape(b, n, 3, self.num_heads, self.head_dim)
        qkv = qkv.permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(dim=0)  # expect: MHA002
        p = self.attn_dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=p)
        out = out.transpose(1, 2).reshape(b, n, c)
        return out
