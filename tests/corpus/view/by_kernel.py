# run: in_math(Transposed(24, 4), torch.randn(2, 5, 24))
# run: in_math(Permuted(24, 4), torch.randn(2, 5, 24))
# run: in_math(Right(24, 4), torch.randn(2, 5, 24))
# not exercised: the error is raised where the math kernel runs
"""Views of what fused attention gives: whether they succeed depends on the kernel that runs."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def in_math(module, x):
    with sdpa_kernel(SDPBackend.MATH):
        return module(x)


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def attend(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        return F.scaled_dot_product_attention(q, k, v)


class Transposed(Base):
    def forward(self, x):
        b, t, c = x.shape
        y = self.attend(x).transpose(1, 2)
        return self.out(y.view(b, t, c))  # expect: MHA001


class Permuted(Base):
    def forward(self, x):
        b, t, c = x.shape
        y = self.attend(x).permute(0, 2, 1, 3)
        return self.out(y.view(b, -1, self.heads * (c // self.heads)))  # expect: MHA001


class Right(Base):
    def forward(self, x):
        b, t, c = x.shape
        y = self.attend(x)
        folded = y.transpose(1, 2).contiguous().view(b, t, c)
        return self.out(folded + y.transpose(1, 2).reshape(b, t, c) + y.transpose(1, 2).flatten(2))
