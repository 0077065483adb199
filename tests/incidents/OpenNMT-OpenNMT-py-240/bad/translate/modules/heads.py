import math

import torch
import torch.nn as nn


class HeadedAttention(nn.Module):
    def __init__(self, head_count, model_dim, p=0.1):
        super().__init__()
        assert model_dim % head_count == 0
        self.dim_per_head = model_dim // head_count
        self.head_count = head_count
        self.linear_keys = nn.Linear(model_dim, model_dim, bias=False)
        self.linear_values = nn.Linear(model_dim, model_dim, bias=False)
        self.linear_query = nn.Linear(model_dim, model_dim, bias=False)
        self.softmax = nn.Softmax(dim=-1)
        self.final = nn.Linear(model_dim, model_dim)
        self.dropout = nn.Dropout(p)

    def forward(self, key, value, query, mask=None):
        def shape(x):
            b, t, _ = x.size()
            return x.view(b, t, self.head_count, self.dim_per_head).transpose(1, 2)

        b, t, c = query.size()
        k, v, q = shape(self.linear_keys(key)), shape(self.linear_values(value)), shape(self.linear_query(query))
        scaled = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(self.dim_per_head)
        if mask is not None:
            scaled = scaled.masked_fill(mask.unsqueeze(1).bool(), -float("inf"))
        mix = torch.matmul(self.dropout(self.softmax(scaled)), v)
        return self.final(mix.transpose(1, 2).contiguous().view(b, t, c))
