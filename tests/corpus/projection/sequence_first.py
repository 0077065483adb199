# fix: unsafe
# run: TimeFirstAttention(20, 4)(torch.randn(7, 2, 20))
"""(time, batch, channels) with the heads folded into the batch; ends where they are unfolded."""
import torch
from torch import nn


class TimeFirstAttention(nn.Module):  # expect: MHA003
    def __init__(self, d_model: int, nhead: int):
        super().__init__()
        self.nhead = nhead
        self.d_head = d_model // nhead
        self.q = nn.Linear(d_model, d_model, bias=False)
        self.k = nn.Linear(d_model, d_model, bias=False)
        self.v = nn.Linear(d_model, d_model, bias=False)

    def forward(self, src):
        t, b, c = src.shape
        q = self.q(src).view(t, b * self.nhead, self.d_head).transpose(0, 1)
        k = self.k(src).view(t, b * self.nhead, self.d_head).transpose(0, 1)
        v = self.v(src).view(t, b * self.nhead, self.d_head).transpose(0, 1)
        w = torch.bmm(q, k.transpose(1, 2)).div(self.d_head**0.5).softmax(dim=-1)
        return torch.bmm(w, v).transpose(0, 1).contiguous().view(t, b, c)
