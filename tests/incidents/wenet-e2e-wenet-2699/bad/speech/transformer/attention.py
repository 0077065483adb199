import math

import torch
from torch import nn


class FrameAttention(nn.Module):
    """What the attentions of all encoders share."""

    def __init__(self, heads: int, features: int, dropout_rate: float, fused: bool = False):
        super().__init__()
        assert features % heads == 0
        self.head_width = features // heads
        self.count = heads
        self.to_q = nn.Linear(features, features)
        self.to_k = nn.Linear(features, features)
        self.to_v = nn.Linear(features, features)
        self.to_out = nn.Linear(features, features)
        self.dropout = nn.Dropout(p=dropout_rate)
        self.fused = fused
        self.dropout_rate = dropout_rate

    def project(self, asking, asked, given):
        b = asking.size(0)
        q = self.to_q(asking).view(b, -1, self.count, self.head_width).transpose(1, 2)
        k = self.to_k(asked).view(b, -1, self.count, self.head_width).transpose(1, 2)
        v = self.to_v(given).view(b, -1, self.count, self.head_width).transpose(1, 2)
        return q, k, v

    def by_hand(self, given, scores, mask):
        b = given.size(0)
        if mask.size(2) > 0:
            mask = mask.unsqueeze(1).eq(0)
            scores = scores.masked_fill(mask, -float("inf"))
            weights = torch.softmax(scores.float(), dim=-1).type_as(given).masked_fill(mask, 0.0)
        else:
            weights = torch.softmax(scores, dim=-1)
        x = torch.matmul(self.dropout(weights), given)
        return self.to_out(x.transpose(1, 2).contiguous().view(b, -1, self.count * self.head_width))

    def forward(self, asking, asked, given, mask):
        q, k, v = self.project(asking, asked, given)
        if not self.fused:
            scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(self.head_width)
            return self.by_hand(v, scores, mask)
        y = torch.nn.functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask.unsqueeze(1),
            dropout_p=self.dropout_rate,  # expect: MHA103
            scale=1 / math.sqrt(self.head_width),
        )
        y = y.transpose(1, 2).contiguous().view(asking.size(0), -1, self.count * self.head_width)
        return self.to_out(y)
