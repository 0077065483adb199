# run: PairwiseAttention(5)(torch.randn(2, 5, 5))
"""Each row is laid beside each other row: one side is repeated row by row, the other one as a whole."""

import torch
from torch import nn


class PairwiseAttention(nn.Module):
    def __init__(self, nodes, slope=0.2):
        super().__init__()
        self.of_key = nn.Parameter(torch.zeros(nodes, 1))
        self.of_query = nn.Parameter(torch.zeros(nodes, 1))
        self.bend = nn.LeakyReLU(slope)

    def forward(self, x):
        batch, nodes, features = x.size()
        key, query = torch.matmul(x, self.of_key), torch.matmul(x, self.of_query)
        pairs = key.repeat(1, 1, nodes).view(batch, nodes * nodes, 1) + query.repeat(1, nodes, 1)
        scores = self.bend(pairs.squeeze(2).view(batch, nodes, nodes))
        return torch.softmax(scores, dim=2) @ x
