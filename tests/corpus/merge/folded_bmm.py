# run: CrossAttention(16, 4)(torch.randn(2, 3, 16), torch.randn(2, 5, 16))
# fix: unsafe
import torch
from torch import nn


class CrossAttention(nn.Module):
    """Heads folded into the batch for bmm, and never unfolded."""

    def __init__(self, width, heads=4):
        super().__init__()
        self.heads, self.width = heads, width
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.Linear(width, width)

    def fold(self, x):
        b, n, c = x.shape
        return x.reshape(b, n, self.heads, c // self.heads).permute(0, 2, 1, 3).reshape(b * self.heads, n, c // self.heads)

    def forward(self, x, memory):
        b, n, c = x.shape
        q, k, v = self.fold(self.to_q(x)), self.fold(self.to_k(memory)), self.fold(self.to_v(memory))
        weights = (torch.bmm(q, k.transpose(1, 2)) * (c // self.heads) ** -0.5).softmax(dim=-1)
        out = torch.bmm(weights, v)
        return self.to_out(out.view(b, n, c))  # expect: MHA101
