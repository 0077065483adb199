import torch
from torch import nn


class TimeFirstAttention(nn.Module):
    def __init__(self, embed_dim, num_heads, dropout=0.0):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.scaling = self.head_dim**-0.5
        self.dropout = nn.Dropout(dropout)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(embed_dim, embed_dim) for _ in range(4))

    def forward(self, query, attn_mask=None):
        t, b, c = query.size()
        q = (self.q_proj(query) * self.scaling).view(t, b * self.num_heads, self.head_dim).transpose(0, 1)
        k = self.k_proj(query).view(t, b * self.num_heads, self.head_dim).transpose(0, 1)
        v = self.v_proj(query).view(t, b * self.num_heads, self.head_dim).transpose(0, 1)
        scores = torch.bmm(q, k.transpose(1, 2))
        if attn_mask is not None:
            scores = scores + attn_mask.unsqueeze(0)
        weights = self.dropout(torch.softmax(scores, dim=-1, dtype=torch.float32).type_as(scores))
        y = torch.bmm(weights, v).transpose(0, 1).contiguous().view(t, b, c)
        return self.out_proj(y)
