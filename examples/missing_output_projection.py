"""Three ways to build multi-head attention: heads split from one projection, heads in a list, heads with weights."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class MultiHeadAttention(nn.Module):
    """Self-attention over (b, t, c)."""

    def __init__(self, embed_dim: int, num_heads: int, bias: bool = True):
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(embed_dim, embed_dim, bias=bias)
        self.key = nn.Linear(embed_dim, embed_dim, bias=bias)
        self.value = nn.Linear(embed_dim, embed_dim, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q = self.query(x).view(b, t, self.num_heads, c // self.num_heads).transpose(1, 2)
        k = self.key(x).view(b, t, self.num_heads, c // self.num_heads).transpose(1, 2)
        v = self.value(x).view(b, t, self.num_heads, c // self.num_heads).transpose(1, 2)
        out = F.scaled_dot_product_attention(q, k, v)
        # concatenate the heads
        return out.transpose(1, 2).reshape(b, t, c)


class Head(nn.Module):
    """One causal head of width ``head_size``."""

    def __init__(self, n_embd: int, head_size: int):
        super().__init__()
        self.key = nn.Linear(n_embd, head_size, bias=False)
        self.query = nn.Linear(n_embd, head_size, bias=False)
        self.value = nn.Linear(n_embd, head_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.query(x), self.key(x), self.value(x)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class MultiHeadWrapper(nn.Module):
    """Several causal heads in parallel."""

    def __init__(self, n_embd: int, head_size: int, num_heads: int):
        super().__init__()
        self.heads = nn.ModuleList([Head(n_embd, head_size) for _ in range(num_heads)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([head(x) for head in self.heads], dim=-1)


class AttentionWithWeights(nn.Module):
    """Self-attention that also returns its weights, for plotting."""

    def __init__(self, d_model: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.d_k = d_model // num_heads
        self.W_q = nn.Linear(d_model, d_model)
        self.W_k = nn.Linear(d_model, d_model)
        self.W_v = nn.Linear(d_model, d_model)
        self.W_o = nn.Linear(d_model, d_model)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        b, t, c = x.shape
        q = self.W_q(x).view(b, t, self.num_heads, self.d_k).transpose(1, 2)
        k = self.W_k(x).view(b, t, self.num_heads, self.d_k).transpose(1, 2)
        v = self.W_v(x).view(b, t, self.num_heads, self.d_k).transpose(1, 2)
        weights = torch.softmax(q @ k.transpose(-2, -1) / self.d_k**0.5, dim=-1)
        out = (weights @ v).transpose(1, 2).contiguous().view(b, t, c)
        return out, weights
