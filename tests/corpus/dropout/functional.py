# run: BertSelfAttention(Config())(torch.randn(2, 5, 32))
# run: ToldTrue(32, 4)(torch.randn(2, 5, 32))
# run: OldFunction(32, 4)(torch.randn(2, 5, 32))
# run: OfTheContext(32, 4)(torch.randn(2, 5, 32))
# fix: unsafe
"""Dropout as a function, which takes it that this is training unless it is told."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Config:
    hidden_size = 32
    num_attention_heads = 4
    attention_dropout = 0.2


class BertSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.num_attention_heads
        self.config = config
        self.q = nn.Linear(config.hidden_size, config.hidden_size)
        self.k = nn.Linear(config.hidden_size, config.hidden_size)
        self.v = nn.Linear(config.hidden_size, config.hidden_size)
        self.o = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.heads, -1).transpose(1, 2)
        k = self.k(x).view(b, t, self.heads, -1).transpose(1, 2)
        v = self.v(x).view(b, t, self.heads, -1).transpose(1, 2)
        probs = nn.functional.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)
        probs = nn.functional.dropout(probs, p=self.config.attention_dropout)  # expect: MHA103
        return self.o((probs @ v).transpose(1, 2).reshape(b, t, c))


class ToldTrue(nn.Module):
    def __init__(self, dim, heads, p=0.1):
        super().__init__()
        self.h, self.p = heads, p
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.h, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        weights = torch.softmax(q @ k.mT / (c // self.h) ** 0.5, dim=-1)
        weights = F.dropout(weights, self.p, training=True)  # expect: MHA103
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, c))


class OldFunction(ToldTrue):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.h, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        weights = torch.softmax(q @ k.mT / (c // self.h) ** 0.5, dim=-1)
        weights = torch.dropout(weights, self.p, True)  # expect: MHA103
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, c))


class OfTheContext(ToldTrue):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.h, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        weights = torch.softmax(q @ k.mT / (c // self.h) ** 0.5, dim=-1)
        context = F.dropout(weights @ v)  # expect: MHA103
        return self.out(context.transpose(1, 2).reshape(b, t, c))
