from recipes.modules import Attention
from torch import nn


def self_attention(width, heads, kv_heads, weights_dropout=0.0):
    head = width // heads
    return Attention(
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        to_q=nn.Linear(width, heads * head, bias=False),
        to_k=nn.Linear(width, kv_heads * head, bias=False),
        to_v=nn.Linear(width, kv_heads * head, bias=False),
        to_out=nn.Linear(width, width, bias=False),
        weights_dropout=weights_dropout,
    )
