# run: Several(24, 4)(torch.randn(2, 5, 24))
"""Every usual way of making the merged tensor contiguous before the view."""
import torch
import torch.nn as nn


class Several(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.o = nn.ModuleList(nn.Linear(dim, dim) for _ in range(6))

    def forward(self, x):
        b, t, c = x.shape
        h, d = self.heads, c // self.heads
        q = self.q(x).view(b, t, h, d).transpose(1, 2)
        k = self.k(x).view(b, t, h, d).transpose(1, 2)
        v = self.v(x).view(b, t, h, d).transpose(1, 2)
        y = (q @ k.transpose(-1, -2) * d**-0.5).softmax(-1) @ v

        one = y.transpose(1, 2).contiguous().view(b, t, c)
        two = y.transpose(1, 2).reshape(b, t, c)
        three = y.transpose(1, 2).clone(memory_format=torch.contiguous_format).view(b, t, c)
        four = torch.cat([part for part in y.transpose(1, 2).chunk(2, dim=1)], dim=1).view(b, t, c)
        five = torch.stack(y.unbind(1), dim=2).view(b, t, c)
        six = y.transpose(1, 2)
        six = six.contiguous()
        six = six.view(b, t, -1)

        return sum(o(m) for o, m in zip(self.o, (one, two, three, four, five, six)))
