# stub: tensor_parallel tensor_parallel.layers
# not run: the layers are not installed
"""The output layer comes from a package which the reader can't see."""
import torch
import torch.nn as nn
import torch.nn.functional as F

from tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear


class ParallelAttention(nn.Module):
    def __init__(self, hidden_size, num_heads, out_layer=None):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        self.qkv_proj = ColumnParallelLinear(hidden_size, 3 * hidden_size)
        self.dense = RowParallelLinear(hidden_size, hidden_size)

    def forward(self, hidden_states):
        b, t, c = hidden_states.shape
        q, k, v = self.qkv_proj(hidden_states).split(c, dim=-1)
        q = q.view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        k = k.view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        v = v.view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        context = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        context = context.transpose(1, 2).reshape(b, t, c)
        return self.dense(context)


class AttentionWithGivenOutput(nn.Module):
    def __init__(self, hidden_size, num_heads, out_layer: nn.Module):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(hidden_size, hidden_size)
        self.out_layer = out_layer

    def forward(self, x):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.num_heads, -1).transpose(1, 2)
        w = torch.softmax(q @ q.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)
        return self.out_layer((w @ q).transpose(1, 2).reshape(b, t, c))
