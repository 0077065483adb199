# run: Grid(24, 4).eval()(torch.randn(2, 5, 24))
# fix: unsafe
import torch
from torch import einsum, nn


class Grid(nn.Module):
    def __init__(self, dim: int, heads: int, rate: float = 0.1):
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.attend = nn.Sequential(nn.Softmax(dim=-1), nn.Dropout(rate))
        self.to_out = nn.Linear(dim, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        parts = self.to_qkv(x).chunk(3, dim=-1)
        q, k, v = (part.view(b, n, self.heads, c // self.heads).transpose(1, 2) for part in parts)
        sim = einsum("b h i d, b h j d -> b h i j", q, k) * self.scale
        attn = self.attend(sim)  # expect: MHA201
        out = einsum("b h i j, b h j d -> b h i d", attn, v)
        return self.to_out(out.transpose(1, 2).reshape(b, n, c))
