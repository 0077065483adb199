import numpy as np
import torch
import torch.nn as nn


class ProductAttention(nn.Module):
    def __init__(self, width, dropout=0.1):
        super().__init__()
        self.temper = np.power(width, 0.5)
        self.dropout = nn.Dropout(dropout)
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, q, k, v, mask=None):
        scores = torch.bmm(q, k.transpose(1, 2)) / self.temper
        if mask is not None:
            assert mask.size() == scores.size()
            scores = scores.masked_fill(mask, -float("inf"))
        weights = self.dropout(self.softmax(scores))
        return torch.bmm(weights, v), weights
