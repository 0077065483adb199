# fix: unsafe
# run: FactoryAttention(16, 4)(torch.randn(2, 5, 16))
# run: FactoryAttention(16, 4, bias=False, dtype=torch.float64)(torch.randn(2, 5, 16, dtype=torch.float64))
"""Takes device and dtype as PyTorch's own modules do."""
import torch
import torch.nn.functional as F
from torch import nn


class FactoryAttention(nn.Module):  # expect: MHA003
    def __init__(self, embed_dim, num_heads, bias=True, device=None, dtype=None):
        factory_kwargs = {"device": device, "dtype": dtype}
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(embed_dim, embed_dim, bias=bias, **factory_kwargs)
        self.k_proj = nn.Linear(embed_dim, embed_dim, bias=bias, **factory_kwargs)
        self.v_proj = nn.Linear(embed_dim, embed_dim, bias=bias, **factory_kwargs)

    def forward(self, x):
        N, L, E = x.shape
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        q = q.unflatten(-1, [self.num_heads, E // self.num_heads]).transpose(1, 2)
        k = k.unflatten(-1, [self.num_heads, E // self.num_heads]).transpose(1, 2)
        v = v.unflatten(-1, [self.num_heads, E // self.num_heads]).transpose(1, 2)
        attn_output = F.scaled_dot_product_attention(q, k, v)
        # N, nheads, L, E_head -> N, L, E
        attn_output = attn_output.transpose(1, 2).flatten(-2)
        return attn_output
