# fix: unsafe
# run: Attention(dim=20, heads=4)(torch.randn(2, 5, 20))
import torch
import torch.nn as nn


class Attention(nn.Module):  # expect: MHA003
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, dim * 3)

    def forward(self, x):
        b, n, c = x.shape
        qkv = self.to_qkv(x).view(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv  # expect: MHA002
        attn = ((q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5).softmax(dim=-1)

        # merge the heads
        out = (attn @ v).transpose(1, 2).view(b, n, c)  # expect: MHA001
        return out
