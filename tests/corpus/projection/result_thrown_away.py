# fix: none (the result is dropped: whether it was meant to be returned is the author's to say)
# run: TransformerAttention(20, 4)(torch.randn(2, 5, 20))
import torch
import torch.nn as nn
import torch.nn.functional as F


class TransformerAttention(nn.Module):  # expect: MHA003
    def __init__(self, d_model, heads, dropout=0.1):
        super().__init__()
        self.h = heads
        self.d = d_model // heads
        self.q_linear = nn.Linear(d_model, d_model)
        self.k_linear = nn.Linear(d_model, d_model)
        self.v_linear = nn.Linear(d_model, d_model)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x):
        bs, t, _ = x.shape
        q = self.q_linear(x).view(bs, t, self.h, self.d).transpose(1, 2)
        k = self.k_linear(x).view(bs, t, self.h, self.d).transpose(1, 2)
        v = self.v_linear(x).view(bs, t, self.h, self.d).transpose(1, 2)

        scores = F.softmax(torch.matmul(q, k.transpose(-2, -1)) / self.d**0.5, dim=-1)
        scores = self.dropout(scores)
        attended = torch.matmul(scores, v)

        # concatenate heads and put through final linear layer
        concat = attended.transpose(1, 2).contiguous().view(bs, -1, self.h * self.d)
        output = self.out(concat)
        return concat
