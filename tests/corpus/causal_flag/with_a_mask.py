# run: Optional(32, 4)(torch.randn(2, 5, 32))
# run: Built(32, 4)(torch.randn(2, 5, 32))
# run: Padding(32, 4)(torch.randn(2, 5, 32), None)
# run: ByTheClass(32, 4)(torch.randn(2, 5, 32))
# run: InABranch(32, 4)(torch.randn(2, 5, 32))
# run: Buffered(32, 4)(torch.randn(2, 5, 32))
# fix: none (which of the two is meant is not told)
"""A mask and the causal flag that can both be set."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.o = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def all(self, x):
        b, t, c = x.shape
        return [y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1)]


class Optional(Base):
    def forward(self, x, attention_mask=None):
        q, k, v = self.all(x)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask, is_causal=True)  # expect: MHA112
        return self.o(y.transpose(1, 2).flatten(2))


class Built(Base):
    def forward(self, x):
        q, k, v = self.all(x)
        t = x.shape[1]
        mask = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
        y = F.scaled_dot_product_attention(q, k, v, mask, 0.0, True)  # expect: MHA112
        return self.o(y.transpose(1, 2).flatten(2))


class Padding(Base):
    def forward(self, x, key_padding_mask):
        q, k, v = self.all(x)
        mask = None
        if key_padding_mask is not None:
            mask = key_padding_mask[:, None, None, :].expand(-1, self.heads, x.shape[1], -1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=True)  # expect: MHA112
        return self.o(y.transpose(1, 2).flatten(2))


class ByTheClass(Base):
    is_causal = True

    def forward(self, x, mask=None):
        q, k, v = self.all(x)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.is_causal)  # expect: MHA112
        return self.o(y.transpose(1, 2).flatten(2))


class InABranch(Base):
    def forward(self, x, mask=None, causal=False):
        q, k, v = self.all(x)
        if causal:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=True)  # expect: MHA112
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o(y.transpose(1, 2).flatten(2))


class Buffered(Base):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.register_buffer("bias", torch.ones(8, 8, dtype=torch.bool).tril())

    def forward(self, x):
        q, k, v = self.all(x)
        t = x.shape[1]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias[:t, :t], is_causal=True)  # expect: MHA112
        return self.o(y.transpose(1, 2).flatten(2))
