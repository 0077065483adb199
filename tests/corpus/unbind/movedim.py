# run: Attention(24, 4)(torch.randn(2, 5, 24))
"""Packed projection split with movedim; the kernel wants (b, t, h, d)."""
import torch
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, n_embd: int, n_head: int):
        super().__init__()
        self.n_head = n_head
        self.attn = nn.Linear(n_embd, 3 * n_embd)
        self.proj = nn.Linear(n_embd, n_embd)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.size()
        qkv = self.attn(x).view(b, t, 3, self.n_head, c // self.n_head).movedim(2, 0)
        q, k, v = qkv.unbind(0)  # expect: MHA002
        w = torch.einsum("bqhd,bkhd->bhqk", q, k).mul((c // self.n_head) ** -0.5).softmax(-1)
        y = torch.einsum("bhqk,bkhd->bqhd", w, v).reshape(b, t, c)
        return self.proj(y)
