# fix: unsafe
# not exercised: nothing says which layers the processor is to be called with
# run: Joint()(Layers(12, 3), torch.randn(2, 5, 12), torch.randn(2, 4, 12))
"""Two streams are split into heads, with one size left over, and joined along their tokens."""

import torch
import torch.nn.functional as F
from torch import nn


class Layers(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.add_q_proj, self.add_k_proj, self.add_v_proj = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.Linear(width, width)
        self.inner, self.heads = width, heads


class Joint:
    def __call__(self, attn, hidden, text):
        query, key, value = attn.to_q(hidden), attn.to_k(hidden), attn.to_v(hidden)
        more_query, more_key, more_value = attn.add_q_proj(text), attn.add_k_proj(text), attn.add_v_proj(text)
        width = attn.inner // attn.heads
        query, key, value = (each.unflatten(-1, (-1, width)) for each in (query, key, value))
        more_query = more_query.unflatten(-1, (-1, width))
        more_key = more_key.unflatten(-1, (-1, width))
        more_value = more_value.unflatten(-1, (-1, width))
        query = torch.cat([more_query, query], dim=1)
        key = torch.cat([more_key, key], dim=1)
        value = torch.cat([more_value, value], dim=1)
        hidden = F.scaled_dot_product_attention(query, key, value)  # expect: MHA115
        return attn.to_out(hidden.flatten(2, 3))


class Right:
    def __call__(self, attn, hidden, text):
        query, key, value = attn.to_q(hidden), attn.to_k(hidden), attn.to_v(hidden)
        more_query, more_key, more_value = attn.add_q_proj(text), attn.add_k_proj(text), attn.add_v_proj(text)
        query = query.unflatten(-1, (attn.heads, -1))
        key = key.unflatten(-1, (attn.heads, -1))
        value = value.unflatten(-1, (attn.heads, -1))
        more_query = more_query.unflatten(-1, (attn.heads, -1))
        more_key = more_key.unflatten(-1, (attn.heads, -1))
        more_value = more_value.unflatten(-1, (attn.heads, -1))
        query = torch.cat([more_query, query], dim=1).transpose(1, 2)
        key = torch.cat([more_key, key], dim=1).transpose(1, 2)
        value = torch.cat([more_value, value], dim=1).transpose(1, 2)
        hidden = F.scaled_dot_product_attention(query, key, value)
        return attn.to_out(hidden.transpose(1, 2).flatten(2, 3))
