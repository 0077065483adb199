# fix: unsafe
# run: AttentionSublayer(24, 4)(torch.randn(2, 5, 24))
import torch
import torch.nn as nn


class AttentionSublayer(nn.Module):  # expect: MHA003
    '''Attention, dropout, residual, norm - all in one sublayer.'''

    def __init__(self, dim, n_heads, dropout=0.1):
        super(AttentionSublayer, self).__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.drop = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        residual = x
        b, l, c = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = q.reshape(b, l, self.n_heads, -1).permute(0, 2, 1, 3)
        k = k.reshape(b, l, self.n_heads, -1).permute(0, 2, 1, 3)
        v = v.reshape(b, l, self.n_heads, -1).permute(0, 2, 1, 3)
        attn = torch.softmax(q.matmul(k.transpose(-2, -1)) * (c // self.n_heads) ** -0.5, dim=-1)
        out = attn.matmul(v).permute(0, 2, 1, 3).reshape(b, l, c)
        out = self.drop(out)
        return self.norm(residual + out)
