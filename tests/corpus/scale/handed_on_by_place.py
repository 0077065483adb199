# run: Attention(64, 4)(torch.randn(2, 5, 64))
# fix: unsafe
"""A scale that is handed on beside queries which have another name there, to where a head's width has none."""
import torch
from torch import nn


def eager(module, query, key, value, scaling):
    scores = torch.matmul(query, key.transpose(-2, -1)) * scaling
    return torch.matmul(scores.softmax(-1), value).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, dim, heads=4):
        super().__init__()
        self.heads, self.scaling = heads, heads**-0.5
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.o_proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        query_states = self.q_proj(x).view(b, t, self.heads, -1).transpose(1, 2)
        key_states = self.k_proj(x).view(b, t, self.heads, -1).transpose(1, 2)
        value_states = self.v_proj(x).view(b, t, self.heads, -1).transpose(1, 2)
        y = eager(self, query_states, key_states, value_states, scaling=self.scaling)  # expect: MHA104
        return self.o_proj(y.reshape(b, t, c))
