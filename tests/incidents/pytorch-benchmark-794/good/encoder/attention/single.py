import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Product(nn.Module):
    """What one head computes: it has no parameters."""

    def forward(self, query, key, value, dropout, mask=None):
        scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(query.size(-1))
        if mask is not None:
            scores = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min)
        weights = dropout.forward(F.softmax(scores, dim=-1))
        return torch.matmul(weights, value), weights
