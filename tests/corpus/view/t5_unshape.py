# run: RelativeAttention(d_model=20, d_kv=8, num_heads=3)(torch.randn(2, 6, 20))
# run: RelativeAttention(20, 8, 3)(torch.randn(2, 6, 20), key_value_states=torch.randn(2, 4, 20))
"""Attention with a learned bias per relative position; inner width differs from the model's."""
import torch
from torch import nn


class RelativeAttention(nn.Module):
    def __init__(self, d_model=20, d_kv=8, num_heads=3, max_distance=32, dropout_rate=0.0):
        super().__init__()
        self.n_heads = num_heads
        self.key_value_proj_dim = d_kv
        self.inner_dim = self.n_heads * self.key_value_proj_dim
        self.max_distance = max_distance

        self.q = nn.Linear(d_model, self.inner_dim, bias=False)
        self.k = nn.Linear(d_model, self.inner_dim, bias=False)
        self.v = nn.Linear(d_model, self.inner_dim, bias=False)
        self.o = nn.Linear(self.inner_dim, d_model, bias=False)
        self.relative_attention_bias = nn.Embedding(2 * max_distance + 1, self.n_heads)
        self.dropout = nn.Dropout(dropout_rate)

    def compute_bias(self, query_length, key_length):
        positions = torch.arange(query_length)[:, None] - torch.arange(key_length)[None, :]
        buckets = positions.clamp(-self.max_distance, self.max_distance) + self.max_distance
        values = self.relative_attention_bias(buckets.to(self.relative_attention_bias.weight.device))
        return values.permute([2, 0, 1]).unsqueeze(0)  # (1, n_heads, query_length, key_length)

    def forward(self, hidden_states, mask=None, key_value_states=None):
        batch_size, seq_length, _ = hidden_states.shape

        def shape(states):
            """projection"""
            return states.view(batch_size, -1, self.n_heads, self.key_value_proj_dim).transpose(1, 2)

        def unshape(states):
            """reshape"""
            return states.transpose(1, 2).view(batch_size, -1, self.inner_dim)  # expect: MHA001

        source = hidden_states if key_value_states is None else key_value_states
        query_states = shape(self.q(hidden_states))
        key_states = shape(self.k(source))
        value_states = shape(self.v(source))

        scores = torch.matmul(query_states, key_states.transpose(3, 2))
        scores += self.compute_bias(seq_length, source.shape[1])
        if mask is not None:
            scores = scores + mask
        attn_weights = self.dropout(nn.functional.softmax(scores.float(), dim=-1).type_as(scores))

        attn_output = unshape(torch.matmul(attn_weights, value_states))
        return self.o(attn_output)
