# run: MaskedAttention(24, 4)(torch.randn(2, 5, 24))
import math
import torch
from torch import nn
import torch.nn.functional as F


class MaskedAttention(nn.Module):
    def __init__(self, n_embd: int, n_head: int, dropout: float = 0.1, max_len: int = 32):
        super().__init__()
        self.n_head = n_head
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=False)
        self.proj = nn.Linear(n_embd, n_embd, bias=False)
        self.drop = nn.Dropout(dropout)
        self.register_buffer("tril", torch.tril(torch.ones(max_len, max_len, dtype=torch.bool)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, C = x.shape
        D = C // self.n_head
        qkv = self.qkv(x).view(B, T, 3, self.n_head, D).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # (B, H, T, D)  # expect: MHA002

        att = (q @ k.transpose(-2, -1)) / math.sqrt(D)
        att = att.masked_fill(~self.tril[:T, :T], float("-inf"))
        att = self.drop(F.softmax(att, dim=-1))

        y = (att @ v).transpose(1, 2).view(B, T, C)  # expect: MHA001
        return self.proj(y)
