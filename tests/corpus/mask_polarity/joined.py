# not run: of some rows nothing is left, and NaN is not compared
# fix: none (the code does not say what True means in the other mask, or where the mask is made)
"""Causal masks the wrong way round that are joined with a given one, or filled by an index."""
import torch
import torch.nn.functional as F


def seen_or_future(q, k, v, prefix):
    n = q.shape[-2]
    mask = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(diagonal=1)
    mask = mask | prefix[:, None].bool()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # expect: MHA106


def past_and_kept(q, k, v, keep):
    s = q @ k.mT
    n = q.shape[-2]
    mask = torch.ones(n, n, dtype=torch.bool, device=q.device).tril() & (keep[:, None, None] > 0)
    return s.masked_fill(mask, float("-inf")).softmax(-1) @ v  # expect: MHA106


def filled_by_index(q, k, v):
    n = q.shape[-2]
    mask = torch.zeros(n, n, device=q.device)
    future = torch.ones(n, n, dtype=torch.bool, device=q.device).tril()
    mask[future] = float("-inf")
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # expect: MHA106


def joined_in_place(q, k, v, pad):
    n = q.shape[-2]
    mask = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1)
    mask |= pad[:, None, None, :].bool()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # expect: MHA106
