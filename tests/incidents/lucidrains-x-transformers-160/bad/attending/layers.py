from attending.attend import Attend
from einops import rearrange
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads=4, dim_head=8, causal=False, flash=False, dropout=0.0):
        super().__init__()
        inner = dim_head * heads
        self.heads = heads
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_k = nn.Linear(dim, inner, bias=False)
        self.to_v = nn.Linear(dim, inner, bias=False)
        self.attend = Attend(causal=causal, flash=flash, dropout=dropout)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x, context=None, mask=None):
        h = self.heads
        context = context if context is not None else x
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        q, k, v = map(lambda t: rearrange(t, "b n (h d) -> b h n d", h=h), (q, k, v))
        out = self.attend(q, k, v, mask=mask)
        return self.to_out(rearrange(out, "b h n d -> b n (h d)"))
