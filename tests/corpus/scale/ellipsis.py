# run: Attention(32, 4, 8)(torch.randn(2, 5, 32))
# fix: unsafe
import torch
from einops import rearrange
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads, d):
        super().__init__()
        self.heads, self.scale = heads, d**0.5
        self.qkv = nn.Linear(width, 3 * heads * d, bias=False)
        self.out = nn.Linear(heads * d, width)

    def forward(self, x):
        q, k, v = rearrange(self.qkv(x), "... n (h c) -> ... h n c", h=self.heads).chunk(3, dim=-1)
        scores = torch.einsum("...id,...jd->...ij", self.scale * q, k)  # expect: MHA104
        y = torch.einsum("...ij,...jd->...id", scores.softmax(dim=-1), v)
        return self.out(rearrange(y, "... h n d -> ... n (h d)"))
