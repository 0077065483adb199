# run: PooledAttention(32)(torch.randn(2, 5, 32), torch.randn(2, 7, 32))
# fix: unsafe
import torch
from torch import nn


class PooledAttention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.to_q, self.to_kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.scale = dim**-0.5

    def forward(self, x, memory):
        q = self.to_q(x)
        k, v = self.to_kv(memory).chunk(2, dim=-1)
        sim = q @ k.transpose(-1, -2) * self.scale
        return sim.softmax(dim=-2) @ v  # expect: MHA105
