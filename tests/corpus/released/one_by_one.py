# run: Attention(8, 2)(torch.randn(2, 5, 8))
# run: Attention(8, 2)(torch.randn(2, 1, 8), (torch.randn(2, 2, 3, 4), torch.randn(2, 2, 3, 4)))
# run: Attention(8, 2)(torch.randn(2, 1, 8), (torch.randn(2, 2, 3, 4), torch.randn(2, 2, 3, 4)), True)
# run: Asks(8, 2)(torch.randn(2, 1, 8), past_key=torch.randn(2, 2, 3, 4), past_value=torch.randn(2, 2, 3, 4))
# run: Layer(8, 2)(torch.randn(2, 5, 8))
# run: Layer(8, 2, False)(torch.randn(2, 1, 8))
"""Behind a cache, new tokens come one by one: heads of one token are split and merged as they are."""

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x, past_key_value=None, use_cache=False, mask=None):
        batch, length, width = x.size()
        is_decode = past_key_value is not None
        q = self.q_proj(x).view(batch, length, self.heads, self.head_width).transpose(1, 2)
        k = self.k_proj(x).view(batch, length, self.heads, self.head_width).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, self.heads, self.head_width).transpose(1, 2)
        if past_key_value is not None:
            k = torch.cat([past_key_value[0], k], dim=2)
            v = torch.cat([past_key_value[1], v], dim=2)
        past_key_value = (k, v) if use_cache else None
        if is_decode:
            y = F.scaled_dot_product_attention(q, k, v)
            y = y.contiguous().view(batch, length, width)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            y = y.transpose(1, 2).contiguous().view(batch, length, width)
        return self.out_proj(y), past_key_value


class Asks(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x, past_key=None, past_value=None):
        batch, length, width = x.size()
        if past_key is not None:
            q = self.q_proj(x).view(batch, self.heads, length, self.head_width)
            k = torch.cat([past_key, self.k_proj(x).view(batch, self.heads, length, self.head_width)], dim=2)
            v = torch.cat([past_value, self.v_proj(x).view(batch, self.heads, length, self.head_width)], dim=2)
            y = F.scaled_dot_product_attention(q, k, v).reshape(batch, length, width)
            return self.out_proj(y)
        q = self.q_proj(x).view(batch, length, self.heads, self.head_width).transpose(1, 2)
        k = self.k_proj(x).view(batch, length, self.heads, self.head_width).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, self.heads, self.head_width).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).reshape(batch, length, width))


class Layer(nn.Module):
    def __init__(self, width, heads, is_prefill=True):
        super().__init__()
        self.heads, self.head_width, self.is_prefill = heads, width // heads, is_prefill
        self.qkv, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, self.head_width).transpose(1, 3).unbind(2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.is_prefill)
        if not self.is_prefill:
            return self.out_proj(y.reshape(batch, length, width))
        return self.out_proj(y.transpose(1, 2).reshape(batch, length, width))
