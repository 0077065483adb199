# run: PostNormBlock(24, 4)(torch.randn(2, 5, 24))
"""A whole encoder block in one class: the feed-forward's first layer mixes the heads."""
import torch
import torch.nn as nn


class PostNormBlock(nn.Module):
    def __init__(self, dim, heads, hidden=48):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.heads, -1).transpose(1, 2)
        k = self.k(x).view(b, t, self.heads, -1).transpose(1, 2)
        v = self.v(x).view(b, t, self.heads, -1).transpose(1, 2)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        x = self.norm1(x + y.transpose(1, 2).reshape(b, t, c))
        return self.norm2(x + self.fc2(torch.relu(self.fc1(x))))
