# run: MultiHeadedAttention(4, 24)(torch.randn(2, 5, 24), torch.randn(2, 5, 24), torch.randn(2, 5, 24))
# run: MultiHeadedAttention(4, 24)(*[torch.randn(2, 5, 24)] * 3, mask=torch.ones(2, 5, 5))
"Attention in the manner of the annotated paper: four cloned layers and a free function."
import copy
import math
import torch
import torch.nn as nn


def clones(module, N):
    "Produce N identical layers."
    return nn.ModuleList([copy.deepcopy(module) for _ in range(N)])


def attention(query, key, value, mask=None, dropout=None):
    "Compute scaled dot product attention; all of shape (batch, heads, time, d_k)."
    d_k = query.size(-1)
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(d_k)
    if mask is not None:
        scores = scores.masked_fill(mask == 0, float("-inf"))
    p_attn = scores.softmax(dim=-1)
    if dropout is not None:
        p_attn = dropout(p_attn)
    return torch.matmul(p_attn, value), p_attn


class MultiHeadedAttention(nn.Module):
    def __init__(self, h, d_model, dropout=0.1):
        "Take in model size and number of heads."
        super(MultiHeadedAttention, self).__init__()
        assert d_model % h == 0
        self.d_k = d_model // h
        self.h = h
        self.linears = clones(nn.Linear(d_model, d_model), 4)
        self.attn = None
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, query, key, value, mask=None):
        if mask is not None:
            mask = mask.unsqueeze(1)
        nbatches = query.size(0)

        # 1) project
        query = self.linears[0](query).view(nbatches, -1, self.h, self.d_k).transpose(1, 2)
        key = self.linears[1](key).view(nbatches, -1, self.h, self.d_k).transpose(1, 2)
        value = self.linears[2](value).view(nbatches, -1, self.h, self.d_k).transpose(1, 2)

        # 2) attend
        x, self.attn = attention(query, key, value, mask=mask, dropout=self.dropout)

        # 3) "concat" with a view, then the last layer
        x = x.transpose(1, 2).view(nbatches, -1, self.h * self.d_k)  # expect: MHA001
        del query, key, value
        return self.linears[-1](x)
