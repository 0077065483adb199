# fix: unsafe
# run: GatedMultiHead(24, 4)(torch.randn(2, 5, 24))
"""Two attentions of one class, local and global, merged by the same helper and never mixed."""
import torch
import torch.nn as nn


class GatedMultiHead(nn.Module):  # expect: MHA003
    def __init__(self, hidden: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.d_k = hidden // n_heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)

    def heads_first(self, x):
        b, t, _ = x.shape
        return x.view(b, t, self.n_heads, self.d_k).transpose(1, 2)

    def heads_last(self, x):
        b, h, t, d = x.shape
        x = x.transpose(1, 2)
        return x.view(b, t, h * d)  # expect: MHA001

    def forward(self, x):
        q = self.heads_first(self.query(x))
        k = self.heads_first(self.key(x))
        v = self.heads_first(self.value(x))
        scores = q @ k.transpose(-2, -1) / self.d_k**0.5
        near = torch.ones_like(scores, dtype=torch.bool).triu(-1).tril(1)
        local = scores.masked_fill(~near, float("-inf")).softmax(dim=-1)
        out = self.heads_last(local @ v) + self.heads_last(scores.softmax(dim=-1) @ v)
        return out
