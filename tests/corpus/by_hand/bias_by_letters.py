# run: Windowed(24, 4, 9)(torch.randn(2, 9, 24))
import torch
from torch import einsum, nn


class Windowed(nn.Module):
    def __init__(self, dim: int, heads: int, tokens: int):
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.bias = nn.Parameter(torch.zeros(heads, tokens, tokens))
        self.attend = nn.Softmax(dim=-1)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        q, k, v = self.to_qkv(x).reshape(b, n, 3, self.heads, -1).unbind(2)
        q = q * self.scale
        sim = einsum("b i h d, b j h d -> b h i j", q, k) + self.bias[:, :n, :n]
        attn = self.attend(sim)  # expect: MHA201
        out = einsum("b h i j, b j h d -> b i h d", attn, v)
        return self.to_out(out.reshape(b, n, c))
