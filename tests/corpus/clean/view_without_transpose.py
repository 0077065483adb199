# run: Windowed(12, 2)(torch.randn(2, 3, 5, 12))
# run: Pixels(12, 3)(torch.randn(2, 12, 3, 5))
# run: Blocks(12)(torch.randn(2, 4, 6, 12))
# run: Shuffled(12)(torch.randn(2, 5, 12))
# run: Shifted(12)(torch.randn(2, 5, 12), torch.randn(9, 12))
# run: Shifted(12)(torch.randn(2, 5, 12), torch.randn(5, 12))
# run: Undone(12)(torch.randn(2, 12, 5))
# run: Queries(12, 4)(torch.randn(2, 5, 12))
# run: Square(12)(torch.randn(2, 12, 12))
# run: Whole(12, 3, 5)(torch.randn(2, 12, 15))
"""Views that look as if they moved something, and do not, or that do so on purpose."""

import torch
import torch.nn.functional as F
from torch import nn


class Pixels(nn.Module):
    """Channels are moved behind the pixels, and back, by any means."""

    def __init__(self, channels, heads):
        super().__init__()
        self.attend = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x):
        b, c, h, w = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(b, h * w, c)
        more = x.view(b, c, h * w).transpose(1, 2)
        y, _ = self.attend(tokens, more, more, need_weights=False)
        return y.reshape(b, h, w, c).permute(0, 3, 1, 2) + y.mT.reshape(b, c, h, w)


class Blocks(nn.Module):
    """Space to depth: what is split is moved before it is merged."""

    def __init__(self, channels):
        super().__init__()
        self.out = nn.Linear(4 * channels, channels)

    def forward(self, x):
        b, h, w, c = x.shape
        x = x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, -1, 4 * c)
        x = self.out(x)
        return F.scaled_dot_product_attention(x, x, x).view(b, -1)


class Shuffled(nn.Module):
    """Noise and learned queries have no order that a view could break."""

    def __init__(self, width):
        super().__init__()
        self.learned = nn.Parameter(torch.randn(width, 7))

    def forward(self, x):
        b, t, c = x.shape
        noise = torch.randn(b, c, t, device=x.device).view(b, t, c)
        q = self.learned.view(7, c).expand(b, 7, c)
        blank = torch.zeros(b, c, t, device=x.device).reshape(b, t, c)
        return F.scaled_dot_product_attention(q, x + noise + blank, x)


class Shifted(nn.Module):
    """Relative positions are shifted by a view of padded scores."""

    def __init__(self, width):
        super().__init__()
        self.scale = width**-0.5

    def forward(self, x, positions):
        b, t, c = x.shape
        relative = x @ positions.T
        s = relative.shape[-1]
        padded = torch.cat([relative.new_zeros(b, t, 1), relative], dim=-1).view(b, s + 1, t)
        also = F.pad(relative, (1, 0)).view(b, s + 1, t)
        shifted = (padded + also)[:, 1:].reshape(b, t, s)[..., :t]
        return ((x @ x.mT + shifted) * self.scale).softmax(-1) @ x


class Undone(nn.Module):
    """A later view puts the dimensions back: what lies between takes each number by itself."""

    def __init__(self, width):
        super().__init__()
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        b, c, t = x.shape
        y = x.view(b, t, c)
        y = F.gelu(self.drop(y) * 2).view(b, c, t).mT
        flat = x.view(b, t, c).reshape(b, -1)
        return F.scaled_dot_product_attention(y, y, y) + flat.sum()


class Queries(nn.Module):
    """Heads and their features may be split in either order: a linear map makes both."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        b, t, c = x.shape
        q = self.q(x).view(b, t, c // self.heads, self.heads).permute(0, 3, 1, 2)
        k = self.k(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)
        return F.scaled_dot_product_attention(q, k, k).flatten(1)


class Square(nn.Module):
    """As many tokens as features: the names change, and nothing else."""

    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, x):
        x = x.view(x.shape[0], self.width, self.width)
        return F.scaled_dot_product_attention(x, x, x)


class Whole(nn.Module):
    """Nothing is known of how many of what there are."""

    def __init__(self, channels, height, width):
        super().__init__()
        self.shape = (channels, height, width)

    def forward(self, x):
        x = F.scaled_dot_product_attention(x, x, x)
        return x.reshape(x.shape[0], *self.shape)


class Windowed(nn.Module):
    """Rows are padded to whole windows, if they are not: how many there are differs between the paths."""

    def __init__(self, width, window):
        super().__init__()
        self.window = window
        self.attend = nn.MultiheadAttention(width, 3, batch_first=True)

    def forward(self, x):
        b, h, w, c = x.shape
        if h == self.window and w == self.window:
            x = x.reshape(b, h * w, c)
            return self.attend(x, x, x, need_weights=False)[0].view(b, h, w, c)
        more_h, more_w = -h % self.window, (self.window - w % self.window) % self.window
        padded = more_h > 0 or more_w > 0
        if padded:
            x = F.pad(x, (0, 0, 0, more_w, 0, more_h))
        rows, columns = (h + more_h) // self.window, (w + more_w) // self.window
        x = x.view(b, rows, self.window, columns, self.window, c).transpose(2, 3)
        x = x.reshape(b * rows * columns, self.window * self.window, c)
        x = self.attend(x, x, x, need_weights=False)[0].view(
            b, rows, columns, self.window, self.window, c
        ).transpose(2, 3)
        return x.reshape(b, h + more_h, w + more_w, c)[:, :h, :w]
