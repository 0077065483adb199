# run: Scores(8)(torch.randn(2, 5, 8), "torch.FloatTensor")
"""A tensor is cast to a type that others name: with "torch.cuda.FloatTensor" it moves as well."""
import torch
from torch import nn


class Scores(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.heads = 1

    def forward(self, x, dtype):
        scores = self.query(x) @ self.key(x).transpose(1, 2) * x.shape[-1] ** -0.5
        steps = torch.full((1, x.shape[1], 1), 2.0).type(dtype)
        return (scores * steps).softmax(dim=-1)
