# run: MultiHeadAttention(16, 8, 2)(torch.randn(3, 5, 16))
# fix: unsafe
import torch
from torch import nn


class MultiHeadAttention(nn.Module):
    """Split with the batch in front, and merged the same way."""

    def __init__(self, input_dim, attention_dim, num_heads):
        super().__init__()
        self.num_heads, self.attention_dim = num_heads, attention_dim
        self.W_q = nn.Linear(input_dim, num_heads * attention_dim)
        self.W_k = nn.Linear(input_dim, num_heads * attention_dim)
        self.W_v = nn.Linear(input_dim, num_heads * attention_dim)
        self.W_o = nn.Linear(num_heads * attention_dim, input_dim)

    def forward(self, x):
        n = x.size(0)
        query = self.W_q(x).view(n * self.num_heads, -1, self.attention_dim)  # expect: MHA102
        key = self.W_k(x).view(n * self.num_heads, -1, self.attention_dim)  # expect: MHA102
        value = self.W_v(x).view(n * self.num_heads, -1, self.attention_dim)  # expect: MHA102
        scores = torch.bmm(query, key.transpose(1, 2)) / self.attention_dim**0.5
        out = torch.bmm(scores.softmax(dim=-1), value)
        return self.W_o(out.view(n, -1, self.num_heads * self.attention_dim))  # expect: MHA101
