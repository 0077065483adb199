# run: Attention(24, 3)(torch.randn(2, 5, 24))
# run: Windows(24, 3)(torch.randn(2, 5, 24))
import torch
import torch.nn.functional as F
from torch import nn


class Heads(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)


class Attention(Heads):
    """The result is laid out as the queries are, so that their copy stays."""

    def forward(self, x):
        b, t, c = x.shape
        q = self.q_proj(x).view(b, t, self.heads, -1).transpose(1, 2).contiguous()
        k = self.k_proj(x).view(b, t, self.heads, -1).transpose(1, 2).contiguous()  # expect: MHA004
        v = self.v_proj(x).view(b, t, self.heads, -1).transpose(1, 2)
        v = v.contiguous()  # expect: MHA004
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, c))


class Windows(Heads):
    """The last dimension of the keys is not dense, and the values are."""

    def forward(self, x):
        b, t, c = x.shape
        q = self.q_proj(x).view(b, t, self.heads, -1).transpose(1, 2)
        k = self.k_proj(x).view(b, t, -1, self.heads).permute(0, 3, 1, 2)
        v = self.v_proj(x).view(b, t, self.heads, -1).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k.contiguous(), v.contiguous())  # expect: MHA004
        return self.out_proj(y.transpose(1, 2).reshape(b, t, c))


class Masked(Heads):
    """With a mask the copies may be there on purpose."""

    def forward(self, x):
        b, t, c = x.shape
        mask = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
        q = self.q_proj(x).view(b, t, self.heads, -1).transpose(1, 2)
        k = self.k_proj(x).view(b, t, self.heads, -1).transpose(1, 2).contiguous()
        v = self.v_proj(x).view(b, t, self.heads, -1).transpose(1, 2).contiguous()
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, c))


class Kept(Heads):
    """The keys are handed on as well."""

    def forward(self, x):
        b, t, c = x.shape
        q = self.q_proj(x).view(b, t, self.heads, -1).transpose(1, 2)
        k = self.k_proj(x).view(b, t, self.heads, -1).transpose(1, 2).contiguous()
        v = self.v_proj(x).view(b, t, self.heads, -1).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, c)), k
