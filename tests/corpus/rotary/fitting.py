# run: [cls(16)(torch.randn(2, 4, 6, 16), torch.randn(2, 4, 6, 16)) for cls in (Flag, ByMode, Glm, DeepSeek)]
# run: [cls(16)(torch.randn(2, 4, 6, 16), torch.randn(2, 4, 6, 16)) for cls in (Complex, Unrolled)]
# run: [cls(16, 3)(torch.randn(2, 4, 9, 16), torch.randn(2, 4, 9, 16)) for cls in (Axial, AxialHalves)]
"""Tables and rotations that fit, in ways that look as if they did not."""

import torch
from einops import rearrange
from torch import nn


def rotate_half(x):
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)


def rotate_every_two(x):
    return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)


class Flag(nn.Module):
    def __init__(self, d, interleaved=False):
        super().__init__()
        self.interleaved = interleaved
        f = torch.outer(torch.arange(512).float(), 10000 ** (-torch.arange(0, d, 2) / d))
        f = f.repeat_interleave(2, -1) if interleaved else torch.cat((f, f), -1)
        self.register_buffer("cos", f.cos())
        self.register_buffer("sin", f.sin())

    def forward(self, q, k):
        rotate = rotate_every_two if self.interleaved else rotate_half
        t = q.shape[-2]
        s = (q * self.cos[:t] + rotate(q) * self.sin[:t]) @ (k * self.cos[:t] + rotate(k) * self.sin[:t]).mT
        return s.softmax(-1)


class ByMode(nn.Module):
    def __init__(self, d, mode="half"):
        super().__init__()
        self.mode = mode
        f = torch.outer(torch.arange(512).float(), 10000 ** (-torch.arange(0, d, 2) / d))
        f = torch.cat((f, f), -1) if mode == "half" else f.repeat_interleave(2, -1)
        self.register_buffer("cos", f.cos())
        self.register_buffer("sin", f.sin())

    def rotate(self, x):
        if self.mode == "half":
            return rotate_half(x)
        return rotate_every_two(x)

    def forward(self, q, k):
        t = q.shape[-2]
        s = (q * self.cos[:t] + self.rotate(q) * self.sin[:t]) @ (k * self.cos[:t] + self.rotate(k) * self.sin[:t]).mT
        return s.softmax(-1)


class Glm(nn.Module):
    def __init__(self, d):
        super().__init__()
        f = torch.outer(torch.arange(512).float(), 10000 ** (-torch.arange(0, d, 2) / d))
        f = torch.cat((f, f), -1)
        self.register_buffer("cos", f.cos())
        self.register_buffer("sin", f.sin())

    def forward(self, q, k):
        t = q.shape[-2]
        cos = self.cos[:t, : self.cos.shape[-1] // 2].repeat_interleave(2, dim=-1)
        sin = self.sin[:t, : self.sin.shape[-1] // 2].repeat_interleave(2, dim=-1)
        s = (q * cos + rotate_every_two(q) * sin) @ (k * cos + rotate_every_two(k) * sin).mT
        return s.softmax(-1)


class DeepSeek(nn.Module):
    def __init__(self, d):
        super().__init__()
        f = torch.outer(torch.arange(512).float(), 10000 ** (-torch.arange(0, d, 2) / d))
        f = torch.cat((f, f), -1)
        self.register_buffer("cos", f.cos())
        self.register_buffer("sin", f.sin())

    def forward(self, q, k):
        b, h, t, d = q.shape
        q = q.view(b, h, t, d // 2, 2).transpose(4, 3).reshape(b, h, t, d)
        k = rearrange(k, "b h t (d r) -> b h t (r d)", r=2)
        cos, sin = self.cos[:t], self.sin[:t]
        s = (q * cos + rotate_half(q) * sin) @ (k * cos + rotate_half(k) * sin).mT
        return s.softmax(-1)


class Axial(nn.Module):
    def __init__(self, d, side):
        super().__init__()
        inv = 10000 ** (-torch.arange(0, d // 2, 2) / (d // 2))
        f = torch.outer(torch.arange(side).float(), inv).repeat_interleave(2, -1)
        rows = f[:, None].expand(side, side, -1)
        columns = f[None].expand(side, side, -1)
        f = torch.cat((rows, columns), -1).flatten(0, 1)
        self.register_buffer("cos", f.cos())
        self.register_buffer("sin", f.sin())

    def forward(self, q, k):
        s = (q * self.cos + rotate_every_two(q) * self.sin) @ (k * self.cos + rotate_every_two(k) * self.sin).mT
        return s.softmax(-1)


class AxialHalves(nn.Module):
    """Each axis has half of the vector, which is rotated by its own halves."""

    def __init__(self, d, side):
        super().__init__()
        inv = 10000 ** (-torch.arange(0, d // 2, 2) / (d // 2))
        f = torch.outer(torch.arange(side**2).float(), inv)
        f = torch.cat((f, f), -1)
        f = torch.cat((f, f), -1)
        self.register_buffer("cos", f.cos())
        self.register_buffer("sin", f.sin())

    def forward(self, q, k):
        a, b = q.chunk(2, -1)
        turned = torch.cat((rotate_half(a), rotate_half(b)), -1)
        return (q * self.cos + turned * self.sin) @ k.mT


class Complex(nn.Module):
    def __init__(self, d):
        super().__init__()
        f = torch.outer(torch.arange(512).float(), 10000 ** (-torch.arange(0, d, 2) / d))
        self.register_buffer("turns", torch.polar(torch.ones_like(f), f))

    def forward(self, q, k):
        t = q.shape[-2]
        q, k = (torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2)) * self.turns[:t] for x in (q, k))
        q, k = (torch.view_as_real(x).flatten(-2) for x in (q, k))
        return (q @ k.mT).softmax(-1)


class Unrolled(nn.Module):
    def __init__(self, d):
        super().__init__()
        f = torch.outer(torch.arange(512).float(), 10000 ** (-torch.arange(0, d, 2) / d))
        self.register_buffer("cos", f.cos())
        self.register_buffer("sin", f.sin())

    def rotate(self, x):
        t = x.shape[-2]
        x1, x2 = x[..., ::2], x[..., 1::2]
        cos, sin = self.cos[:t], self.sin[:t]
        return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), -1)

    def forward(self, q, k):
        return (self.rotate(q) @ self.rotate(k).mT).softmax(-1)


class Sinusoidal(nn.Module):
    def __init__(self, d):
        super().__init__()
        f = torch.outer(torch.arange(512).float(), 10000 ** (-torch.arange(0, d, 2) / d))
        pe = torch.zeros(512, d)
        pe[:, 0::2] = f.sin()
        pe[:, 1::2] = f.cos()
        self.register_buffer("pe", pe)

    def forward(self, x):
        return x + self.pe[: x.shape[1]]
