# run: (Shown(32)(torch.randn(5, 2, 32)), Kept(32)(torch.randn(5, 2, 32)), Other(32)(torch.randn(5, 2, 32)))
# run: (Asked(32)(torch.randn(5, 2, 32), True), Lent(nn.MultiheadAttention(32, 4))(torch.randn(5, 2, 32)))
import torch
from torch import nn


class Shown(nn.Module):
    """The weights are read, although their name says that they are not."""

    def __init__(self, dim):
        super().__init__()
        self.attend = nn.MultiheadAttention(dim, 4)

    def forward(self, x):
        y, _ = self.attend(x, x, x)
        return y, _.mean()


class Kept(nn.Module):
    """The weights are kept for whoever looks at the module afterwards."""

    def __init__(self, dim):
        super().__init__()
        self.attend = nn.MultiheadAttention(dim, 4)
        self.weights = None

    def forward(self, x):
        y, self.weights = self.attend(x, x, x)
        both = self.attend(y, x, x, average_attn_weights=False)
        self.heads = both[1]
        return both[0]


class Sparse(nn.MultiheadAttention):
    """A layer with a forward of its own, which may take other arguments."""

    def forward(self, query, key, value):
        out, weights = super().forward(query, key, value)
        return out * weights.max(), weights


class Other(nn.Module):
    """The layers are none of torch's own, or may be others."""

    def __init__(self, dim, simple=True):
        super().__init__()
        self.sparse = Sparse(dim, 4)
        self.either = nn.MultiheadAttention(dim, 4)
        if simple:
            self.either = Sparse(dim, 4)

    def forward(self, x):
        y, _ = self.sparse(x, x, x)
        return self.either(y, y, y)[0]


class Asked(nn.Module):
    """Whoever calls decides whether there are weights, or they are not asked for."""

    def __init__(self, dim):
        super().__init__()
        self.attend = nn.MultiheadAttention(dim, 4)

    def forward(self, x, need_weights=False):
        y, _ = self.attend(x, x, x, need_weights=need_weights)
        return self.attend(y, y, y, need_weights=False)[0]


class Lent(nn.Module):
    """The layer is handed in: it may be anything that is called alike."""

    def __init__(self, attend):
        super().__init__()
        self.attend = attend

    def forward(self, x):
        return self.attend(x, x, x)[0]
