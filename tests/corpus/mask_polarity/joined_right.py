# not run: functions by themselves
"""Masks that are joined and mean what they say; attention backward."""
import torch
import torch.nn.functional as F


def hidden(q, k, v, pad):
    n = q.shape[-2]
    mask = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1)
    mask |= pad[:, None, None, :].bool()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=~mask)


def kept(q, k, v, keep):
    n = q.shape[-2]
    mask = torch.ones(n, n, dtype=torch.bool, device=q.device).tril() & keep[:, None, None].bool()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def prefixed(q, k, v, prefix):
    n = q.shape[-2]
    mask = torch.ones(n, n, dtype=torch.bool, device=q.device).tril() | prefix[:, None, None].bool()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def backward(q, k, v):
    n = q.shape[-2]
    i = torch.arange(n, device=q.device)
    backward = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1) | (i[:, None] == i[None])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=backward)


def backward_by_eye(q, k, v):
    n = q.shape[-2]
    backward = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1) | torch.eye(n, dtype=torch.bool, device=q.device)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=backward)


def filled(q, k, v):
    n = q.shape[-2]
    mask = torch.zeros(n, n, device=q.device)
    mask[torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1)] = float("-inf")
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
