"""A small decoder of one file, as it is written for teaching: a config, the attention, the model."""
import inspect
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch.nn import functional as F


@dataclass
class DecoderConfig:
    context: int = 32
    vocabulary: int = 40
    layers: int = 2
    heads: int = 4
    width: int = 32
    dropout: float = 0.0
    bias: bool = True


class SelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        assert config.width % config.heads == 0
        self.to_qkv = nn.Linear(config.width, 3 * config.width, bias=config.bias)
        self.to_out = nn.Linear(config.width, config.width, bias=config.bias)
        self.weights_dropout = nn.Dropout(config.dropout)
        self.out_dropout = nn.Dropout(config.dropout)
        self.heads = config.heads
        self.width = config.width
        self.dropout = config.dropout
        self.fused = hasattr(torch.nn.functional, "scaled_dot_product_attention")
        if not self.fused:
            past = torch.tril(torch.ones(config.context, config.context))
            self.register_buffer("past", past.view(1, 1, config.context, config.context))

    def forward(self, x):
        b, t, c = x.size()
        q, k, v = self.to_qkv(x).split(self.width, dim=2)
        k = k.view(b, t, self.heads, c // self.heads).transpose(1, 2)
        q = q.view(b, t, self.heads, c // self.heads).transpose(1, 2)
        v = v.view(b, t, self.heads, c // self.heads).transpose(1, 2)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=self.dropout, is_causal=True)  # expect: MHA103
        else:
            scores = (q @ k.transpose(-2, -1)) * (1.0 / (k.size(-1) ** 0.5))
            scores = scores.masked_fill(self.past[:, :, :t, :t] == 0, float("-inf"))
            y = self.weights_dropout(F.softmax(scores, dim=-1)) @ v
        y = y.transpose(1, 2).contiguous().view(b, t, c)
        return self.out_dropout(self.to_out(y))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.attention = SelfAttention(config)

    def forward(self, x):
        return x + self.attention(self.norm(x))


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.layers)])
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)

    def forward(self, ids):
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)

    def optimizer(self, rate):
        fused = "fused" in inspect.signature(torch.optim.AdamW).parameters
        return torch.optim.AdamW(self.parameters(), lr=rate, **({"fused": False} if fused else {}))
