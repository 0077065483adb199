# run: Returned(24, 4)(torch.randn(2, 5, 24))
# run: Kept(24, 4)(torch.randn(2, 5, 24))
# run: Fused(24, 4)(torch.randn(2, 5, 24))
# run: Mixed(24, 4)(torch.randn(2, 5, 24))
# run: Capped(24, 4)(torch.randn(2, 5, 24))
# run: Sinks(24, 4)(torch.randn(2, 5, 24))
# run: ChannelAttention(24, 4)(torch.randn(2, 5, 24))
import torch
import torch.nn.functional as F
from torch import nn


class Projected(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def heads_of(self, x: torch.Tensor) -> "tuple[torch.Tensor, ...]":
        b, t, c = x.shape
        parts = self.qkv(x).chunk(3, dim=-1)
        return tuple(part.view(b, t, self.heads, c // self.heads).transpose(1, 2) for part in parts)

    def merged(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(x.transpose(1, 2).flatten(2))


class Returned(Projected):
    def forward(self, x: torch.Tensor) -> "tuple[torch.Tensor, torch.Tensor]":
        q, k, v = self.heads_of(x)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.merged(weights @ v), weights


class Kept(Projected):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.heads_of(x)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        self.last_weights = weights.detach()
        return self.merged(weights @ v)


class Fused(Projected):
    fused = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.heads_of(x)
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            weights = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
            mixed = weights @ v
        return self.merged(mixed)


class Mixed(Projected):
    def __init__(self, dim: int, heads: int):
        super().__init__(dim, heads)
        self.talk = nn.Conv2d(heads, heads, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.heads_of(x)
        weights = self.talk(q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.merged(weights @ v)


class Capped(Projected):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.heads_of(x)
        scores = torch.tanh(q @ k.transpose(-2, -1) * self.scale / 50) * 50
        return self.merged(scores.softmax(dim=-1) @ v)


class Sinks(Projected):
    def __init__(self, dim: int, heads: int):
        super().__init__(dim, heads)
        self.sink = nn.Parameter(torch.zeros(heads, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.heads_of(x)
        scores = q @ k.transpose(-2, -1) * self.scale
        joined = torch.cat([scores, self.sink.expand(*scores.shape[:-1], 1)], dim=-1)
        return self.merged(joined.softmax(dim=-1)[..., :-1] @ v)


class ChannelAttention(Projected):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (each.transpose(-2, -1) for each in self.heads_of(x))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        weights = (q @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.merged((weights @ v).transpose(-2, -1))
