# not run: it needs packages, or files, that are not there
# fix: unsafe
# not exercised: its base classes, or packages, are not there
"""Scores by a sum of products, and a softmax over neighbours."""
import math
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.utils import softmax
from torch_geometric.nn import MessagePassing
import torch_scatter
import dgl


class Conv(MessagePassing):
    def __init__(self, width, heads, dropout):
        super().__init__(node_dim=0)
        self.width, self.heads, self.dropout, self.query = width, heads, dropout, nn.Linear(width, heads * width)

    def message(self, query_i, key_j, value_j, index, ptr, size_i):
        alpha = (query_i * key_j).sum(dim=-1) / math.sqrt(self.width)
        alpha = softmax(alpha, index, ptr, size_i)
        alpha = F.dropout(alpha, p=self.dropout)  # expect: MHA103
        return value_j * alpha.view(-1, self.heads, 1)

    def good(self, query_i, key_j, value_j, index, ptr, size_i):
        alpha = (query_i * key_j).sum(dim=-1) / math.sqrt(self.width)
        alpha = softmax(alpha, index, ptr, size_i)
        alpha = F.dropout(alpha, p=self.dropout, training=self.training)
        return value_j * alpha.view(-1, self.heads, 1)

    def scat(self, a, index):
        return F.dropout(torch_scatter.scatter_softmax(a, index), self.dropout)  # expect: MHA103

    def d(self, g, a):
        return F.dropout(dgl.ops.edge_softmax(g, a), self.dropout)  # expect: MHA103
