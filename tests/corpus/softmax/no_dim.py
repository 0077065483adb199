# run: Head(32, 8)(torch.randn(2, 5, 32))
# fix: unsafe
import torch
import torch.nn.functional as F
from torch import nn


class Head(nn.Module):
    def __init__(self, dim, head_dim):
        super().__init__()
        self.head_dim = head_dim
        self.q, self.k, self.v = nn.Linear(dim, head_dim), nn.Linear(dim, head_dim), nn.Linear(dim, head_dim)

    def forward(self, x):
        b, t, c = x.shape
        scores = torch.bmm(self.q(x), self.k(x).transpose(1, 2)) / self.head_dim**0.5
        return torch.bmm(F.softmax(scores), self.v(x))  # expect: MHA105
