# fix: none (the permuted tensor is returned as well)
# run: RecordingAttention(16, 2)(torch.randn(2, 5, 16))
import torch
import torch.nn as nn


class RecordingAttention(nn.Module):
    """Attention of a teacher: the student is trained to match the packed q, k, v."""

    def __init__(self, dim=16, num_heads=2):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # expect: MHA002
        attn = (q @ k.transpose(-2, -1) / (C // self.num_heads) ** 0.5).softmax(dim=-1)
        x = self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))
        return x, qkv
