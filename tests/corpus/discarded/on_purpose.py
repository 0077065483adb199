# run: InPlace(32, 4)(torch.randn(2, 5, 32))
# run: Counted(32, 4)(torch.randn(2, 5, 32))
# run: tried(torch.randn(5, 5))
# run: prepared(Owner(), Batch(), torch.randn(2, 3, 4))
# run: plotted(Board(), torch.randn(3, 4))
"""Statements that do something: in place, to ``out``, to a module, or for their error or their time."""
import contextlib

import torch
import torch.nn.functional as F
from torch import nn


class InPlace(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        scores.masked_fill_(future, float("-inf"))
        scores.masked_fill_(future, float("-inf")).contiguous
        weights = scores.softmax(dim=-1)
        kept = torch.empty_like(weights)
        torch.clamp(weights.detach(), 0, 1, out=kept)
        y = weights @ v
        F.relu(x, True)
        F.relu(x, inplace=True)
        return self.out(y.transpose(1, 2).flatten(2))


class Counted(nn.Module):
    """Sizes that are asked for, random numbers that are drawn, and products that warm up."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.seen = set()

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)
        self.seen.add(t)
        lengths = set()
        lengths.add(t)
        x.size(1)
        x.dim()
        torch.rand_like(x)
        torch.matmul(q, k.mT)
        F.dropout(x, 0.0)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).flatten(2))


def tried(scores):
    try:
        scores.view(-1, 7)
    except RuntimeError:
        scores = scores.reshape(5, 5)
    with contextlib.suppress(RuntimeError):
        scores.view(-1, 7)
    return scores.softmax(dim=-1) @ scores


class Owner(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(4, 4)

    def softmax(self, x):
        self.kept = x.softmax(dim=-1)
        return self.kept


class Batch(dict):
    def to(self, device):
        return self

    def float(self):
        return self


def prepared(model, batch, x):
    """Modules and batches work in place, and a layer keeps what it computed."""
    model.to("cpu")
    model.float()
    model.map.float()
    model = model.to("cpu")
    model.float()
    batch.to("cpu")
    batch = batch.to("cpu")
    batch.float()
    model.softmax(x)
    return model.map(x).softmax(dim=-1) @ x.transpose(1, 2)


class Board:
    def where(self, points):
        self.points = points

    def masked_fill(self, points):
        self.points = points


def plotted(board, scores):
    board.where(scores)
    board.masked_fill(scores)
    return scores.softmax(dim=-1) @ scores.T


class WarmsUp(nn.Module):
    def forward(self, q, k, v):
        scores = q @ k.transpose(-2, -1)
        for _ in range(3):
            torch.softmax(scores, dim=-1)
            scores.transpose(1, 2).contiguous()
        return scores.softmax(dim=-1) @ v
