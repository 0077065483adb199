# not run: it needs packages, or files, that are not there
# fix: unsafe
# not exercised: its base classes, or packages, are not there
"""Rates of settings, and of a base class of another file."""
import torch
import torch.nn.functional as F
from torch import nn
from .layers import Base


class A(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.heads = config.heads

    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, dropout_p=self.config.attention_dropout)  # expect: MHA103


class B(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.p = cfg.model.dropout

    def forward(self, q, k, v):
        w = (q @ k.transpose(-2, -1)).softmax(-1)
        w = F.dropout(w, self.cfg.model.dropout)  # expect: MHA103
        return w @ v

    def two(self, q, k, v):
        w = (q @ k.transpose(-2, -1)).softmax(-1)
        return F.dropout(w, p=self.p) @ v  # expect: MHA103


class C(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.dropout = args.dropout
        self.rate = getattr(args, "dropout", 0.1)
        self.other = args["dropout"]

    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout)  # expect: MHA103

    def two(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, None, self.rate)  # expect: MHA103

    def three(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, None, self.other)  # expect: MHA103


class D(Base):
    def forward(self, q, k, v):
        return self.scaled_dot_product_attention(q, k, v, dropout_p=self.attn_drop)  # expect: MHA103


class E(Base):
    def forward(self, q, k, v):
        w = (q @ k.transpose(-2, -1)).softmax(-1)
        return F.dropout(w, self.dropout) @ v  # expect: MHA103

    def two(self, q, k, v):
        return self.sdpa(q, k, v, dropout_p=self.dropout_p)


class G(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.attend = F.scaled_dot_product_attention

    def forward(self, q, k, v):
        args = self.config
        return self.attend(q, k, v, dropout_p=args.dropout)  # expect: MHA103


class Parent(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.scaled_dot_product_attention = F.scaled_dot_product_attention
        self.attn_drop = p


class I(Parent):
    def forward(self, q, k, v):
        drop = self.attn_drop
        return self.scaled_dot_product_attention(q, k, v, dropout_p=drop)  # expect: MHA103
