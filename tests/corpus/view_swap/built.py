# fix: unsafe
# run: ManyWays(12, qkv_bias=True, norm=True)(torch.randn(2, 12, 3, 5))
# run: Scaled(12)(torch.randn(2, 12, 3, 5))
# run: Levels(4, [1, 3])(torch.randn(2, 12, 3, 5))
# run: Rounded(24, 8)(torch.randn(2, 24, 3, 5))
# run: Filtered(12)(torch.randn(2, 12, 4, 6))
# run: Placed(12, 3)(torch.randn(2, 12, 4, 6))
# run: Reduced(12, 2)(torch.randn(2, 24, 12), 4, 6)
"""Images whose sizes are known by what a constructor made, which has many ways, or computes widths of its own."""
import torch
import torch.nn.functional as F
from torch import nn


class ManyWays(nn.Module):
    """There are more ways to build it than are told apart: of the others, less is known."""

    def __init__(self, channels, width=None, qkv_bias=False, norm=False, gate=False, drop=None):
        super().__init__()
        width = width or channels
        self.width = width
        self.qkv = nn.Conv2d(channels, 3 * width, 1, bias=qkv_bias)
        self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.gate = nn.Conv2d(width, width, 1) if gate else nn.Identity()
        self.drop = nn.Dropout(drop) if drop else nn.Identity()
        self.out = nn.Conv2d(width, channels, 1)

    def forward(self, x):
        b, _, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, 3, self.width, -1).transpose(2, 3).unbind(1)
        y = F.scaled_dot_product_attention(q, k, v)
        y = y.reshape(b, self.width, h, w)  # expect: MHA121
        return self.drop(self.out(self.gate(y)))


class Scaled(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim, 1, 1))
        self.qkv = nn.Conv2d(dim, dim * 3, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        x = F.normalize(x, dim=1) * self.scale
        q, k, v = self.qkv(x).reshape(b, c * 3, h * w).transpose(1, 2).chunk(3, dim=-1)
        y = F.scaled_dot_product_attention(q, k, v)
        return y.reshape(b, c, h, w)  # expect: MHA121


class Levels(nn.Module):
    """The width of the part is the first of a list that was computed backwards; rows of pixels attend to each other."""

    def __init__(self, dim, factors):
        super().__init__()
        widths = [dim * factor for factor in [factors[-1]] + factors[::-1]]
        self.part = Scaled(widths[0])

    def forward(self, x):
        y = self.part(x)
        return F.scaled_dot_product_attention(y, y, y)


class Rounded(nn.Module):
    """A width that is rounded up, and maybe once more."""

    def __init__(self, channels, divisor):
        super().__init__()
        width = int(channels / 4 + divisor / 2) // divisor * divisor
        if width < 0.9 * channels / 4:
            width += divisor
        self.query = nn.Conv2d(channels, width, kernel_size=1, stride=1)
        self.key = nn.Conv2d(channels, width, kernel_size=1, stride=1)
        self.value = nn.Conv2d(channels, width, kernel_size=1, stride=1)
        self.out = nn.Conv2d(width, channels, kernel_size=1, stride=1)

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        b, c, h, w = q.size()
        q = q.view(b, c, -1).permute(0, 2, 1)
        weights = torch.softmax(torch.bmm(q, k.view(b, c, -1)) * c**-0.5, dim=2)
        y = torch.bmm(weights, v.view(b, c, -1).permute(0, 2, 1))
        return self.out(y.reshape(b, c, h, w))  # expect: MHA121


class Filtered(nn.Module):
    """A padded convolution gives an image as large as it was given."""

    def __init__(self, channels):
        super().__init__()
        self.value = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="circular")

    def forward(self, x):
        b, c, h, w = x.shape
        q = x.flatten(2).transpose(1, 2)
        v = self.value(x).reshape(b, h * w, c)  # expect: MHA121
        return F.scaled_dot_product_attention(q, q, v)


class Reduced(nn.Module):
    """Keys alone are an image in between: all queries see the same scrambled ones."""

    def __init__(self, dim, ratio):
        super().__init__()
        self.reduce = nn.Conv2d(dim, dim, ratio, stride=ratio)
        self.q, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)

    def forward(self, x, height, width):
        b, n, c = x.shape
        image = x.reshape(b, c, height, width)  # expect: MHA121
        rows = self.reduce(image).flatten(2).transpose(1, 2)
        k, v = self.kv(rows).chunk(2, dim=-1)
        return F.scaled_dot_product_attention(self.q(x), k, v)


class Placed(nn.Module):
    """It takes images of one size alone, so that there is never one token."""

    def __init__(self, channels, num_heads, height=4, width=6):
        super().__init__()
        self.num_heads = num_heads
        self.bias = nn.Parameter(torch.randn(height * width, height * width))
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = self.qkv(x).view(b, 3, self.num_heads, c // self.num_heads, h * w).mT.unbind(1)
        scores = q @ k.mT * q.shape[-1] ** -0.5 + self.bias
        y = (scores.softmax(dim=-1) @ v).reshape(b, c, h, w)  # expect: MHA121
        return self.out(y)
