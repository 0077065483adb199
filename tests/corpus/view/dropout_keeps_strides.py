# run: Attention(30, 5)(torch.randn(2, 4, 30))
# run: Attention(30, 5).eval()(torch.randn(2, 4, 30))
import torch
import torch.nn as nn


class Attention(nn.Module):
    def __init__(self, dim, n_heads=5, p=0.1):
        super().__init__()
        self.n_heads = n_heads
        self.head_dim = dim // n_heads
        self.wq = nn.Linear(dim, dim)
        self.wk = nn.Linear(dim, dim)
        self.wv = nn.Linear(dim, dim)
        self.wo = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(p)
        self.gain = nn.Parameter(torch.ones(self.head_dim))

    def forward(self, x):
        bsz, seqlen, _ = x.shape
        xq, xk, xv = self.wq(x), self.wk(x), self.wv(x)
        xq = xq.view(bsz, seqlen, self.n_heads, self.head_dim).transpose(1, 2)
        xk = xk.view(bsz, seqlen, self.n_heads, self.head_dim).transpose(1, 2)
        xv = xv.view(bsz, seqlen, self.n_heads, self.head_dim).transpose(1, 2)

        p = torch.softmax(xq @ xk.transpose(-1, -2) * self.head_dim**-0.5, dim=-1)
        out = (p @ xv).transpose(1, 2)
        out = self.dropout(out)
        out = torch.relu(out) * self.gain + 0.5  # still laid out as (b, h, t, d)
        out = out.view(bsz, seqlen, self.n_heads * self.head_dim)  # expect: MHA001
        return self.wo(out)
