# fix: unsafe
# run: TopK(24, 4, 2)(torch.randn(2, 5, 24))
# run: Wide(24, 4)(torch.randn(2, 5, 24))
"""Classes that are built on an attention name it; they do not call it."""
import torch
from torch import nn


class Dense(nn.Module):  # expect: MHA003
    def __init__(self, width, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.in_proj = nn.Linear(width, 3 * width)

    def forward(self, tokens):
        b, n, width = tokens.shape
        q, k, v = self.in_proj(tokens).view(b, n, 3, self.num_heads, width // self.num_heads).unbind(2)
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * q.size(-1) ** -0.5
        context = torch.einsum("bhqk,bkhd->bqhd", self.choose(scores).softmax(-1), v)
        return context.flatten(2)

    def choose(self, scores):
        return scores


class TopK(Dense):
    def __init__(self, width, num_heads, most):
        super().__init__(width, num_heads)
        self.most = most

    def choose(self, scores):
        if not isinstance(self, Dense):
            return scores
        least = scores.topk(self.most, dim=-1).values[..., -1:]
        return scores.masked_fill(scores < least, -1e4)


class Wide(Dense):
    inner: Dense

    def extra_repr(self):
        return f"{self.num_heads} heads"
