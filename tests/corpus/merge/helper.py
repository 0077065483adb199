# run: Block(32, 4)(torch.randn(2, 5, 32))
# fix: unsafe
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        self.d_model, self.n_heads, self.d_k = d_model, n_heads, d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model)
        self.w_k = nn.Linear(d_model, d_model)
        self.w_v = nn.Linear(d_model, d_model)
        self.w_o = nn.Linear(d_model, d_model)

    def split_heads(self, x):
        batch, length, _ = x.size()
        return x.view(batch, length, self.n_heads, self.d_k).transpose(1, 2)

    def combine_heads(self, x):
        batch, _, length, _ = x.size()
        return x.contiguous().view(batch, length, self.d_model)  # expect: MHA101

    def forward(self, x):
        q, k, v = self.split_heads(self.w_q(x)), self.split_heads(self.w_k(x)), self.split_heads(self.w_v(x))
        scores = torch.matmul(q, k.transpose(-2, -1)) / self.d_k**0.5
        return self.w_o(self.combine_heads(torch.matmul(torch.softmax(scores, dim=-1), v)))
