# run: Windows(24, 4, 3).eval()(torch.randn(6, 9, 24), torch.zeros(2, 9, 9))
# run: Windows(24, 4, 3).eval()(torch.randn(6, 9, 24))
# fix: unsafe
import torch
from torch import nn


class Windows(nn.Module):
    def __init__(self, dim: int, heads: int, side: int):
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.zeros(heads, side * side, side * side))
        self.softmax = nn.Softmax(dim=-1)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor, mask: "torch.Tensor | None" = None) -> torch.Tensor:
        b, n, c = x.shape
        q, k, v = (layer(x).view(b, n, self.heads, -1).transpose(1, 2) for layer in (self.q, self.k, self.v))
        q = q * self.scale
        scores = q @ k.transpose(-2, -1)
        scores = scores + self.bias[:, :n, :n].unsqueeze(0)
        if mask is not None:
            windows = mask.shape[0]
            scores = scores.view(b // windows, windows, self.heads, n, n) + mask.unsqueeze(1).unsqueeze(0)
            scores = scores.view(-1, self.heads, n, n)
            scores = self.softmax(scores)  # expect: MHA201
        else:
            scores = self.softmax(scores)
        scores = self.drop(scores)
        return self.out((scores @ v).transpose(1, 2).reshape(b, n, c))
