# run: UnbatchedAttention(12, 3)(torch.randn(5, 12))
# run: RelativeTable(3, 7)()
"""One sequence at a time, and a bias table read column by column."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class UnbatchedAttention(nn.Module):
    def __init__(self, dim: int, n_head: int):
        super().__init__()
        self.n_head = n_head
        self.in_q = nn.Linear(dim, dim)
        self.in_k = nn.Linear(dim, dim)
        self.in_v = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        t, c = x.shape
        q = self.in_q(x).view(t, self.n_head, c // self.n_head).transpose(0, 1)
        k = self.in_k(x).view(t, self.n_head, c // self.n_head).transpose(0, 1)
        v = self.in_v(x).view(t, self.n_head, c // self.n_head).transpose(0, 1)
        a = F.softmax(q @ k.mT / (c // self.n_head) ** 0.5, dim=-1)
        y = (a @ v).transpose(0, 1).view(t, c)  # expect: MHA001
        return self.out(y)


class RelativeTable(nn.Module):
    def __init__(self, heads: int, length: int):
        super().__init__()
        self.heads = heads
        self.length = length
        self.table = nn.Parameter(torch.zeros(length, heads))

    def forward(self):
        per_head = self.table.T.view(1, self.heads, self.length)  # splits nothing that isn't there
        flat = self.table.T.view(self.heads * self.length)  # expect: MHA001
        return per_head, flat
