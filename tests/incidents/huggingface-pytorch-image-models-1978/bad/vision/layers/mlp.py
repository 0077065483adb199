from torch import nn


class Mlp(nn.Module):
    def __init__(self, width, hidden=None):
        super().__init__()
        hidden = hidden or width
        self.widen = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.narrow = nn.Linear(hidden, width)

    def forward(self, x):
        return self.narrow(self.act(self.widen(x)))
