# run: Attention(32, 4)(torch.randn(5, 2, 32))
# fix: unsafe
import torch
from torch import nn


class Attention(nn.Module):
    """Sequence first, scores as (query, key, batch, head): the keys lie along dimension 1."""

    def __init__(self, d_model, heads):
        super().__init__()
        self.heads, self.d_k = heads, d_model // heads
        self.query, self.key, self.value = (nn.Linear(d_model, d_model) for _ in range(3))
        self.softmax = nn.Softmax(dim=0)  # expect: MHA105
        self.output = nn.Linear(d_model, d_model)

    def split(self, x):
        return x.view(*x.shape[:-1], self.heads, self.d_k)

    def forward(self, x):
        t, b, c = x.shape
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = torch.einsum("ibhd,jbhd->ijbh", q, k) * self.d_k**-0.5
        return self.output(torch.einsum("ijbh,jbhd->ibhd", self.softmax(scores), v).reshape(t, b, c))
