# run: Kept(32, 4)(torch.randn(2, 5, 32), torch.zeros(2, 5, dtype=torch.bool))
# run: MadeByAMethod(32, 4)(torch.randn(2, 5, 32), torch.zeros(2, 5, dtype=torch.bool))
# run: Registered(32, 4)(torch.randn(2, 5, 32), torch.zeros(2, 5, dtype=torch.bool))
# run: Moved(32, 4)(torch.randn(2, 5, 32), torch.zeros(2, 5, dtype=torch.bool))
# run: ToldTheDevice(32, 4)(torch.randn(2, 5, 32), torch.zeros(2, 5, dtype=torch.bool))
"""Masks that numpy makes, and that are joined with one of the padding before they meet the scores."""
import numpy as np
import torch
import torch.nn as nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def attend(self, x, hidden):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)
        k = self.k(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)
        v = self.v(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)
        scores = q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5
        weights = scores.masked_fill(hidden.unsqueeze(1), -1e4).softmax(-1)
        return self.o((weights @ v).transpose(1, 2).reshape(b, t, c))


class Kept(Base):
    def __init__(self, dim, heads, longest=16):
        super().__init__(dim, heads)
        self.future = torch.from_numpy(np.triu(np.ones((longest, longest)), k=1).astype("uint8"))  # expect: MHA110

    def forward(self, x, padding):
        t = x.shape[1]
        return self.attend(x, torch.gt(padding.unsqueeze(1) + self.future[:t, :t], 0))


class MadeByAMethod(Base):
    def __init__(self, dim, heads, longest=16):
        super().__init__(dim, heads)
        self.future = self.make(longest)  # expect: MHA110

    def make(self, size):
        later = np.triu(np.ones((size, size)), k=1).astype("uint8")
        return torch.from_numpy(later)

    def forward(self, x, padding):
        t = x.shape[1]
        return self.attend(x, (padding.unsqueeze(1) + self.future[:t, :t]) > 0)


class Registered(Base):
    def __init__(self, dim, heads, longest=16):
        super().__init__(dim, heads)
        self.register_buffer("future", torch.from_numpy(np.triu(np.ones((longest, longest)), k=1).astype("uint8")))

    def forward(self, x, padding):
        t = x.shape[1]
        return self.attend(x, torch.gt(padding.unsqueeze(1) + self.future[:t, :t], 0))


class Moved(Base):
    def forward(self, x, padding):
        t = x.shape[1]
        future = torch.from_numpy(np.triu(np.ones((t, t)), k=1).astype("uint8")).to(x.device)
        return self.attend(x, torch.gt(padding.unsqueeze(1) + future, 0))


class ToldTheDevice(Base):
    def forward(self, x, padding):
        t = x.shape[1]
        future = torch.as_tensor(np.triu(np.ones((t, t)), k=1), device=x.device)
        return self.attend(x, torch.gt(padding.unsqueeze(1) + future, 0))
