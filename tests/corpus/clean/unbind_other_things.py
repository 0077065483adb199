# run: per_sample_iou(torch.rand(2, 3, 4), torch.rand(2, 3, 4))
# run: box_cxcywh_to_xyxy(torch.rand(5, 4))
# run: Recurrent(6, 8)(torch.randn(7, 2, 6))
# run: complex_rotate(torch.randn(2, 5, 8), torch.randn(5, 4, 2))
"""Unbinding that has nothing to do with queries, keys and values."""
import torch
from torch import nn


def box_cxcywh_to_xyxy(x):
    x_c, y_c, w, h = x.unbind(-1)
    b = [(x_c - 0.5 * w), (y_c - 0.5 * h), (x_c + 0.5 * w), (y_c + 0.5 * h)]
    return torch.stack(b, dim=-1)


def per_sample_iou(boxes, targets):
    total = []
    for box, target in zip(boxes.unbind(0), torch.unbind(targets, dim=0)):
        x0, y0, x1, y1 = box.t().unbind(0)
        u0, v0, u1, v1 = target.t()
        total.append((x1.minimum(u1) - x0.maximum(u0)).clamp(0) * (y1.minimum(v1) - y0.maximum(v0)).clamp(0))
    return torch.stack(total)


def complex_rotate(x, table):
    real, imag = table.unbind(-1)
    a, b = x.view(*x.shape[:-1], -1, 2).unbind(dim=-1)
    return torch.stack((a * real - b * imag, a * imag + b * real), dim=-1).flatten(-2)


class Recurrent(nn.Module):
    """Steps through time, then attends over the states with a learned query."""

    def __init__(self, inputs, hidden):
        super().__init__()
        self.cell = nn.GRUCell(inputs, hidden)
        self.query = nn.Parameter(torch.randn(hidden))
        self.hidden = hidden

    def forward(self, x):
        state = x.new_zeros(x.shape[1], self.hidden)
        states = []
        for step in x.unbind(0):
            state = self.cell(step, state)
            states.append(state)
        states = torch.stack(states)
        weights = (states @ self.query).softmax(dim=0)
        return (weights.unsqueeze(-1) * states).sum(0)
