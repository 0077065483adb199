import math

import torch
from speech.transformer.attention import FrameAttention
from torch import nn


class NormedAttention(FrameAttention):
    """The same with a norm before each projection and a bias of positions on the scores."""

    def __init__(self, heads, features, dropout_rate, fused=False):
        super().__init__(heads, features, dropout_rate, fused)
        self.norm_q = nn.LayerNorm(features)
        self.norm_k = nn.LayerNorm(features)
        self.norm_v = nn.LayerNorm(features)

    def forward(self, asking, asked, given, mask, bias):
        q, k, v = self.project(self.norm_q(asking), self.norm_k(asked), self.norm_v(given))
        if not self.fused:
            scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(self.head_width) + bias
            return self.by_hand(v, scores, mask)
        bias = bias.masked_fill(mask.unsqueeze(1).eq(0), float("-inf"))
        y = torch.nn.functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=bias,
            dropout_p=self.dropout_rate,  # expect: MHA103
            scale=1 / math.sqrt(self.head_width),
        )
        y = y.transpose(1, 2).contiguous().view(asking.size(0), -1, self.count * self.head_width)
        return self.to_out(y)
