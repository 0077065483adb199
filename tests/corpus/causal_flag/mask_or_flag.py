# run: NoneThen(32, 4)(torch.randn(2, 5, 32))
# run: Branches(32, 4)(torch.randn(2, 5, 32), torch.ones(5, 5, dtype=torch.bool).tril())
# run: Asserted(32, 4)(torch.randn(2, 5, 32))
# run: ByTheCaller(32, 4)(torch.randn(2, 5, 32), None, True)
# run: Named(32, 4)(torch.randn(2, 5, 32))
# run: OnOnePath(32, 4)(torch.randn(2, 5, 32))
# run: Reset(32, 4)(torch.randn(2, 5, 32))
"""A mask or the causal flag, never both."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Base(nn.Module):
    def __init__(self, dim, heads, causal=True):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.o = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def all(self, x):
        b, t, c = x.shape
        return [y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1)]


class NoneThen(Base):
    def forward(self, x, mask=None):
        q, k, v = self.all(x)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal and mask is None)
        return self.o(y.transpose(1, 2).flatten(2))


class Branches(Base):
    def forward(self, x, mask=None):
        q, k, v = self.all(x)
        if mask is None:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=True)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=False)
        return self.o(y.transpose(1, 2).flatten(2))


class Asserted(Base):
    def forward(self, x, mask=None):
        assert mask is None, "the flag is all that this kernel knows"
        q, k, v = self.all(x)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=True)
        return self.o(y.transpose(1, 2).flatten(2))


class ByTheCaller(Base):
    def forward(self, x, mask=None, is_causal=False):
        q, k, v = self.all(x)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)
        return self.o(y.transpose(1, 2).flatten(2))


class Named(Base):
    def forward(self, x, mask=None):
        q, k, v = self.all(x)
        has_mask = mask is not None
        if has_mask:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=True)
        return self.o(y.transpose(1, 2).flatten(2))


class OnOnePath(Base):
    def forward(self, x, mask=None):
        q, k, v = self.all(x)
        causal = True
        if mask is not None:
            causal = False
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.o(y.transpose(1, 2).flatten(2))


class Reset(Base):
    def forward(self, x, mask=None):
        q, k, v = self.all(x)
        if self.causal:
            mask = None
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
        return self.o(y.transpose(1, 2).flatten(2))
