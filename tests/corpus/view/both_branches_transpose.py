# run: AddOrDotAttention(16, 2, mode="dot")(torch.randn(2, 5, 16))
# run: AddOrDotAttention(16, 2, mode="uniform")(torch.randn(2, 5, 16))
import torch
from torch import nn


class AddOrDotAttention(nn.Module):
    def __init__(self, dim: int = 16, num_heads: int = 2, mode: str = "dot"):
        super().__init__()
        self.num_heads = num_heads
        self.mode = mode
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        v = self.v(x).reshape(B, N, self.num_heads, C // self.num_heads).transpose(1, 2)
        if self.mode == "dot":
            q = self.q(x).reshape(B, N, self.num_heads, C // self.num_heads).transpose(1, 2)
            k = self.k(x).reshape(B, N, self.num_heads, C // self.num_heads).transpose(1, 2)
            a = torch.softmax(q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5, dim=-1)
            y = torch.matmul(a, v).transpose(1, 2)
        else:  # every token looks at every other alike
            a = x.new_ones(B, self.num_heads, N, N) / N
            y = torch.matmul(a, v).permute(0, 2, 1, 3)
        y = y.view(B, N, C)  # expect: MHA001
        return self.proj(y)
