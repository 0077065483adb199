# run: MSA(24, 6)(torch.randn(2, 5, 24))
import torch
import torch.nn as nn


class MSA(nn.Module):
    def __init__(self, dim, heads=6):
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.to_qkv = nn.Linear(dim, 3 * dim)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        qkv = self.to_qkv(x).view(b, n, 3, self.heads, c // self.heads)
        qkv = qkv.permute(2, 0, 3, 1, 4)  # 3 b h n d
        q, k, v = torch.unbind(qkv, 0)  # expect: MHA002

        attn = (q * self.scale).matmul(k.transpose(-1, -2)).softmax(-1)
        out = attn.matmul(v)
        out = out.permute(0, 2, 1, 3).reshape(b, n, c)
        return self.to_out(out)
