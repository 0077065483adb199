# run: Heads(2, 6, 3)(torch.randn(2, 5, 6))
# run: Loaded(torch.randn(2, 6, 3), torch.randn(2, 6, 3))(torch.randn(2, 5, 6))
# run: Block(3, 5, 4)(torch.randn(2, 5, 3, 4))
# run: pooled(torch.randn(5, 3), torch.randn(2, 4, 5), torch.randn(2, 4, 3))
"""A product with parameters: a stack of maps gives heads their own dimension, a vector takes one away."""

import torch
import torch.nn.functional as F
from torch import nn


class Heads(nn.Module):
    def __init__(self, heads, width, head_width):
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.maps = nn.Parameter(torch.rand(3, heads, width, head_width))
        self.query = nn.Parameter(torch.Tensor(heads, width, head_width).uniform_(-1, 1))
        self.key = nn.Parameter(torch.FloatTensor(heads, width, head_width).uniform_(-1, 1))
        self.out = nn.Linear(heads * head_width, width)

    def forward(self, x):
        batch, length, width = x.size()
        rows = x.contiguous().view(-1, width)
        shape = (self.heads, batch, length, self.head_width)
        q = torch.matmul(rows, self.query).view(shape)
        k = torch.matmul(rows, self.key).view(shape)
        v = torch.matmul(rows, self.maps[2]).view(shape)
        scores = torch.matmul(q, k.transpose(2, 3)) * self.head_width**-0.5
        heads = torch.matmul(F.softmax(scores, dim=-1), v)
        return self.out(heads.permute(1, 2, 0, 3).reshape(batch, length, -1))


class Loaded(nn.Module):
    """Its maps come from elsewhere, and their rank with them."""

    def __init__(self, query, key):
        super().__init__()
        self.query, self.key = nn.Parameter(query), nn.Parameter(key)

    def forward(self, x):
        batch, length, width = x.size()
        heads, _, head_width = self.query.shape
        rows = x.view(-1, width)
        q = (rows @ self.query).view(heads, batch, length, -1)
        k = (rows @ self.key).view(heads, batch, length, -1)
        weights = torch.softmax(q @ k.transpose(-2, -1) * head_width**-0.5, dim=-1)
        return weights.mean(dim=0) @ x


class Times(nn.Module):
    """Attention over the time of a graph, scored with vectors."""

    def __init__(self, features, nodes, times):
        super().__init__()
        self.of_nodes = nn.Parameter(torch.FloatTensor(nodes).uniform_())
        self.of_both = nn.Parameter(torch.FloatTensor(features, nodes).uniform_())
        self.of_features = nn.Parameter(torch.FloatTensor(features).uniform_())
        self.bias = nn.Parameter(torch.FloatTensor(1, times, times).uniform_())
        self.mix = nn.Parameter(torch.FloatTensor(times, times).uniform_())

    def forward(self, x):
        left = torch.matmul(torch.matmul(x.permute(0, 3, 2, 1), self.of_nodes), self.of_both)
        right = torch.matmul(self.of_features, x)
        scores = torch.matmul(self.mix, torch.sigmoid(torch.matmul(left, right) + self.bias))
        return F.softmax(scores, dim=1)


class Block(nn.Module):
    def __init__(self, features, nodes, times):
        super().__init__()
        self.attention = Times(features, nodes, times)

    def forward(self, x):
        batch, nodes, features, times = x.shape
        weights = self.attention(x)
        mixed = torch.matmul(x.reshape(batch, -1, times), weights)
        return mixed.reshape(batch, nodes, features, times)


def pooled(table, queries, keys):
    return torch.softmax(queries @ table, dim=-1) @ keys.transpose(-2, -1)
