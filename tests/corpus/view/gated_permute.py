# run: GatedAttention(18, 3)(torch.randn(2, 5, 18))
"""Attention whose output is gated before the last projection."""
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear, Module


class GatedAttention(Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (Linear(width, width) for _ in range(3))
        self.gate = Linear(width, width)
        self.output = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        d = width // self.heads
        q = self.query(x).view(batch, length, self.heads, d).permute(0, 2, 1, 3)
        k = self.key(x).view(batch, length, self.heads, d).permute(0, 2, 3, 1)
        v = self.value(x).view(batch, length, self.heads, d).permute(0, 2, 1, 3)
        weights = F.softmax(q.matmul(k) / d**0.5, dim=-1)
        context = weights.matmul(v)
        merged = F.gelu(context.permute(0, 2, 1, 3)).view(batch, length, width)  # expect: MHA001
        return self.output(merged * self.gate(x).sigmoid())
