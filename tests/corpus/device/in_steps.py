# run: Places(32, 4)(torch.randn(2, 5, 32))
# run: Distances(32, 4)(torch.randn(2, 5, 32))
# run: InSteps(32, 4)(torch.randn(2, 5, 32))
# run: PositionsOnTheSpot(32, 4)(torch.randn(2, 5, 32))
# run: PositionsInSteps(32, 4)(torch.randn(2, 5, 32))
# run: Registered(32, 4)(torch.randn(2, 5, 32))
# run: Compared(32, 4)(torch.randn(2, 5, 32))
# run: IndexKept(32, 4)(torch.randn(2, 5, 32))
"""Tables that are built in steps and kept later; positions that an embedding is given."""
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def split(self, x):
        b, t, c = x.shape
        return self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class Places(Base):
    def __init__(self, width, heads, longest=64):
        super().__init__(width, heads)
        t = torch.arange(longest)
        t = t.float()
        self.places = t  # expect: MHA110

    def forward(self, x):
        q, k, v = self.split(x)
        s = q @ k.mT * k.size(-1) ** -0.5
        s = s - self.places[: s.size(-1)]
        return self.merge(s.softmax(-1) @ v)


class Distances(Base):
    def __init__(self, width, heads, longest=64):
        super().__init__(width, heads)
        t = torch.arange(longest)
        distance = (t[None, :] - t[:, None]).abs()
        self.distance = distance.float()  # expect: MHA110

    def forward(self, x):
        q, k, v = self.split(x)
        s = q @ k.mT * k.size(-1) ** -0.5
        s = s - self.distance[: s.size(-1), : s.size(-1)]
        return self.merge(s.softmax(-1) @ v)


class InSteps(Base):
    def __init__(self, width, heads, longest=64):
        super().__init__(width, heads)
        mask = torch.ones(longest, longest)
        mask = torch.tril(mask)
        mask = mask.view(1, 1, longest, longest)
        self.mask = mask  # expect: MHA110

    def forward(self, x):
        q, k, v = self.split(x)
        s = q @ k.mT * k.size(-1) ** -0.5
        t = s.size(-1)
        s = s.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf"))
        return self.merge(s.softmax(-1) @ v)


class PositionsOnTheSpot(Base):
    def __init__(self, width, heads, longest=64):
        super().__init__(width, heads)
        self.positions = nn.Embedding(longest, width)

    def forward(self, x):
        x = x + self.positions(torch.arange(x.size(1)))  # expect: MHA110
        q, k, v = self.split(x)
        return self.merge((q @ k.mT * k.size(-1) ** -0.5).softmax(-1) @ v)


class PositionsInSteps(Base):
    def __init__(self, width, heads, longest=64):
        super().__init__(width, heads)
        self.positions = nn.Embedding(longest, width)

    def forward(self, x):
        b, t, _ = x.shape
        p = torch.arange(t).unsqueeze(0).expand(b, t)  # expect: MHA110
        x = x + self.positions(p)
        q, k, v = self.split(x)
        return self.merge((q @ k.mT * k.size(-1) ** -0.5).softmax(-1) @ v)

    def told(self, x):
        b, t, _ = x.shape
        p = torch.arange(t).unsqueeze(0).expand(b, t).to(x.device)
        x = x + self.positions(p)
        p = torch.arange(t, device=x.device).unsqueeze(0).expand(b, t)
        x = x + self.positions(p)
        q, k, v = self.split(x)
        return self.merge((q @ k.mT * k.size(-1) ** -0.5).softmax(-1) @ v)


class Registered(Base):
    def __init__(self, width, heads, longest=64):
        super().__init__(width, heads)
        mask = torch.ones(longest, longest)
        mask = torch.tril(mask)
        mask = mask.view(1, 1, longest, longest)
        self.register_buffer("mask", mask)
        t = torch.arange(longest).float()
        self.register_buffer("t", t)
        self.w = nn.Parameter(t)

    def forward(self, x):
        q, k, v = self.split(x)
        s = q @ k.mT * k.size(-1) ** -0.5
        t = s.size(-1)
        s = s.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf")) - self.t[:t] * self.w[:t]
        return self.merge(s.softmax(-1) @ v)


class Compared(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        s = q @ k.mT * k.size(-1) ** -0.5
        t = s.size(-1)
        row = torch.arange(t)  # expect: MHA110
        future = row[None] > row[:, None]
        s = s.masked_fill(future, float("-inf"))
        return self.merge(s.softmax(-1) @ v)

    def told(self, x, lengths):
        q, k, v = self.split(x)
        s = q @ k.mT * k.size(-1) ** -0.5
        t = s.size(-1)
        row = torch.arange(t, device=x.device)
        future = row[None] > row[:, None]
        s = s.masked_fill(future, float("-inf"))
        pad = torch.arange(t)[None].to(lengths) >= lengths[:, None]
        s = s.masked_fill(pad[:, None, None], float("-inf"))
        return self.merge(s.softmax(-1) @ v)


class IndexKept(Base):
    def __init__(self, width, heads, longest=64):
        super().__init__(width, heads)
        self.index = torch.arange(longest)  # expect: MHA110
        self.table = nn.Embedding(longest, width)

    def forward(self, x):
        x = x + self.table(self.index[: x.size(1)])
        q, k, v = self.split(x)
        return self.merge((q @ k.mT * k.size(-1) ** -0.5).softmax(-1) @ v)
