# run: Pixels(8)(torch.randn(2, 8, 3, 5))
import torch
from torch import nn


class Pixels(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.q, self.k, self.v = (nn.Conv2d(channels, channels, 1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        q = self.q(x).reshape(b, c, h * w).permute(0, 2, 1)
        k = self.k(x).reshape(b, c, h * w)
        v = self.v(x).reshape(b, c, h * w)
        scores = torch.bmm(q, k) * (int(c) ** -0.5)
        weights = torch.nn.functional.softmax(scores, dim=2)  # expect: MHA201
        weights = weights.permute(0, 2, 1)
        return x + torch.bmm(v, weights).reshape(b, c, h, w)
