# fix: unsafe
# not exercised: nothing says which layers the processor is to be called with
# run: Processor()(Layers(12, 3), torch.randn(2, 5, 12))
"""A processor is handed the layers: how wide they are is not known, but that a width is split into heads."""
import torch
import torch.nn.functional as F
from torch import nn


class Layers(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.to_q, self.to_k = nn.Linear(width, width), nn.Linear(width, width)
        self.to_v, self.to_out = nn.Linear(width, width), nn.Linear(width, width)
        self.heads = heads


class Processor:
    def __call__(self, layers, hidden, context=None):
        batch = hidden.shape[0]
        context = hidden if context is None else context
        query, key, value = layers.to_q(hidden), layers.to_k(context), layers.to_v(context)
        width = key.shape[-1]
        head_width = width // layers.heads
        query = query.view(batch, -1, layers.heads, head_width)
        key = key.view(batch, -1, layers.heads, head_width)
        value = value.view(batch, -1, layers.heads, head_width)
        hidden = F.scaled_dot_product_attention(query, key, value)  # expect: MHA115
        hidden = hidden.reshape(batch, -1, layers.heads * head_width)
        return layers.to_out(hidden)
