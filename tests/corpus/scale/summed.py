# run: Attention(32, 4)(torch.randn(2, 5, 32))
# fix: unsafe
import torch
from torch import nn


class Attention(nn.Module):
    """Scores of the content and of the distance; only the latter are scaled as they should be."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.far, self.out = nn.Embedding(64, self.d), nn.Linear(width, width)

    def split(self, x):
        b, t, _ = x.shape
        return x.view(b, t, self.heads, self.d).transpose(1, 2)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        steps = torch.arange(t, device=x.device)
        apart = self.far(steps[:, None] - steps + 32)
        content = torch.matmul(q, k.transpose(-2, -1)) * c**-0.5  # expect: MHA104
        distance = torch.einsum("bhid,ijd->bhij", q, apart) * self.d**-0.5
        return self.out(((content + distance).softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))
