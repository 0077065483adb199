import torch
from tabular._attention_layers import TableAttention
from torch import nn


class TableEncoder(nn.Module):
    def __init__(self, width, heads, attn_dropout):
        super().__init__()
        self.attention = TableAttention(width, heads, False, attn_dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.norm(X + self.attention(X))
