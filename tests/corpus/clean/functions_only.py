# run: attention(*[torch.randn(2, 5, 24)] * 3, heads=4)
# run: multihead(torch.randn(2, 5, 24), torch.randn(72, 24), torch.randn(24, 24), 4)
# run: linear_attention(*[torch.randn(2, 5, 24)] * 3, heads=4)
"""Attention without classes."""
import torch
import torch.nn.functional as F


def split_heads(x, heads):
    b, t, c = x.shape
    return x.view(b, t, heads, c // heads).transpose(1, 2)


def merge_heads(x):
    b, h, t, d = x.shape
    return x.transpose(1, 2).reshape(b, t, h * d)


def attention(q, k, v, heads, mask=None):
    q, k, v = (split_heads(x, heads) for x in (q, k, v))
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(mask == 0, float("-inf"))
    return merge_heads(scores.softmax(dim=-1) @ v)


def multihead(x, w_in, w_out, heads):
    q, k, v = F.linear(x, w_in).chunk(3, dim=-1)
    return attention(q, k, v, heads) @ w_out


def linear_attention(q, k, v, heads):
    q, k, v = map(lambda x: split_heads(x, heads), (q, k, v))
    context = k.softmax(dim=-2).transpose(-2, -1) @ v
    return merge_heads(q.softmax(dim=-1) @ context)
