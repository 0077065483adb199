# not run: what it imports is made up
"""What is added by `baddbmm` may be a mask: given by name, or written by others before."""
import torch
from masks import fill_in


def biased(q, k, v, alibi, mask):
    scores = torch.baddbmm(input=alibi, batch1=q, batch2=k.transpose(1, 2), beta=1.0, alpha=q.shape[-1] ** -0.5)
    weights = scores.softmax(dim=-1)
    return torch.bmm(weights.masked_fill(mask, 0.0), v)


def filled(q, k, v, mask):
    buffer = torch.zeros(q.shape[0], q.shape[1], k.shape[1])
    fill_in(buffer, mask)
    weights = torch.baddbmm(buffer, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5).softmax(dim=-1)
    return torch.bmm(weights.masked_fill(mask, 0.0), v)
