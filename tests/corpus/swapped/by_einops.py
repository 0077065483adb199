# run: Einops(32, 4)(torch.randn(2, 7, 32))
# run: Monai(32, 4)(torch.randn(2, 7, 32))
# run: Helper(32, 4)(torch.randn(2, 7, 32))
# fix: unsafe
"""The same by einops, and in a helper."""

import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.dim = heads, dim
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.qkv = nn.Linear(dim, 3 * dim)


class Einops(Base):
    def forward(self, x):
        q, k, v = (rearrange(each, "b t (h d) -> b t h d", h=self.heads) for each in self.qkv(x).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v)  # expect: MHA115
        return self.out(rearrange(y, "b t h d -> b t (h d)"))


class Monai(Base):
    def forward(self, x):
        q, k, v = rearrange(self.qkv(x), "b l (qkv h d) -> b l qkv h d", qkv=3, h=self.heads).unbind(2)
        y = F.scaled_dot_product_attention(q, k, v)  # expect: MHA115
        return self.out(rearrange(y, "b l h d -> b l (h d)"))


class Helper(Base):
    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, -1)

    def forward(self, x):
        q, k, v = map(self.split, (self.q(x), self.k(x), self.v(x)))
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        y = F.scaled_dot_product_attention(q, k, v)  # expect: MHA115
        return self.out(y.flatten(2))
