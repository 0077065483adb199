import torch
import torch.nn.functional as F
from torch import nn


class Squeeze(nn.Module):
    """Several keys become one."""

    def __init__(self, dim, ratio=3, groups=1):
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, ratio, stride=ratio, groups=groups)

    def forward(self, mem):
        return self.conv(mem.transpose(1, 2)).transpose(1, 2)


class CompressedAttention(nn.Module):
    def __init__(self, dim, heads=8, causal=False, factor=3, dropout=0.0):
        super().__init__()
        assert dim % heads == 0, "dimension must be divisible by number of heads"
        self.heads = heads
        self.causal = causal
        self.factor = factor
        self.squeeze = Squeeze(dim, factor, groups=heads)
        self.to_qkv = nn.Linear(dim, dim * 3, bias=False)
        self.to_out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.null_k = nn.Parameter(torch.zeros(1, 1, dim))
        self.null_v = nn.Parameter(torch.zeros(1, 1, dim))

    def forward(self, x):
        b, t, c = x.shape
        d = c // self.heads
        q, k, v = self.to_qkv(x).chunk(3, dim=-1)
        padding = -t % self.factor
        k, v = (F.pad(y, (0, 0, padding, 0)) for y in (k, v))
        k, v = self.squeeze(k), self.squeeze(v)
        k = torch.cat((self.null_k.expand(b, -1, -1), k), dim=1)
        v = torch.cat((self.null_v.expand(b, -1, -1), v), dim=1)
        q, k, v = (y.reshape(b, y.shape[1], self.heads, -1).transpose(1, 2) for y in (q, k, v))

        dots = torch.einsum("bhid,bhjd->bhij", q, k) * d**-0.5
        attn = dots.softmax(dim=-1)  # or here: MHA107

        if self.causal:
            rows = columns = torch.arange(t, device=x.device)
            columns = F.pad(columns, (padding, 0)).reshape(-1, self.factor).amax(dim=-1)
            mask = F.pad(rows[:, None] < columns[None, :], (1, 0), value=False)
            dots.masked_fill_(mask[None, None], float("-inf"))  # expect: MHA107

        attn = self.dropout(dots)
        out = torch.einsum("bhij,bhjd->bhid", attn, v)
        return self.to_out(out.transpose(1, 2).reshape(b, t, c))
