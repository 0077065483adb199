# run: MultiHeadSelfAttention(Config())(torch.randn(2, 5, 36))
# run: MultiHeadSelfAttention(Config(n_heads=3))(torch.randn(2, 5, 36), torch.ones(2, 5), output_attentions=True)
import math

import torch
from torch import Tensor, nn


class Config:
    def __init__(self, dim: int = 36, n_heads: int = 6, attention_dropout: float = 0.1):
        self.dim = dim
        self.n_heads = n_heads
        self.attention_dropout = attention_dropout


class MultiHeadSelfAttention(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.dim = config.dim
        self.n_heads = config.n_heads
        self.dropout = nn.Dropout(p=config.attention_dropout)

        if self.dim % self.n_heads != 0:
            raise ValueError(f"self.n_heads: {self.n_heads} must divide self.dim: {self.dim} evenly")

        self.q_lin = nn.Linear(in_features=config.dim, out_features=config.dim)
        self.k_lin = nn.Linear(in_features=config.dim, out_features=config.dim)
        self.v_lin = nn.Linear(in_features=config.dim, out_features=config.dim)
        self.out_lin = nn.Linear(in_features=config.dim, out_features=config.dim)

    def _split_heads(self, x: Tensor) -> Tensor:
        bs, length, dim = x.size()
        return x.view(bs, length, self.n_heads, dim // self.n_heads).transpose(1, 2)

    def _merge_heads(self, x: Tensor) -> Tensor:
        """(bs, length, n_heads, dim_per_head) -> (bs, length, dim)"""
        bs, length, heads, width = x.size()
        return x.view(bs, length, heads * width)  # expect: MHA001

    def forward(self, hidden: Tensor, mask: Tensor | None = None, output_attentions: bool = False):
        q = self._split_heads(self.q_lin(hidden))
        k = self._split_heads(self.k_lin(hidden))
        v = self._split_heads(self.v_lin(hidden))

        q = q / math.sqrt(q.size(-1))
        scores = torch.matmul(q, k.transpose(2, 3))
        if mask is not None:
            scores = scores.masked_fill((mask == 0)[:, None, None, :], torch.finfo(scores.dtype).min)
        weights = nn.functional.softmax(scores, dim=-1)
        weights = self.dropout(weights)

        context = torch.matmul(weights, v)
        context = self.out_lin(self._merge_heads(context.transpose(1, 2)))
        if output_attentions:
            return (context, weights)
        return (context,)
