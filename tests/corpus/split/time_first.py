# run: Attention(32, 4)(torch.randn(6, 3, 32))
# fix: unsafe
"""Fairseq's layout: time, batch, features; heads are split off into the batch."""
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, embed_dim // num_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(embed_dim, embed_dim) for _ in range(4))

    def forward(self, query):
        tgt_len, bsz, embed_dim = query.size()
        q = self.q_proj(query) * self.head_dim**-0.5
        q = q.view(bsz * self.num_heads, tgt_len, self.head_dim)  # expect: MHA102
        k = self.k_proj(query).view(-1, bsz * self.num_heads, self.head_dim).transpose(0, 1)
        v = self.v_proj(query).view(-1, bsz * self.num_heads, self.head_dim).transpose(0, 1)
        y = torch.bmm(torch.bmm(q, k.transpose(1, 2)).softmax(dim=-1), v)
        return self.out_proj(y.transpose(0, 1).reshape(tgt_len, bsz, embed_dim))
