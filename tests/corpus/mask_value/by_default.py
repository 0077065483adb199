# run: SmallE()(*torch.randn(3, 2, 4, 5, 8), torch.ones(2, 1, 1, 5))
# run: SmallLowest()(*torch.randn(3, 2, 4, 5, 8), torch.ones(2, 1, 1, 5))
# run: zeroed_scores(*torch.randn(3, 2, 4, 5, 8), torch.ones(2, 1, 1, 5))
# fix: unsafe
"""What scores are filled with is the default of a parameter, and nobody hands it another value."""
import torch
import torch.nn as nn


class SmallE(nn.Module):
    def forward(self, q, k, v, mask=None, e=1e-12):
        score = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        if mask is not None:
            score = score.masked_fill(mask == 0, -e)  # expect: MHA111
        return score.softmax(dim=-1) @ v


class SmallLowest(nn.Module):
    def __init__(self, lowest=-1e-9):
        super().__init__()
        self.lowest = lowest

    def forward(self, q, k, v, mask):
        score = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        score = score.masked_fill(mask == 0, self.lowest)  # expect: MHA111
        return score.softmax(dim=-1) @ v


def zeroed_scores(q, k, v, mask, *, value=0.0):
    score = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
    score = score.masked_fill(mask == 0, value)  # expect: MHA111
    return score.softmax(dim=-1) @ v
