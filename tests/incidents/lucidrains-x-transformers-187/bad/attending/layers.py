import torch
from attending.attend import Attend
from einops import rearrange
from torch import nn


class CachingAttention(nn.Module):
    def __init__(self, dim, heads=4, dim_head=8):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.attend = Attend(causal=True)
        self.to_out = nn.Linear(heads * dim_head, dim, bias=False)

    def forward(self, x, cache=None):
        qkv = self.to_qkv(x).chunk(3, dim=-1)
        q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=self.heads) for t in qkv)
        if cache is not None:
            past_k, past_v = cache
            k = torch.cat((past_k, k), dim=-2)
            v = torch.cat((past_v, v), dim=-2)
        out = self.attend(q, k, v)  # or here: MHA109
        return self.to_out(rearrange(out, "b h n d -> b n (h d)")), (k, v)
