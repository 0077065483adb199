# fix: unsafe
# run: Wrapped(24, 4)(torch.randn(2, 5, 24))
import torch
from torch import nn
from torch.nn.utils import parametrizations, weight_norm


class Wrapped(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.q_proj = weight_norm(nn.Linear(width, width))
        self.k_proj = parametrizations.weight_norm(nn.Linear(width, width), name="weight")
        self.v_proj = parametrizations.spectral_norm(nn.Linear(width, width))
        self.out = nn.Linear(width, width)

    def forward(self, x):
        b, n, _ = x.shape
        q = self.q_proj(x).view(b, self.heads, n, self.head_width)  # expect: MHA102
        k = self.k_proj(x).view(b, n, self.heads, self.head_width).transpose(1, 2)
        v = self.v_proj(x).view(b, self.heads, n, self.head_width)  # expect: MHA102
        weights = torch.softmax(q @ k.transpose(2, 3) * self.head_width**-0.5, dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))
