import math
from typing import Optional

import torch
import torch.nn.functional as F
from torch import nn

from .config import SmallConfig


def repeat_heads(x, n):
    b, t, h, d = x.shape
    return x[:, :, :, None, :].expand(b, t, h, n, d).reshape(b, t, h * n, d)


class SmallAttention(nn.Module):
    def __init__(self, args: SmallConfig):
        super().__init__()
        self.n_heads = args.num_attention_heads
        self.n_kv_heads = args.num_key_value_heads
        self.n_rep = self.n_heads // self.n_kv_heads
        self.head_dim = args.hidden_size // args.num_attention_heads
        self.q_proj = nn.Linear(args.hidden_size, self.n_heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(args.hidden_size, self.n_kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(args.hidden_size, self.n_kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.n_heads * self.head_dim, args.hidden_size, bias=False)
        self.attn_dropout = nn.Dropout(args.dropout)
        self.dropout = args.dropout
        self.flash = hasattr(torch.nn.functional, "scaled_dot_product_attention") and args.flash_attn

    def forward(self, x, past_key_value=None, attention_mask: Optional[torch.Tensor] = None):
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, self.n_heads, self.head_dim)
        k = self.k_proj(x).view(b, t, self.n_kv_heads, self.head_dim)
        v = self.v_proj(x).view(b, t, self.n_kv_heads, self.head_dim)
        if past_key_value is not None:
            k = torch.cat([past_key_value[0], k], dim=1)
            v = torch.cat([past_key_value[1], v], dim=1)
        q = q.transpose(1, 2)
        k = repeat_heads(k, self.n_rep).transpose(1, 2)
        v = repeat_heads(v, self.n_rep).transpose(1, 2)
        if self.flash and t != 1:
            dropout_p = self.dropout if self.training else 0.0
            attn_mask = None
            if attention_mask is not None:
                attn_mask = attention_mask.view(b, 1, 1, -1).expand(b, self.n_heads, t, -1)
                attn_mask = attn_mask.bool()
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, dropout_p=dropout_p, is_causal=True)  # expect: MHA112
        else:
            scores = q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)
            scores = scores + torch.full((t, t), float("-inf"), device=x.device).triu(1)
            if attention_mask is not None:
                scores = scores + (1.0 - attention_mask[:, None, None].float()) * -1e9
            y = self.attn_dropout(F.softmax(scores.float(), dim=-1).type_as(q)) @ v
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))
