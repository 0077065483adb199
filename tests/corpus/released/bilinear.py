# run: Model(nn.Linear(6, 64), nn.Linear(6, 64), num_heads=2)(torch.randn(5, 7, 6), torch.ones(5, 7))
"""A bilinear map of several heads multiplies matrices with vectors: nothing attends to anything."""

import torch
from torch import nn


class Pairs(nn.Module):
    def __init__(self, x_dim, y_dim, output_dim=1, num_heads=1):
        super().__init__()
        self.num_heads, self.output_dim = num_heads, output_dim
        self.head_x_dim, self.head_y_dim = x_dim // num_heads, y_dim // num_heads
        self.w_x, self.w_y = nn.Linear(x_dim, output_dim), nn.Linear(y_dim, output_dim)
        self.w_xy = nn.Parameter(torch.rand(num_heads * self.head_x_dim * self.head_y_dim, output_dim))

    def forward(self, x, y):
        output = self.w_x(x) + self.w_y(y)
        head_x = x.view(-1, self.num_heads, self.head_x_dim)
        head_y = y.view(-1, self.num_heads, self.head_y_dim)
        xy = torch.matmul(
            torch.matmul(head_x.unsqueeze(2), self.w_xy.view(self.num_heads, self.head_x_dim, -1)).view(
                -1, self.num_heads, self.output_dim, self.head_y_dim
            ),
            head_y.unsqueeze(-1),
        ).squeeze(-1)
        output += xy.sum(dim=1)
        return output


class Model(nn.Module):
    def __init__(self, first, second, width=6, hidden=(8, 64), num_heads=1):
        super().__init__()
        self.first, self.second = first, second
        self.score = nn.Linear(width, 1)
        self.fusion = Pairs(hidden[-1], hidden[-1], output_dim=1, num_heads=num_heads)

    def forward(self, x, mask):
        weights = torch.softmax(self.score(x).squeeze(-1).masked_fill(mask == 0, -1e4), dim=-1)
        pooled = (weights.unsqueeze(1) @ x).squeeze(1)
        return torch.sigmoid(self.fusion(self.first(pooled), self.second(pooled)))
