# fix: none (it is not known how else it would be written)
# run: Windowed(16, 4)(torch.randn(3, 8, 16), torch.zeros(4, 2, 2))
"""Masks of windows that are expanded for the batch in the wrong order."""
from torch import nn


class Windowed(nn.Module):
    """The mask of each window is repeated for the entries before the windows."""

    def __init__(self, width, windows):
        super().__init__()
        self.windows = windows
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, mask):
        b, t, c = x.shape
        s = t // self.windows
        x = x.view(b, self.windows, s, c).reshape(b * self.windows, s, c)
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        mask = mask.view(self.windows, s, s)[:, None].expand(self.windows, b, s, s).reshape(-1, s, s)  # expect: MHA118
        weights = (q @ k.transpose(1, 2) * c**-0.5 + mask).softmax(-1)
        return self.out(weights @ v).view(b, t, c)
