# not run: methods by themselves
# fix: none (the code does not say which keys the scores should leave out)
"""Parameters that are called masks, multiplied with the weights, also behind a view and beside a learned bias."""
import torch
import torch.nn.functional as F
from torch import nn


class CalledMasks(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.gamma = nn.Parameter(torch.ones(heads, 1, 1))

    def one(self, x, mask=None):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(0, 2, 3, 1, 4).unbind(1)
        w = (q @ k.mT * k.size(-1) ** -0.5).softmax(-1)
        w = w * mask  # expect: MHA107
        return w @ v

    def two(self, x, attention_mask=None):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(0, 2, 3, 1, 4).unbind(1)
        w = (q @ k.mT * k.size(-1) ** -0.5).softmax(-1)
        w = w.view(b * self.heads, t, t)
        w = w * attention_mask.unsqueeze(1)  # expect: MHA107
        return torch.bmm(w, v.reshape(b * self.heads, t, -1))

    def three(self, q, k, v, padding_mask):
        s = torch.bmm(q, k.transpose(1, 2))
        w = F.softmax(s, dim=-1)
        w = w.view(4, 2, q.size(1), -1)
        w = w.masked_fill(padding_mask[:, None, None], 0)  # expect: MHA107
        w = w.view(8, q.size(1), -1)
        return torch.bmm(w, v)

    def four(self, q, k, v, mask):
        s = q @ k.mT * k.size(-1) ** -0.5 + self.gamma
        w = s.softmax(-1) * mask.float()  # expect: MHA107
        return w @ v

    def five(self, q, k, v, key_mask):
        w = (q @ k.mT * k.size(-1) ** -0.5).softmax(-1)
        w *= key_mask[:, None, None, :]  # expect: MHA107
        return torch.einsum("bhij,bhjd->bhid", w, v)
