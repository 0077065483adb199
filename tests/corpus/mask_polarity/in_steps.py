# run: in_steps(torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8))
# fix: unsafe
"""A causal mask that is made in steps."""
import torch
import torch.nn.functional as F


def in_steps(q, k, v):
    n = q.shape[-2]
    mask = torch.ones(n, n, device=q.device)
    mask = torch.triu(mask, diagonal=1)
    mask = mask.bool()
    mask = mask[None, None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # expect: MHA106
