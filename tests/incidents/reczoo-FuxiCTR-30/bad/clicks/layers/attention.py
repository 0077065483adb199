import torch
from torch import nn


class ProductAttention(nn.Module):
    def __init__(self, dropout_rate=0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout_rate) if dropout_rate > 0 else None
        self.softmax = nn.Softmax(dim=2)

    def forward(self, Q, K, V, scale=None):
        scores = torch.bmm(Q, K.transpose(1, 2))
        if scale:
            scores = scores / scale
        weights = self.softmax(scores)
        if self.dropout is not None:
            weights = self.dropout(weights)
        return torch.bmm(weights, V), weights


class FieldAttention(nn.Module):
    """The fields of a click attend to each other."""

    def __init__(self, input_dim, attention_dim=None, num_heads=1, dropout_rate=0.0, use_scale=False, use_residual=True):
        super().__init__()
        if attention_dim is None:
            attention_dim = input_dim // num_heads
        self.attention_dim = attention_dim
        self.output_dim = num_heads * attention_dim
        self.num_heads = num_heads
        self.use_residual = use_residual
        self.scale = attention_dim**0.5 if use_scale else None
        self.W_q = nn.Linear(input_dim, self.output_dim, bias=False)
        self.W_k = nn.Linear(input_dim, self.output_dim, bias=False)
        self.W_v = nn.Linear(input_dim, self.output_dim, bias=False)
        self.dot_product_attention = ProductAttention(dropout_rate)
        self.out = nn.Linear(self.output_dim, input_dim)

    def forward(self, query, key, value):
        residual = query
        query, key, value = self.W_q(query), self.W_k(key), self.W_v(value)

        batch_size = query.size(0)
        query = query.view(batch_size * self.num_heads, -1, self.attention_dim)  # expect: MHA102
        key = key.view(batch_size * self.num_heads, -1, self.attention_dim)  # expect: MHA102
        value = value.view(batch_size * self.num_heads, -1, self.attention_dim)  # expect: MHA102

        output, weights = self.dot_product_attention(query, key, value, scale=self.scale)
        output = output.view(batch_size, -1, self.output_dim)  # expect: MHA101
        output = self.out(output)
        if self.use_residual:
            output = output + residual
        return output.relu()
