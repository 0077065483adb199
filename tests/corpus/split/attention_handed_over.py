# run: Processor()(Attention(64, 4), torch.randn(2, 5, 64))
# fix: unsafe
# not exercised: nothing says what attention the processor is to be called with
"""A processor that is handed the attention whose layers it uses: what they are, only their names tell."""
import torch
from torch import nn
import torch.nn.functional as F


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.to_out = nn.Linear(dim, dim)


class Processor:
    def __call__(self, attn, hidden_states):
        batch_size = hidden_states.shape[0]
        query, key, value = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        head_dim = key.shape[-1] // attn.heads
        query = query.view(batch_size, attn.heads, -1, head_dim)  # expect: MHA102
        key = key.view(batch_size, -1, attn.heads, head_dim).transpose(1, 2)
        value = value.view(batch_size, -1, attn.heads, head_dim).transpose(1, 2)
        hidden_states = F.scaled_dot_product_attention(query, key, value)
        return attn.to_out(hidden_states.transpose(1, 2).reshape(batch_size, -1, attn.heads * head_dim))
