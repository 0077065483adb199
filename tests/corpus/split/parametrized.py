# run: Attention(32, 4)(torch.randn(2, 5, 32))
# fix: unsafe
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.one, self.two, self.three = (weight_norm(nn.Linear(width, width)) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x):
        b, t, c = x.shape
        q = self.one(x).view(b, t, self.heads, self.d).transpose(1, 2)
        k = self.two(x).view(b, t, self.heads, self.d).transpose(1, 2)
        v = self.three(x).view(b, self.heads, t, self.d)  # expect: MHA102
        weights = (q @ k.transpose(-2, -1) * self.d**-0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, c))
